"""What the model of a test says, turn by turn, whichever API asks.

The server keeps no state: how far a conversation is, is how many calls of tools it already holds. So one server
plays any number of agents at once, and asking again after an error gives the same answer.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Call", "Fail", "Reply", "Run", "Say", "Script", "Step", "Tool", "Write", "reply"]

SHELLS: Final = ("Bash", "bash", "run_shell_command", "exec_command", "shell_command", "shell")
"""What agents call the tool that runs a command; the first one offered is used."""
WRITERS: Final = ("Write", "write", "write_file")
"""What agents call the tool that writes a file; without one a command does it."""
COMMANDS: Final = ("command", "cmd")
PATHS: Final = ("file_path", "filePath", "path")
OTHER: Final = "as the script says"


@dataclass(frozen=True)
class Run:
    """Run a command."""

    command: str
    delay: float = 0.0


@dataclass(frozen=True)
class Write:
    """Write a file, by its path in the worktree."""

    path: str
    text: str
    delay: float = 0.0


@dataclass(frozen=True)
class Call:
    """Call a tool of an MCP server, by its own name: agents put the server's before it."""

    tool: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    delay: float = 0.0


@dataclass(frozen=True)
class Say:
    """Say a text and call no tool: most agents end then."""

    text: str
    delay: float = 0.0


@dataclass(frozen=True)
class Fail:
    """Answer with an HTTP status instead."""

    status: int = 500
    delay: float = 0.0


Step = Run | Write | Call | Say | Fail


@dataclass(frozen=True)
class Script:
    """The turns of one model; the last one is repeated for ever.

    Args:
        needle: A text by which a request of this agent is known: something in its prompt, or its name.
        steps: The turns.
    """

    needle: str
    steps: Sequence[Step]

    def step(self, turn: int) -> Step:
        return self.steps[min(turn, len(self.steps) - 1)]


@dataclass(frozen=True)
class Tool:
    """A tool that an agent offers."""

    name: str
    schema: Mapping[str, Any]

    def arguments(self, first: Mapping[str, str]) -> dict[str, Any]:
        """Return the arguments: those given, under the names the schema has, and something for what else it demands."""
        properties = self.schema.get("properties") or {}
        found: dict[str, Any] = {}
        for names, text in ((COMMANDS, first.get("command")), (PATHS, first.get("path"))):
            name = next((name for name in names if name in properties), None)
            if name and text is not None:
                is_list = properties[name].get("type") in ("array", "ARRAY")
                found[name] = ["bash", "-lc", text] if is_list else text
        if "content" in properties and "text" in first:
            found["content"] = first["text"]
        for name in self.schema.get("required") or ():
            if name not in found:
                kind = str(properties.get(name, {}).get("type", "string")).lower()
                found[name] = {"boolean": False, "integer": 1, "number": 1, "array": [], "object": {}}.get(kind, OTHER)
        return found


@dataclass(frozen=True)
class Reply:
    """What the model answers: a text, or a call of a tool."""

    text: str = ""
    tool: str | None = None
    arguments: Mapping[str, Any] | None = None

    @property
    def arguments_json(self) -> str:
        return json.dumps(self.arguments or {})


def reply(step: Step, tools: Sequence[Tool], cwd: str | None) -> Reply:
    """Return a step as an answer, in terms of the tools that the agent offers."""
    offered = {tool.name: tool for tool in tools}
    if isinstance(step, Say):
        return Reply(step.text)
    if isinstance(step, Call):
        served = next((name for name in offered if name.endswith(f"__{step.tool}")), None)
        return Reply(tool=served, arguments=step.arguments) if served else Reply(f"I have no tool {step.tool}.")
    if isinstance(step, Write):
        writer = next((offered[name] for name in WRITERS if name in offered), None)
        if writer is not None:
            path = f"{cwd}/{step.path}" if cwd else step.path
            return Reply(tool=writer.name, arguments=writer.arguments({"path": path, "text": step.text}))
        step = Run(f"cat > {step.path} <<'END_OF_TEXT'\n{step.text}\nEND_OF_TEXT")
    if isinstance(step, Run):
        shell = next((offered[name] for name in SHELLS if name in offered), None)
        if shell is not None:
            return Reply(tool=shell.name, arguments=shell.arguments({"command": step.command}))
    return Reply("All is well.")  # a side question, such as for a title: it offers no tool
