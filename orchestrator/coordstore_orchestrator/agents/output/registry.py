"""Which output formats there are; a profile names one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coordstore.errors import CoordError
from coordstore_orchestrator.registering import add_once

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordstore_orchestrator.agents.output.reader import Reader

__all__ = ["BUILTIN", "PLAIN", "UnknownOutput", "known_outputs", "open_reader"]

PLAIN: Final = "plain"
HERE: Final = "coordstore_orchestrator.agents.output"
BUILTIN: Final = {
    PLAIN: f"{HERE}.plain:PlainReader",
    "claude": f"{HERE}.claude:ClaudeReader",
    "codex": f"{HERE}.codex:CodexReader",
    "gemini": f"{HERE}.gemini:GeminiReader",
    "mini": f"{HERE}.mini:MiniReader",
    "opencode": f"{HERE}.opencode:OpencodeReader",
    "pi": f"{HERE}.pi:PiReader",
}
"""The formats that come with coord, imported when they are used."""


class UnknownOutput(CoordError, LookupError):
    """No output format has that name; the message lists those there are."""


def known_outputs() -> dict[str, str]:
    """Return where the reader of each output format is, by the format's name.

    Raises:
        PluginError: A plugin cannot be loaded.
        InvalidArgument: Two formats have the same name.
    """
    from coordstore_orchestrator.agents.registry import agent_plugins

    found: dict[str, str] = {}

    def register(name: str, reader: str) -> None:
        add_once(found, "an output format", name, reader)

    agent_plugins().hook.register_outputs(register=register)
    return dict(sorted(found.items()))


def open_reader(name: str) -> Reader:
    """Return a new reader for the output of one process.

    Args:
        name: The format, as a profile names it.

    Raises:
        UnknownOutput: There is none of that name.
        PluginError: A plugin cannot be loaded.
    """
    from coordstore.plugins import load

    target = BUILTIN.get(name) or known_outputs().get(name)
    if target is None:
        message = f"no output format {name!r}: there are {', '.join(known_outputs())}"
        raise UnknownOutput(message)
    make: Callable[[], Reader] = load(target)
    return make()
