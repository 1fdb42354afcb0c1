"""The orchestrator: watches one session it leads, decides, and writes what it decided; it calls no worker.

Every write carries the leadership's fence, so one that was replaced while it slept changes nothing. A decision
made on a view that is already old meets a check that does not hold, and is simply made again on the next view.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from contextlib import aclosing
from typing import TYPE_CHECKING, Final, Protocol

from coordstore.errors import Conflict, InvalidArgument, InvalidTransition, OutcomeUnknown, Unavailable
from coordstore.session import SessionView, State
from coordstore.session.keys import split_agent
from coordstore.store import clock_of
from coordstore_orchestrator.git.remote import RemoteUnreachable
from coordstore_orchestrator.monitor.backoff import Backoff
from coordstore_orchestrator.monitor.decide import LOST, Assign, CancelTask, EndLost, Integrate
from coordstore_orchestrator.monitor.decisions import Decisions
from coordstore_orchestrator.monitor.fallback import AddTask
from coordstore_orchestrator.monitor.subtasks import EndSubtask, Return, carry_out
from coordstore_orchestrator.monitor.watch import Watcher

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordstore.errors import CoordError
    from coordstore.session.session import Session
    from coordstore_orchestrator.monitor.decide import Action
    from coordstore_orchestrator.monitor.leadership import Leadership

__all__ = ["GATHER", "Integrator", "Orchestrator"]

log = logging.getLogger(__name__)

GATHER: Final = 2.0
"""Seconds that work of other hosts may wait to be merged with others'."""
PAUSE: Final = 0.3
"""Seconds after which is decided anew what the store did not take."""
OUTAGES: Final = (Unavailable, OutcomeUnknown, RemoteUnreachable)
"""What passes, as when a cluster chooses another leader or a network is down."""
MERGES_ONLY = (Integrate, EndLost, EndSubtask, Return)
"""What a draining orchestrator still does; and it starts subtasks, without which what runs could not go on."""


class Integrator(Protocol):
    """What merges completed work."""

    async def integrate(self, view: SessionView, action: Integrate) -> int:
        """Merge one task's work into the integrated tree, or refuse it; record which; return the revision."""


