"""What an agent is told: the task's prompt byte for byte, then a generated section about how the task is judged."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from coordstore.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from coordstore_orchestrator.agents.profile import Profile

__all__ = ["as_message", "compose_prompt", "stdin_file", "write_prompt"]

INSTALLED: Final = Path(sys.executable).parent / "coord"
COMMAND: Final = shlex.quote(str(INSTALLED)) if INSTALLED.is_file() else "coord"
"""How agents call us, whatever their PATH is."""

RULES: Final = """\
- Work in the current folder only; it is a git worktree of your own, on a branch of your own.
- Commit or not, as you like: what you leave uncommitted is committed for you. Do not push, do not switch branches.
- When everything is done, end with exit status 0. When it cannot be done, say why and end with another status.
- Processes that you leave running are ended with you."""


def compose_prompt(spec: Mapping[str, Any], *, hint: str | None = None) -> bytes:
    """Return an agent's whole input.

    Args:
        spec: The task: ``prompt``, ``writes``, ``reads``, ``accept``, ``checks``.
        hint: What to tell this attempt beyond that.

    Raises:
        InvalidArgument: The prompt is no text that can be written down (half of a surrogate pair).
    """
    try:
        return f"{spec['prompt']}{_section(spec, hint)}".encode()
    except UnicodeEncodeError as error:
        message = f"the prompt holds half a character at position {error.start}: write it in valid Unicode"
        raise InvalidArgument(message) from error


def write_prompt(path: Path, spec: Mapping[str, Any], *, hint: str | None = None) -> Path:
    """Write an agent's whole input to a private file, all at once or not at all; blocks.

    Args:
        path: The file; its folder is made private, or must be.
        spec: The task.
        hint: What to tell this attempt beyond that.

    Returns:
        The file, with nothing relative in its path.

    Raises:
        InvalidArgument: The prompt cannot be written down.
        CaptureFailed: The folder is not ours.
    """
    from coordstore_orchestrator.worker.process.logfile import private_folder

    text = compose_prompt(spec, hint=hint)
    private_folder(path.parent)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    return path.absolute()


def _section(spec: Mapping[str, Any], hint: str | None) -> str:
    parts = [
        "\n\n---\nThe rest of this text was added by coord.",
        _scope(spec.get("writes") or (), spec.get("reads") or ()),
        _list("## Done when", spec.get("accept") or ()),
        _checks(spec.get("checks") or ()),
        f"## Rules\n{RULES}",
        _report(spec.get("accept") or ()),
        f"## About this attempt\n{hint}" if hint else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _scope(writes: Iterable[str], reads: Iterable[str]) -> str:
    may = list(_items(f"`{pattern}`" for pattern in writes))
    look = list(_items(f"`{pattern}`" for pattern in reads))
    lines = ["## Files"]
    if may:
        lines += ["You may create, change and delete only these; any other change has the whole work refused:", *may]
    else:
        lines += ["This task only reads: any changed file has the whole work refused."]
    if look:
        lines += ["", "These are yours to read:", *look]
    return "\n".join(lines)


def _list(title: str, texts: Iterable[str]) -> str:
    items = list(_items(texts))
    return "\n".join([title, *items]) if items else ""


def _checks(commands: Iterable[str]) -> str:
    lines = [f"    {line}" for command in commands for line in command.splitlines()]
    return "\n".join(["## Checked afterwards, in this folder", *lines]) if lines else ""


def _report(criteria: Iterable[str]) -> str:
    """Return how to report, by the command of this installation, whatever the agent's PATH."""
    evidence = "".join(f" --evidence {number} 'how it is met'" for number, _ in enumerate(criteria, 1))
    return "\n".join(
        [
            "## Report",
            f"    {COMMAND} agent report-progress 'what is done' --next 'what comes next'",
            f"    {COMMAND} agent mark-complete 'what was done'{evidence}",
            f"    {COMMAND} agent mark-failed 'why it cannot be done'",
            f"    {COMMAND} agent read-messages",
            "mark-complete prints what is missing; repair that and call it again. Each of them prints the messages",
            "that have come for you.",
        ]
    )


def _items(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        yield "- " + text.strip().replace("\n", "\n  ")


def as_message(text: str) -> bytes:
    """Return a text as Claude Code and its kin read it with ``--input-format stream-json``: one line of JSON."""
    content = [{"type": "text", "text": text}]
    return json.dumps({"type": "user", "message": {"role": "user", "content": content}}).encode() + b"\n"


def stdin_file(profile: Profile, prompt: Path) -> Path | None:
    """Return a file for the stdin of an agent to which nobody talks while it runs; None: it reads none. Blocks."""
    if not profile.talks:
        return profile.stdin(prompt)
    path = prompt.with_suffix(".jsonl")
    path.touch(mode=0o600)
    path.write_bytes(as_message(prompt.read_text()))
    return path
