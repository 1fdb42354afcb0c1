"""What is kept of a conflict: for the record, for people, and for the agent that gets its work back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from coordstore.session.values import strings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from coordstore_orchestrator.merge.integrate import Conflict

__all__ = ["as_hint", "as_record"]

FILES_MAX: Final = 50
TEXT_MAX: Final = 20_000
"""Characters of hunks that are kept of one conflict of many files."""
LINE_MAX: Final = 400


def as_record(conflicts: Sequence[Conflict]) -> list[dict[str, Any]]:
    """Return conflicts as they are stored: each path with git's word and sentence for it, and the hunks that fit.

    Args:
        conflicts: What git could not merge.
    """
    found, room = [], TEXT_MAX
    for conflict in conflicts[:FILES_MAX]:
        hunks = []
        for hunk in conflict.hunks:
            room -= len(hunk)
            if room < 0:
                break
            hunks.append(hunk)
        row = {"path": conflict.path, "kind": conflict.kind, "message": conflict.message[:LINE_MAX], "hunks": hunks}
        found.append({name: value for name, value in row.items() if value})
    return found


def as_hint(record: Mapping[str, Any]) -> str:
    """Return what to tell an agent whose work comes back.

    Args:
        record: What the merge recorded of its earlier attempt.
    """
    return "\n".join(_hint(record))


def _hint(record: Mapping[str, Any]) -> Iterator[str]:
    yield f"Your work on this task ({record.get('agent')}) {record.get('refused')}."
    if record.get("review"):
        yield "Do the task again with that in mind; the folder holds what others did meanwhile."
    else:
        yield "The folder holds what it conflicts with. Do the task again on top of that, and keep what others did."
    if record.get("work"):
        yield f"Your earlier work is the commit {record['work']} (`git show {record['work']}`)."
    conflicts = record.get("conflicts")
    for conflict in conflicts if isinstance(conflicts, list) else ():
        if not isinstance(conflict, dict):
            continue  # somebody else wrote that
        yield f"\n{conflict.get('path')}: {conflict.get('message') or conflict.get('kind')}"
        for hunk in strings(conflict.get("hunks")):
            yield from (f"    {line}" for line in hunk.splitlines())
