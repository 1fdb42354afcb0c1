"""Validates the integrated tree before it lands; when it fails, finds the task to leave out so that the rest can.

Validation speaks about the whole, so it runs on the whole: a tree in which half of the work is missing may well
fail for that alone. When the whole fails, each task's work is left out in turn, together with what depends on it,
the latest first; the first remainder that passes lands. One that fails whatever single task is missing lands nothing.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from coordstore.model import Put
from coordstore.session import events
from coordstore.session.values import as_value
from coordstore_orchestrator.merge.merger import merge_message

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from coordstore.session import SessionView
    from coordstore.session.session import Session
    from coordstore_orchestrator.merge.integrate import Integration
    from coordstore_orchestrator.monitor.leadership import Leadership

__all__ = ["FinalValidation"]

log = logging.getLogger(__name__)

CHUNK: Final = 30
"""Tasks recorded in one transaction."""


class FinalValidation:
    """Decides which of the integrated tasks land.

    Args:
        session: Whose work.
        leadership: That we may.
        integration: Where merged commits are.
        base: The commit that the first merge goes onto.
        validate: Runs the plan's validation on a commit; returns what failed in words, or None.
    """

    def __init__(
        self,
        session: Session,
        leadership: Leadership,
        integration: Integration,
        base: str,
        validate: Callable[[str], Awaitable[str | None]],
    ) -> None:
        self._session = session
        self._fence = leadership.fence
        self._integration = integration
        self._base = base
        self._validate = validate

    async def run(self, view: SessionView) -> SessionView:
        """Validate the integrated tree and record what is left out; return the session as it then stands.

        Raises:
            Fenced: Another orchestrator leads by now.
        """
        tip = view.tip
        if tip is None or tip == self._base:
            return view
        failed = await self._validate(tip)
        if failed is None:
            return view
        log.warning("validation failed: %s", failed)
        order = _merge_order(view)
        # Some recorded as left out, but not in the tip yet: a crash came between; first see whether that was all.
        again = [""] if any(view.left_out(task) for task in view.tasks) else []
        for culprit in [*again, *reversed(order)]:
            without = _without(view, order, culprit)
            rebuilt = await self._rebuild(view, without) if without else None
            if rebuilt is not None and await self._validate(rebuilt) is None:
                reason = f"validation failed with it and passes without it: {failed}"
                return await self._leave_out(view, order, without, rebuilt, culprit, reason)
        reason = f"validation failed on the merged tree, whichever one task is left out: {failed}"
        return await self._leave_out(view, order, [], self._base, "", reason)

    async def _rebuild(self, view: SessionView, tasks: Sequence[str]) -> str | None:
        """Merge some tasks' work onto the base; return the commit, or None when that conflicts."""
        tip = self._base
        for task in tasks:
            attempt = view.attempt(str(view.merged(task)["agent"]))
            commit = attempt.result.get("commit") if attempt else None
            if attempt is None or commit is None or commit == attempt.json("assignment").get("base"):
                continue
            merged = await self._integration.merge(tip, str(commit), message=merge_message(view.tasks[task], attempt))
            if merged.oid is None:
                return None
            tip = merged.oid
        return tip

    async def _leave_out(
        self, view: SessionView, order: Sequence[str], kept: Sequence[str], tip: str, culprit: str, reason: str
    ) -> SessionView:
        """Record who is left out and why, then the tip without them."""
        dropped = [task for task in order if task not in kept]
        for at in range(0, len(dropped), CHUNK):
            writes, appends = [], []
            for task in dropped[at : at + CHUNK]:
                agent = str(view.merged(task)["agent"])
                why = reason if task == culprit or not culprit else f"needs {culprit}, which was left out"
                record = {"agent": agent, "merged": False, "refused": why}
                writes.append(Put(view.keys.merged(task), as_value(record)))
                appends.append(self._session.event(agent, events.Integrated(merged=False, reason=why)))
            await self._session.store.transact(writes, (), appends, self._fence)
        await self._session.store.put(view.keys.tip, tip.encode(), fence=self._fence)
        return await self._session.view()


def _merge_order(view: SessionView) -> list[str]:
    """Return the integrated tasks in the order in which they were merged."""
    merged = [task for task in view.tasks if view.merged(task).get("merged")]
    return sorted(merged, key=lambda task: view.entries[view.keys.merged(task)].revision)


def _without(view: SessionView, order: Sequence[str], culprit: str) -> list[str]:
    """Return the order without one task and all that needs it."""
    gone = {culprit}
    for task in order:  # needs come before what needs them
        if gone.intersection(view.tasks[task].needs):
            gone.add(task)
    return [task for task in order if task not in gone]
