"""Merges chosen tasks' work onto the base, so that some can be left out of what was merged before.

An attempt may have started from a tree in which others' work was merged already. When some of that is left out, its
commit must not bring it back: then only the change it made is carried over, without the history before it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from coordstore_orchestrator.merge.merger import merge_message, merge_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coordstore.session import SessionView
    from coordstore_orchestrator.merge.integrate import Integration, MergeResult

__all__ = ["Rebuild", "Unmergeable", "merge_order"]


class Unmergeable(Exception):
    """A task's work conflicts without what is left out.

    Args:
        task: The task.
        files: Where.
    """

    def __init__(self, task: str, files: Sequence[str]) -> None:
        super().__init__(task, files)
        self.task = task
        self.files = tuple(files)


class Rebuild:
    """Merges sets of integrated tasks; beginnings that were merged before are not merged again.

    Args:
        view: The session; what is merged in it does not change meanwhile.
        integration: Where merged commits are.
        base: The commit that the first merge goes onto.
    """

    def __init__(self, view: SessionView, integration: Integration, base: str) -> None:
        self._view = view
        self._integration = integration
        self._base = base
        self._one_at_a_time = asyncio.Lock()
        self._tips: dict[tuple[str, ...], str] = {(): base}
        self._within: dict[str, tuple[str, ...]] = {base: ()}
        order = merge_order(view)
        # What a validation left out of them before a crash is still in the commits that were recorded then.
        if not any(view.merged(task).get("dropped") for task in view.tasks):
            for count in range(1, len(order) + 1):
                tip = str(view.merged(order[count - 1]).get("commit"))
                self._tips[order[:count]] = tip
                self._within.setdefault(tip, order[:count])

    async def commit(self, tasks: Sequence[str]) -> str:
        """Return the commit in which these tasks, in merge order, and no others are merged.

        Raises:
            Unmergeable: One of them conflicts with the others.
        """
        wanted = tuple(tasks)
        async with self._one_at_a_time:
            have = max(count for count in range(len(wanted) + 1) if wanted[:count] in self._tips)
            for count in range(have, len(wanted)):
                done = wanted[:count]
                self._tips[wanted[: count + 1]] = await self._add(self._tips[done], wanted[count], done)
        return self._tips[wanted]

    async def keep(self, tasks: Sequence[str]) -> str:
        """Return the commit of these tasks as `commit` does, made durable."""
        tip, wanted = await self.commit(tasks), tuple(tasks)
        await self._integration.sync([self._tips[wanted[:count]] for count in range(1, len(wanted) + 1)])
        return tip

    async def _add(self, tip: str, task: str, done: tuple[str, ...]) -> str:
        attempt = self._view.attempt(str(self._view.merged(task).get("agent")))
        commit = attempt.result.get("commit") if attempt else None
        base = str(attempt.json("assignment").get("base") or self._base) if attempt else self._base
        if attempt is None or commit is None or commit == base:
            return tip
        message = merge_message(self._view.tasks[task], attempt)
        when = merge_time(attempt)  # made again after a crash it must be the same commit: that one may have landed
        within = self._within.get(base)
        merged: MergeResult
        if within is not None and set(within) <= set(done):
            merged = await self._integration.merge(tip, str(commit), message=message, durable=False, when=when)
        else:
            merged = await self._integration.replay(tip, base, str(commit), message=message, when=when)
        if merged.oid is None:
            raise Unmergeable(task, sorted({conflict.path for conflict in merged.conflicts}))
        return merged.oid


def merge_order(view: SessionView) -> tuple[str, ...]:
    """Return the integrated tasks in the order in which they were merged."""
    merged = [task for task in view.tasks if view.merged(task).get("merged")]
    return tuple(sorted(merged, key=lambda task: view.entries[view.keys.merged(task)].revision))
