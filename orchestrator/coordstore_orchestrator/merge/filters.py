"""Refuses what would have had to pass through a filter: none of the user's filters runs on an agent's work.

An agent's worktree holds what git holds, LFS pointers for example. Pointers may be moved about. A file committed as it
is where a filter belongs would be no pointer, or not encrypted: that must not land.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coordstore_orchestrator.git.batch import contents
from coordstore_orchestrator.merge import rules
from coordstore_orchestrator.merge.rules import Violation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coordstore_orchestrator.merge.integrate import Integration
    from coordstore_orchestrator.merge.rules import Change

__all__ = ["unfiltered"]

_POINTER: Final = b"version https://git-lfs.github.com/spec/"
POINTER_MAX: Final = 1024
"""Bytes of the longest pointer, by the specification of LFS."""


async def unfiltered(integration: Integration, changed: Sequence[Change]) -> list[Violation]:
    """Return the changed files that have a filter in the base tree and are not what it would have made.

    Args:
        integration: Knows which paths have a filter.
        changed: What an agent changed.
    """
    new = {change.path: change.new_oid for change in changed if change.has_content}
    filters = await integration.filters(list(new))
    bodies = await contents(integration.path, [new[path] for path in filters])
    found = []
    for (path, name), body in zip(filters.items(), bodies, strict=True):
        if name == "lfs" and body is not None and len(body) <= POINTER_MAX and body.startswith(_POINTER):
            continue
        message = (
            f"{rules.shown(path)} belongs through the filter {name!r}, and no filter runs on agents' work: "
            "change it by hand, or keep it out of the task"
        )
        found.append(Violation(path, "filter", message))
    return found
