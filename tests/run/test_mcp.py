"""A real MCP client, started inside an agent, reports through `coord mcp` as any agent's program would."""

from __future__ import annotations

import json
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from coordstore.errors import Unsupported
from coordstore_orchestrator import mcp_server

if TYPE_CHECKING:
    from tests.run.conftest import Place

pytestmark = pytest.mark.timeout(300)

COORD = str(Path(sysconfig.get_path("scripts")) / "coord")
CLIENT = """
import asyncio, os, pathlib, sys
from mcp import Client, StdioServerParameters

async def main():
    server = StdioServerParameters(command=sys.argv[1], args=["mcp"])
    async with Client(server) as client:
        tools = await client.list_tools()
        said = [" ".join(sorted(tool.name for tool in tools.tools))]

        async def call(tool, **arguments):
            answer = await client.call_tool(tool, arguments)
            said.append(" ".join(part.text for part in answer.content))

        await call("read_messages")
        await call("report_progress", status="read it", next_steps="write it")
        await call("mark_complete", summary="did nothing", criteria={"1": "looked"})
        pathlib.Path("t.txt").write_text("x")
        await call("note", text="the sky is high")
        await call("send_message", to="t", text="to myself")
        await call("read_messages")
        await call("delegate", prompt="do a part", writes=["elsewhere.txt"])
        await call("delegate", prompt="do a part", writes=[], name="part")
        await call("await_tasks")
        await call("mark_complete", summary="did it", criteria={"1": "looked"})
        pathlib.Path("t.txt").write_text("\\n".join(said))

assert "COORD_AGENT_SOCKET" in os.environ
if os.environ["COORD_TASK"] != "t":
    sys.exit(print("looked"))  # a part that only reads
asyncio.run(main())
"""


@pytest.mark.req("W5", "R7", "T4")
def test_a_real_client_reports_over_mcp(place: Place) -> None:
    program = place.folder / "client.py"
    program.write_text(CLIENT)
    task = {"id": "t", "prompt": "do t", "writes": ["t.txt"], "accept": ["it is right"]}
    agent = {"command": [sys.executable, str(program), COORD]}
    path = place.folder / "plan.json"
    path.write_text(json.dumps({"goal": "g", "agent": agent, "tasks": [task]}))
    done = place.run(path)
    logs = [log.read_text() for log in place.folder.glob("state/*/sessions/s/logs/t.1/std*.log")]
    assert done.code == 0, (done, place.tasks(), logs)
    assert place.show("t.txt").split("\n") == [
        "await_tasks delegate mark_complete mark_failed note read_messages report_progress send_message",
        "no messages",
        "noted",
        "missing: nothing was changed",
        "kept",
        "sent",
        "message from t.1: to myself",
        "no messages",
        "Error executing tool delegate: 'elsewhere.txt' reaches beyond what t.1 itself may write, t.txt: ask for less",
        "delegated as t-1-1; await_tasks waits for it",
        "t-1-1: completed",
        "message from t-1-1.1: subtask t-1-1 (Subtask: @command part) has completed",
        "It says: looked",
        "accepted: you are done, end now",
    ]
    rows = place.coord("events", "s", "--json").out
    assert '"status": "read it"' in rows
    assert '"claim": "complete", "text": "did it"' in rows


def test_without_the_sdk_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcp.server.mcpserver", None)
    with pytest.raises(Unsupported, match=r"pip install 'coordstore\[mcp\]'"):
        mcp_server.build_server()