class Orchestrator:
    """Drives one session to its end.

    Args:
        session: What to drive.
        leadership: That we may.
        base: The commit that attempts start from before anything is integrated.
        integrator: Merges completed work, one task at a time, beside everything else.
        seen: Called with each view, for display.
        gather: Seconds that work may wait to be merged with others' while more is coming and nothing needs it: where
            each merge is brought to other hosts, many cost as much as one.
    """

    def __init__(
        self,
        session: Session,
        leadership: Leadership,
        base: str,
        integrator: Integrator,
        seen: Callable[[SessionView], None] = lambda _view: None,
        gather: float = 0.0,
    ) -> None:
        self.view = SessionView(session.name)
        self._session = session
        self._fence = leadership.fence
        self._base = base
        self._integrator = integrator
        self._seen = seen
        self._gather = gather
        self._clock = clock_of(session.store)
        self._revision = 1
        self._to_merge: asyncio.Queue[Integrate] = asyncio.Queue()
        self._merging: set[str] = set()
        self._changed = asyncio.Event()
        self._viewed = asyncio.Event()
        self._draining = False
        self._backoff = Backoff(session.store, self._again)
        self._decisions = Decisions()

    def drain(self) -> None:
        """Start nothing more; `run` returns when nothing runs."""
        self._draining = True
        self._changed.set()

    async def run(self) -> SessionView:
        """Work until every task is settled (or, when draining, until nothing runs); return the last view.

        Raises:
            Fenced: Another orchestrator leads by now.
        """
        watcher = Watcher(self._session, self._fence)
        helpers = [asyncio.ensure_future(each) for each in (self._pump(), self._merge(), watcher.run())]
        for helper in helpers:
            helper.add_done_callback(lambda _: self._changed.set())
        try:
            while not self._finished():
                await self._changed.wait()
                self._changed.clear()
                for helper in helpers:
                    if helper.done():
                        helper.result()
                await self._act()
            return self.view
        finally:
            self._backoff.close()
            for helper in helpers:
                helper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*helpers, return_exceptions=True)

    def _finished(self) -> bool:
        if self.view.revision < self._revision or self._merging or not self.view.ready:
            return False
        return not self._decisions.running() if self._draining else self._decisions.over(self.view)

    async def _pump(self) -> None:
        """Keep the view up to date."""
        async with aclosing(self._session.views()) as views:
            async for view in views:
                self.view = view
                self._decisions.see(view)
                self._seen(view)
                self._viewed.set()
                self._changed.set()

    async def _merge(self) -> None:
        """Merge what is to be merged, in that order, each onto what the view shows of the one before.

        Without waiting for that, a merge and its validation were made onto the old tip, in vain.
        """
        merged = 0
        while True:
            action = await self._to_merge.get()
            if self._gather and self._to_merge.empty():
                await self._wait_for_more()
            while self.view.revision < merged:
                self._viewed.clear()
                await self._viewed.wait()
            try:
                merged = await self._integrator.integrate(self.view, action)
                self._revision = max(self._revision, merged)
            except Conflict as conflict:
                log.info("merge of %s decided anew: %s", action.task, conflict)
                self._again(action.task)
            except OUTAGES as outage:
                await self._wait_out(outage, action.task)
            self._merging.discard(action.task)
            self._changed.set()

    async def _wait_for_more(self) -> None:
        """Wait for more to merge, for as long as that may come and holds up nothing."""
        alarm = asyncio.ensure_future(self._clock.sleep(self._gather))
        alarm.add_done_callback(lambda _: self._viewed.set())
        try:
            while not alarm.done() and self._decisions.more_to_come(self._merging):
                self._viewed.clear()
                await self._viewed.wait()
        finally:
            alarm.cancel()

    async def _act(self) -> None:
        """Do all that can be done now, unless what we did last is not in the view yet."""
        if self.view.revision < self._revision:
            return
        actions = [action for action in self._decisions.take(self.view) if self._now(action)]
        done = await asyncio.gather(*(self._do(action) for action in actions))
        self._revision = max(self._revision, *done, 0)

    def _now(self, action: Action) -> bool:
        """Tell whether it is time for an action; for one that is to wait, it will be noticed when it is."""
        if self._draining and not isinstance(action, MERGES_ONLY) and not self._is_subtask(action):
            return False  # for good
        return not isinstance(action, Assign) or self._backoff.over(action)

    def _is_subtask(self, action: Action) -> bool:
        task = self.view.tasks.get(action.task) if isinstance(action, Assign | CancelTask) else None
        return task is not None and task.parent is not None

    async def _do(self, action: Action) -> int:
        try:
            return await self._write(action)
        except (Conflict, InvalidArgument, InvalidTransition) as error:
            log.info("decided anew: %s (%s)", action, error)
            self._decisions.again([_task(action)])  # when the view shows what stood against it
            return 0
        except OUTAGES as outage:
            await self._wait_out(outage, _task(action))
            return 0

    async def _wait_out(self, outage: CoordError, task: str) -> None:
        """Wait a little: what was or was not written the view shows, and every write checks what it changes."""
        log.warning("decided anew in %g s: %s", PAUSE, outage)
        await self._clock.sleep(PAUSE)
        self._again(task)

    def _again(self, task: str) -> None:
        """Look at once at what is to be done for a task."""
        self._decisions.again([task])
        self._changed.set()

    async def _write(self, action: Action) -> int:
        """Carry out one action; return its revision (0: none yet)."""
        if isinstance(action, Assign | CancelTask):
            return await self._make_attempt(action)
        if isinstance(action, EndLost):
            return await self._end_lost(action)
        if isinstance(action, EndSubtask | Return):
            return await carry_out(self._session, self.view, action, self._fence)
        if isinstance(action, AddTask):
            log.warning("all tasks failed: one agent gets the whole, as task %s", action.task)
            return await self._session.add_task(self.view, action.task, action.spec, fence=self._fence)
        if action.task not in self._merging:
            self._merging.add(action.task)
            self._to_merge.put_nowait(action)
        return 0

    async def _make_attempt(self, action: Assign | CancelTask) -> int:
        """Assign or cancel, unless the task had another attempt since that was decided: a person's cancel, say."""
        task = self.view.tasks.get(action.task)
        if task is None or task.next_attempt != action.attempt:
            return 0
        if isinstance(action, Assign):
            base = str(task.spec["base"]) if task.parent else self.view.tip or self._base
            return await self._session.assign(task, base, fence=self._fence, hint=action.hint, other=action.other)
        log.info("task %s cancelled: %s", action.task, action.reason)
        return await self._session.cancel_unstarted(task, action.reason, fence=self._fence)

    async def _end_lost(self, action: EndLost) -> int:
        attempt = self.view.attempt(action.agent)
        if attempt is None or not attempt.lost:
            return 0
        log.warning("attempt %s lost its worker", action.agent)
        result = {"code": LOST, "reason": "lost: its worker went away before it was done"}
        return await self._session.end(attempt, State.FAILED, result, fence=self._fence)


def _task(action: Action) -> str:
    return split_agent(action.agent)[0] if isinstance(action, EndLost) else action.task
