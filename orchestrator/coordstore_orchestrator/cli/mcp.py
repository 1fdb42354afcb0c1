"""`coord mcp`: the completion contract as an MCP server, for agents whose program speaks MCP."""

from __future__ import annotations

import click

__all__ = ["mcp"]


@click.command()
def mcp() -> int:
    """Serve this agent's reports, messages, notes and subtasks over MCP on standard input and output; inside an agent.

    Tools: report_progress, mark_complete, mark_failed, send_message, read_messages, note, delegate, await_tasks. Needs
    coordstore[mcp].
    """
    from coordstore_orchestrator.mcp_server import serve

    serve()
    return 0
