"""Validates the integrated tree before it lands; when it fails, finds what to leave out so that the rest can."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from coordstore.model import Put
from coordstore.session import events
from coordstore.session.values import as_value
from coordstore_orchestrator.merge.rebuild import Rebuild, Unmergeable, merge_order
from coordstore_orchestrator.merge.search import Failure, Search

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from coordstore.session import SessionView
    from coordstore.session.session import Session
    from coordstore_orchestrator.merge.integrate import Integration
    from coordstore_orchestrator.merge.search import Culprit, Findings
    from coordstore_orchestrator.monitor.leadership import Leadership

__all__ = ["FinalValidation"]

log = logging.getLogger(__name__)

CHUNK: Final = 30
"""Tasks recorded in one transaction."""
NAMED_FILES: Final = 20


class FinalValidation:
    """Decides which of the integrated tasks land.

    Args:
        session: Whose work.
        leadership: That we may.
        integration: Where merged commits are.
        base: The commit that the first merge goes onto.
        validate: Runs the plan's validation on a commit, several calls at a time; returns how it failed, or None.
        width: How many validations at a time.
    """

    def __init__(
        self,
        session: Session,
        leadership: Leadership,
        integration: Integration,
        base: str,
        validate: Callable[[str], Awaitable[Failure | None]],
        width: int = 1,
    ) -> None:
        self._session = session
        self._fence = leadership.fence
        self._integration = integration
        self._base = base
        self._validate = validate
        self._width = width

    async def run(self, view: SessionView) -> SessionView:
        """Validate the integrated tree and record what is left out; return the session as it then stands.

        Cancelled, or cut off by a crash: what is recorded as left out stays so; called again, it goes on from there.

        Raises:
            Fenced: Another orchestrator leads by now.
        """
        if view.tip is None or view.tip == self._base:
            return view
        order = merge_order(view)
        rebuild = Rebuild(view, self._integration, self._base)

        async def probe(tasks: tuple[str, ...]) -> Failure | None:
            try:
                commit = await rebuild.commit(tasks)
            except Unmergeable as found:
                return Failure(f"{found.task} cannot be merged then, in {', '.join(found.files[:NAMED_FILES])}")
            return await self._validate(commit)

        needs = {task: view.tasks[task].needs for task in order}
        findings = await Search(order, needs, probe, self._width).run()
        tip = await rebuild.keep(findings.kept)
        why = _reasons(order, needs, findings)
        for task, record in why.items():
            log.warning("%s left out: %s", task, record["refused"])
        await self._record(view, why)
        if tip == view.tip:
            return view
        await self._session.store.put(view.keys.tip, tip.encode(), fence=self._fence)
        return await self._session.view()

    async def _record(self, view: SessionView, why: Mapping[str, Mapping[str, Any]]) -> None:
        """Record who is left out and why; in portions, so a crash may leave it half done: `run` starts from that."""
        tasks = list(why)
        for at in range(0, len(tasks), CHUNK):
            writes, appends = [], []
            for task in tasks[at : at + CHUNK]:
                agent = str(view.merged(task)["agent"])
                record = {"agent": agent, "merged": False, "dropped": True, **why[task]}
                writes.append(Put(view.keys.merged(task), as_value(record)))
                told = events.Integrated(merged=False, reason=why[task]["refused"])
                appends.append(self._session.event(agent, told))
            await self._session.store.transact(writes, (), appends, self._fence)


def _reasons(order: Sequence[str], needs: Mapping[str, Sequence[str]], findings: Findings) -> dict[str, dict[str, Any]]:
    """Return what to record of each task that is left out."""
    if findings.hopeless is not None:
        text = f"validation failed on the merged tree, whichever one task is left out: {findings.hopeless.text}"
        return {task: _record(text, findings.hopeless) for task in order}
    found: dict[str, dict[str, Any]] = {}
    for culprit in findings.culprits:
        found |= {task: _record(_blame(culprit, task), culprit.failure) for task in culprit.tasks}
    for task in order:
        if task in found or task in findings.kept:
            continue
        gone = next(need for need in needs[task] if need in found)
        found[task] = {"refused": f"needs {gone}, which was left out"}
    return found


def _record(refused: str, failure: Failure) -> dict[str, Any]:
    return {"refused": refused} | ({"log": failure.log} if failure.log else {})


def _blame(culprit: Culprit, task: str) -> str:
    others = [each for each in culprit.tasks if each != task]
    if not others:
        return f"validation failed with it and passes without it: {culprit.failure.text}"
    return f"validation fails only with it and {', '.join(others)} together: {culprit.failure.text}"
