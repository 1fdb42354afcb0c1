"""`coord mcp`: the completion contract as an MCP server, for agents whose program speaks MCP."""

from __future__ import annotations

import click

__all__ = ["mcp"]


@click.command()
def mcp() -> int:
    """Serve this agent's reports, messages and notes over MCP on standard input and output; inside an agent only.

    Tools: report_progress, mark_complete, mark_failed, send_message, read_messages, note. Needs coordstore[mcp].
    """
    from coordstore_orchestrator.mcp_server import serve

    serve()
    return 0
