"""What `coord mcp` serves as tools: completion contract, messages, notes, subtasks; over standard input and output.

It runs inside an agent, as an MCP server that the agent's program starts, and passes each call on to the attempt's
worker over its private socket. Programs start such servers with hardly any of their environment, so the socket is
also looked for in the environment of the processes above.
"""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Final

from coordstore.errors import CoordError, Unsupported
from coordstore_orchestrator import agent
from coordstore_orchestrator.worker.process import proctree

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp.server.mcpserver import MCPServer

__all__ = ["INSTRUCTIONS", "TOOLS", "build_server", "find_socket", "serve"]

VARIABLE: Final = "COORD_AGENT_SOCKET"
GENERATIONS: Final = 16
"""How far up the processes' environments are looked at."""
INSTRUCTIONS: Final = (
    "You are one of several agents that coord runs. Report your progress; when everything is done call mark_complete,"
    " and repair what it says is missing; when it cannot be done call mark_failed. Read your messages now and then."
    " Parts that others can do meanwhile you may delegate, await, and take into your branch with git merge."
)


def report_progress(status: str, next_steps: str = "") -> str:
    """Say how far the work is, and what comes next."""
    agent.report_progress(status, next_steps or None)
    return _with_mail("noted")


def mark_complete(summary: str, criteria: dict[str, str] | None = None) -> str:
    """Say that the task is done, with evidence for each criterion by its number, from 1; tells what is missing."""
    missing = agent.mark_complete(summary, criteria)
    said = [f"missing: {each}" for each in missing] or ["accepted: you are done, end now"]
    return _with_mail("\n".join(said))


def mark_failed(reason: str) -> str:
    """Say that the task cannot be done, and why."""
    agent.mark_failed(reason)
    return _with_mail("noted: the task has failed, end now")


def send_message(to: str, text: str) -> str:
    """Send a message to a task, to one of its attempts (as t1.1), or to "orchestrator"."""
    agent.send_message(to, text)
    return _with_mail("sent")


def read_messages() -> str:
    """Read the messages that have come for you, each once."""
    return _mail() or "no messages"


def note(text: str) -> str:
    """Keep a note on the scratchpad that all agents of the session share."""
    agent.note(text)
    return _with_mail("kept")


def delegate(prompt: str, writes: list[str], name: str = "", profile: str = "", accept: list[str] | None = None) -> str:
    """Have another agent do a part of the task at the same time; tells its id. Commit first what it is to build on.

    writes: patterns of the files that it may change, within your own; [] when it only reads.
    """
    made = agent.delegate(prompt, writes, name=name, profile=profile, accept=accept or ())
    return _with_mail(f"delegated as {made}; await_tasks waits for it")


def await_tasks(tasks: list[str] | None = None) -> str:
    """Wait until a task ends that you delegated (all of them when none is named), or for five minutes at most."""
    found = agent.await_tasks(tasks or ())
    said = [f"{each['task']}: {'open, ' if each['open'] else ''}{each['state']}" for each in found]
    if any(each["open"] for each in found):
        said.append("some are open: do something else, or call await_tasks again")
    return _with_mail("\n".join(said))


TOOLS: Final[tuple[Callable[..., str], ...]] = (
    report_progress,
    mark_complete,
    mark_failed,
    send_message,
    read_messages,
    note,
    delegate,
    await_tasks,
)


def build_server() -> MCPServer:
    """Return the server with all its tools.

    Raises:
        Unsupported: The MCP SDK is not installed; the message says how to.
    """
    try:
        from mcp.server.mcpserver import MCPServer
        from mcp.server.mcpserver.exceptions import ToolError
    except ImportError as error:
        message = "`coord mcp` needs the MCP SDK, version 2 or newer: pip install 'coordstore[mcp]'"
        raise Unsupported(message) from error

    def telling(tool: Callable[..., str]) -> Callable[..., str]:
        """Let the agent read why a call was refused: of other errors the SDK tells nothing."""

        @functools.wraps(tool)
        def call(*args: object, **given: object) -> str:
            try:
                return tool(*args, **given)
            except CoordError as error:
                raise ToolError(str(error)) from error

        return call

    server = MCPServer("coord", instructions=INSTRUCTIONS)
    for tool in TOOLS:
        server.add_tool(telling(tool), structured_output=False)
    return server


def serve() -> None:
    """Serve over standard input and output until they are closed; blocks.

    Raises:
        Unsupported: The MCP SDK is not installed.
    """
    server = build_server()
    if not os.environ.get(VARIABLE) and (found := find_socket(os.getppid())):
        os.environ[VARIABLE] = found
    server.run("stdio")


def find_socket(pid: int) -> str | None:
    """Return the socket that a process or one above it was told of, or None; blocks."""
    for _ in range(GENERATIONS):
        for each in proctree.environment(pid):
            name, _, value = each.partition(b"=")
            if name == VARIABLE.encode():
                return os.fsdecode(value)
        above = proctree.read_process(pid)
        if above is None or above.parent <= 1:
            return None
        pid = above.parent
    return None


def _with_mail(said: str) -> str:
    """Add the messages that came with an answer."""
    waiting = agent.received()
    return "\n".join([said, *(f"message from {each['from']}: {each['text']}" for each in waiting)])


def _mail() -> str:
    return "\n".join(f"message from {each['from']}: {each['text']}" for each in agent.read_messages())
