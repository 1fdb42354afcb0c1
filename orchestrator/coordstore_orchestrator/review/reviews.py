"""Lets work be reviewed before it is merged: opens changes, asks reviewers and the forge, carries out what is decided.

The record in the store is the truth; reviewers and forges are asked what is to be written there. All of it can be cut
off anywhere and goes on from the record: an open change is asked about again, a decided one is carried out.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from coordstore.errors import Conflict, CoordError, Fenced, InvalidTransition, LeaseLost
from coordstore.session import State, events
from coordstore.session.changes import ChangeState, change_in, changes_in, decide_change, note_change, open_change
from coordstore_orchestrator.merge.merger import merge_message
from coordstore_orchestrator.review.model import Work

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from coordstore.session import Attempt, SessionView
    from coordstore.session.changes import Change
    from coordstore.session.session import Session
    from coordstore_orchestrator.merge.integrate import Integration
    from coordstore_orchestrator.merge.merger import Merger
    from coordstore_orchestrator.monitor.decide import Integrate
    from coordstore_orchestrator.monitor.leadership import Leadership
    from coordstore_orchestrator.review.model import Decision, Forge, Reviewer

__all__ = ["Reviews", "Site"]

log = logging.getLogger(__name__)

PAUSE: Final = 10.0
"""Seconds between two looks at the forge."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where reviews happen.

    Args:
        integration: Where trees are merged.
        base: The commit that the first merge goes onto.
        tree: Lends a folder with the files of a commit.
        reviewer: The reviewer's name.
        forge: The forge's name.
        pause: Seconds between two looks at the forge.
    """

    integration: Integration
    base: str
    tree: Callable[[str], AbstractAsyncContextManager[Path]]
    reviewer: str
    forge: str
    pause: float = PAUSE


class Reviews:
    """Stands before the merger: what nobody has approved is not merged.

    Args:
        session: Whose work.
        leadership: That we may.
        merger: Merges what is approved.
        site: Where.
        reviewer: Decides, or leaves it to people.
        forge: Shows changes, and may hear decisions.
    """

    def __init__(
        self,
        session: Session,
        leadership: Leadership,
        merger: Merger,
        site: Site,
        reviewer: Reviewer,
        forge: Forge,
    ) -> None:
        self._session = session
        self._fence = leadership.fence
        self._merger = merger
        self._site = site
        self._reviewer = reviewer
        self._forge = forge
        self._busy: dict[str, asyncio.Task[None]] = {}

    async def integrate(self, view: SessionView, action: Integrate) -> int:
        """Open a change for completed work; merge it, or turn it down, once that is decided; return the revision.

        Raises:
            Conflict: It was changed at this moment.
            Fenced: Another orchestrator leads by now.
        """
        change, attempt = change_in(view, action.agent), view.attempt(action.agent)
        if attempt is None or attempt.state is not State.COMPLETED:
            return 0
        if change is None and _has_work(attempt):
            return await open_change(self._session, attempt, self._fields(view, attempt), self._fence)
        if change is None or change.state is ChangeState.APPROVED:
            return await self._merger.integrate(view, action)
        turned_down = {ChangeState.CHANGES_REQUESTED: "sent back", ChangeState.REJECTED: "rejected"}
        if change.state not in turned_down:
            return 0
        reason = (
            f"was {turned_down[change.state]} by {change.text('by')}: {change.text('comment') or 'no reason given'}"
        )
        again = change.state is ChangeState.CHANGES_REQUESTED
        return await self._merger.turn_down(view, action, reason, again=again)

    def _fields(self, view: SessionView, attempt: Attempt) -> dict[str, Any]:
        return {
            "title": view.tasks[attempt.task].name,
            "commit": attempt.result.get("commit"),
            "base": attempt.json("assignment").get("base") or self._site.base,
            "reviewer": self._site.reviewer,
            "forge": self._site.forge,
        }

    async def run(self) -> None:
        """Have open changes decided and closed ones shown as such, until cancelled; then nothing of it runs on.

        Raises:
            Fenced: Another orchestrator leads by now.
        """
        try:
            async with aclosing(self._session.views()) as views:
                async for view in views:
                    if view.ready:
                        self._look(view)
                    self._raise_what_ended()
        finally:
            for task in self._busy.values():
                task.cancel()
            await asyncio.gather(*self._busy.values(), return_exceptions=True)

    async def finish(self) -> None:
        """Have the forge told of all that is decided; `run` goes on meanwhile."""
        self._look(await self._session.view())
        await asyncio.gather(*(task for name, task in self._busy.items() if name.endswith(":closed")))

    def _look(self, view: SessionView) -> None:
        for change in changes_in(view):
            name = f"{change.agent}:{'open' if change.state is ChangeState.OPEN else 'closed'}"
            if name in self._busy or change.state is ChangeState.APPROVED:
                continue
            work = self._decide(view, change) if change.state is ChangeState.OPEN else self._close(change)
            self._busy[name] = asyncio.ensure_future(work)

    def _raise_what_ended(self) -> None:
        for task in self._busy.values():
            if task.done() and not task.cancelled() and isinstance(task.exception(), Fenced | LeaseLost):
                task.result()

    async def _close(self, change: Change) -> None:
        """Show what came of it; a forge that is out of order is told of, and harms nobody's work."""
        try:
            await self._forge.close(change)
        except CoordError as error:
            await self._tell(change, f"{self._site.forge} was not told that {change.agent} is {change.state}: {error}")

    async def _decide(self, view: SessionView, change: Change) -> None:
        """Find a decision and write it down; somebody else may be faster."""
        shown = await self._show(change)
        decision = await self._review(view, shown)
        while decision is None:
            decision = await self._asked(shown)
            if decision is None:
                await asyncio.sleep(self._site.pause)
        try:
            await decide_change(
                self._session, change.agent, decision.state, decision.by, decision.comment, fence=self._fence
            )
        except (Conflict, InvalidTransition) as error:
            log.info("review of %s: %s", change.agent, error)

    async def _show(self, change: Change) -> Change:
        """Show it on the forge, and record where."""
        try:
            url = await self._forge.open(change)
        except CoordError as error:
            await self._tell(change, f"{change.agent} cannot be shown on {self._site.forge}: {error}")
            return change
        if url is None or url == change.text("url"):
            return change
        with contextlib.suppress(Conflict):  # decided meanwhile
            await note_change(self._session, change, {"url": url}, self._fence)
        entry = await self._session.store.get(change.entry.key)
        return change if entry is None else type(change)(change.agent, entry)

    async def _asked(self, change: Change) -> Decision | None:
        try:
            return await self._forge.decision(change)
        except CoordError as error:
            log.warning("%s does not say how %s stands: %s", self._site.forge, change.agent, error)
            return None

    async def _review(self, view: SessionView, change: Change) -> Decision | None:
        task = view.tasks[change.agent.rpartition(".")[0]]
        attempt = view.attempt(change.agent)
        if attempt is None:
            return None
        tip = view.tip or self._site.base
        try:
            merged = await self._site.integration.merge(
                tip, str(change.text("commit")), message=merge_message(task, attempt), durable=False
            )
            prompt = str(task.spec.get("prompt", ""))
            return await self._reviewer.review(Work(change, prompt, merged.oid, tip, self._site.tree))
        except (Fenced, LeaseLost):
            raise
        except CoordError as error:
            await self._tell(change, f"{self._site.reviewer} could not review {change.agent}: {error}")
            return None

    async def _tell(self, change: Change, text: str) -> None:
        log.warning("%s", text)
        told = self._session.event(change.agent, events.Error(text=text))
        await self._session.store.transact((), (), [told], self._fence)


def _has_work(attempt: Attempt) -> bool:
    commit = attempt.result.get("commit")
    return isinstance(commit, str) and commit != attempt.json("assignment").get("base")
