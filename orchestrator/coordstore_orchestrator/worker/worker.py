"""A worker: watches the queues of its classes, claims what it has a slot for, and runs each attempt to its end.

It knows the orchestrator only through the store. All its claims hang on one lease: when that is lost, or a claim
no longer holds, the attempts concerned are stopped and nothing more is reported of them.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from coordstore.errors import Conflict, Corrupt, Fenced, LeaseLost, OutcomeUnknown, StoreReplaced, Unavailable
from coordstore.session import DEFAULT_CLASS, SessionView, State
from coordstore.session.lineage import depth_of
from coordstore_orchestrator.logs import about
from coordstore_orchestrator.worker.naps import Berth, Naps
from coordstore_orchestrator.worker.permits import Permits
from coordstore_orchestrator.worker.stop import CANCELLED, INTERRUPTED, Stop

if TYPE_CHECKING:
    from collections.abc import Collection, Coroutine, Mapping

    from coordstore.session import Attempt, Task
    from coordstore.session.claim import Claim
    from coordstore.session.session import Session
    from coordstore.store import Lease
    from coordstore_orchestrator.worker.permits import Gives, Limit, Taken
    from coordstore_orchestrator.worker.share import Share

__all__ = ["BROKEN", "CANCELLED", "INTERRUPTED", "Runner", "Worker"]

log = logging.getLogger(__name__)

LEASE_TTL: Final = 10
"""Seconds after which what a dead worker ran is given to another."""
OUTAGES: Final = (Unavailable, OutcomeUnknown, StoreReplaced, Corrupt)
"""What says that nothing can be reported now, whatever it is."""
BROKEN: Final = "broken"
"""Result code of an attempt whose runner, not whose agent, failed."""


class Runner(Protocol):
    """What carries out one claimed attempt."""

    async def run(self, claim: Claim, attempt: Attempt, task: Task, stop: Stop) -> None:
        """Run the attempt to a final state and report it through the claim.

        One that raises, or returns without a report, has failed.
        """


@dataclass(frozen=True, slots=True)
class _Running:
    """One attempt under way."""

    body: asyncio.Task[None]
    stop: Stop
    claim: Claim


class Worker:
    """Runs attempts of one session, so many at a time.

    Args:
        session: Whose queues to serve.
        runner: Carries out each attempt.
        slots: How many at a time.
        holder: Who we are: host, boot id, pid, start time, run.
        classes: The labels that this worker serves: a task goes only where all its labels are; None: all.
        limit: The limit of the whole store, or None: only `slots` count.
        share: A part in what this host has to give, in place of `limit`.
        naps: Where its attempts sleep while they wait; who has it not keeps its slot.
    """

    def __init__(
        self,
        session: Session,
        runner: Runner,
        slots: int,
        holder: Mapping[str, Any],
        classes: Collection[str] | None = None,
        limit: Limit | None = None,
        share: Share | None = None,
        naps: Naps | None = None,
    ) -> None:
        self._session = session
        self._runner = runner
        self._slots = slots
        self._holder = holder
        self._classes = classes
        self._running: dict[str, _Running] = {}
        self._unfinished: set[str] = set()
        self._view = SessionView(session.name)
        self._changed = asyncio.Event()
        self._draining = False
        self._interrupted = False
        self._broken: BaseException | None = None
        self._permits: Gives | None = share
        if share is not None:
            share.freed = self._changed.set
        elif limit is not None:
            run, freed = str(holder["run"]), self._changed.set
            self._permits = Permits(session.store, session.name, run, slots, limit, freed)
        self._naps = naps or Naps()
        self._naps.serve(self._give_back, self._changed.set)

    @property
    def running(self) -> list[str]:
        """Return the attempts that run here now."""
        return sorted(self._running)

    def drain(self) -> None:
        """Claim nothing more; what runs goes on."""
        self._draining = True

    def interrupt(self) -> None:
        """Claim nothing more and stop what runs; it ends as cancelled and is tried again on resuming."""
        self._draining = self._interrupted = True
        for running in self._running.values():
            _interrupt(running.stop)

    async def run(self) -> None:
        """Serve until cancelled.

        Cancelled, it stops its agents, waits for them to be gone and gives up its claims, which are then lost.

        Raises:
            LeaseLost: The store was out of reach for longer than the lease; all agents were stopped.
            CoordError: The store did not take how an attempt ended: all agents were stopped, what they did counts
                as lost.
        """
        async with await self._session.store.grant(LEASE_TTL) as lease:
            helpers = [asyncio.ensure_future(self._pump()), asyncio.ensure_future(lease.wait_lost())]
            for helper in helpers:
                helper.add_done_callback(lambda _: self._changed.set())
            try:
                if self._permits is not None:
                    await self._permits.open(lease)
                while not lease.lost:
                    await self._changed.wait()
                    self._changed.clear()
                    if helpers[0].done():
                        helpers[0].result()
                    if self._broken is not None:
                        raise self._broken
                    self._stop_cancelled()
                    await self._claim_some(lease)
                stopped = ", ".join(sorted({*self._running, *self._unfinished})) or "nothing"
                message = (
                    f"worker lost its lease {lease.id}, the store was out of reach for too long: stopped {stopped};"
                    " the work is on its branch here"
                )
                raise LeaseLost(message, lease=lease.id)
            finally:
                for helper in helpers:
                    helper.cancel()
                await self._end_all()
                if self._permits is not None:
                    await self._permits.rest()
                await asyncio.gather(*helpers, return_exceptions=True)

    async def _pump(self) -> None:
        async with aclosing(self._session.views()) as views:
            async for view in views:
                self._view = view
                self._naps.seen(view)
                self._changed.set()

    def _waiting(self) -> list[tuple[Attempt, Task]]:
        """Return what waits and what we serve: subtasks first, then by priority, then in the order it was queued.

        Subtasks first bounds how many wait for them asleep. Draining, only those of what runs here are served.
        """
        found = []
        prefix = self._session.keys.queue + "/"
        for key, entry in self._view.entries.items():
            if not key.startswith(prefix):
                continue
            agent = key.rpartition("/")[2]
            attempt = self._view.attempt(agent)
            if attempt is None:
                continue
            task = self._view.tasks.get(attempt.task)
            if task is not None and self._classes is not None and not {*task.labels} <= {*self._classes, DEFAULT_CLASS}:
                continue
            waits = attempt.state is State.PENDING and agent not in self._running
            if self._draining and (task is None or task.parent not in self._running):
                continue
            if task is not None and waits and key == self._session.keys.queued(task.labels, agent):
                found.append((-depth_of(task.spec), -task.priority, entry.revision, agent, attempt, task))
        return [(attempt, task) for *_, attempt, task in sorted(found, key=lambda row: row[:4])]

    async def _claim_some(self, lease: Lease) -> None:
        """Give slots to those who wake, then claim what waits while there are free ones."""
        waiting = [] if self._interrupted or self._view.paused else self._waiting()
        if self._permits is not None and not waiting and not self._naps.rising:
            await self._permits.rest()
        if not await self._let_rise():
            return
        free = self._free()
        claims = (self._claim(attempt, task, lease) for attempt, task in waiting[:free])
        # All are waited for, also when one fails: none may start an agent once we have given up.
        for failed in await asyncio.gather(*claims, return_exceptions=True):
            if failed is not None:
                raise failed

    def _free(self) -> int:
        """Return how many slots nobody holds."""
        return max(self._slots - len(self._running) + self._naps.sleepers, 0)

    async def _let_rise(self) -> bool:
        """Give slots to those who slept and want to go on; tell whether all of them have one."""
        for berth in self._naps.rising:
            taken = None
            if self._free() == 0 or (self._permits is not None and (taken := await self._permits.take()) is None):
                return False
            if berth.asleep and not berth.ended:
                self._naps.rise(berth, taken)
            else:
                await self._give_back(taken)
        return True

    async def _claim(self, attempt: Attempt, task: Task, lease: Lease) -> None:
        """Claim an attempt and start it, if the store's limit allows one more."""
        agent, taken, claim = attempt.agent, None, None
        try:
            if self._permits is not None and (taken := await self._permits.take()) is None:
                return
            claim = await self._session.claim(agent, task.labels, self._holder, lease)
        except (Conflict, LeaseLost) as error:
            log.debug("%s not claimed: %s", agent, error)
            return
        finally:
            if claim is None:
                await self._give_back(taken)
        stop = Stop()
        if self._interrupted:
            _interrupt(stop)
        berth = Berth(taken)
        self._naps.enter(agent, berth)
        body = asyncio.create_task(self._hold(berth, self._carry_out(claim, attempt, task, stop)), name=agent)
        self._running[agent] = _Running(body, stop, claim)
        body.add_done_callback(lambda done: self._ended(agent, done))

    async def _hold(self, berth: Berth, work: Coroutine[Any, Any, None]) -> None:
        """Do the work, and give back what it holds."""
        try:
            await work
        finally:
            berth.ended = True
            taken, berth.taken = berth.taken, None
            await self._give_back(taken)

    async def _give_back(self, taken: Taken | None) -> None:
        if self._permits is not None and taken is not None:
            await self._permits.give_back(taken)

    async def _carry_out(self, claim: Claim, attempt: Attempt, task: Task, stop: Stop) -> None:
        """Run an attempt and see to it that its end is recorded."""
        about.set(attempt.agent)  # this is a task of the event loop of its own
        try:
            reason = await self._run(claim, attempt, task, stop)
            if not claim.ended:
                await claim.finish(State.FAILED, {"code": BROKEN, "reason": reason})
        except (Fenced, LeaseLost) as error:
            log.warning("%s is no longer ours, nothing more is reported of it: %s", attempt.agent, error)

    async def _run(self, claim: Claim, attempt: Attempt, task: Task, stop: Stop) -> str:
        """Run an attempt; return what is wrong if its end was not reported."""
        try:
            await self._runner.run(claim, attempt, task, stop)
        except (Fenced, LeaseLost, *OUTAGES):
            raise
        except Exception as error:
            log.exception("attempt %s broke off", attempt.agent)
            return f"broke off: {type(error).__name__}: {error}"
        return "broke off: it ended without a report"

    def _ended(self, agent: str, done: asyncio.Task[None]) -> None:
        self._naps.leave(agent)
        if not self._running.pop(agent).claim.ended:
            self._unfinished.add(agent)
        self._changed.set()
        if not done.cancelled() and done.exception() is not None:
            self._broken = self._broken or done.exception()
            log.error("the end of %s could not be recorded", agent, exc_info=done.exception())

    def _stop_cancelled(self) -> None:
        """Pass on requests to cancel what runs here and verdicts on it, and stop what is no longer ours."""
        for agent, running in self._running.items():
            if self._view.revision < running.claim.token:
                continue
            attempt = self._view.attempt(agent)
            asked = attempt.text("cancel") if attempt else None
            claim = attempt.entries.get("claim") if attempt else None
            verdict = attempt.json("verdict") if attempt else {}
            if asked is not None:
                running.stop.ask(CANCELLED, asked or "cancelled")
            elif verdict:
                running.stop.ask(str(verdict.get("code")), str(verdict.get("reason")))
            elif claim is None or claim.create_revision != running.claim.token:
                running.stop.ask(CANCELLED, "its claim was taken away")

    async def _end_all(self) -> None:
        """Cancel what runs and wait until its processes are gone."""
        bodies = [running.body for running in self._running.values()]
        for body in bodies:
            body.cancel()
        await asyncio.gather(*bodies, return_exceptions=True)


def _interrupt(stop: Stop) -> None:
    stop.ask(INTERRUPTED, "interrupted by the person who ran it")
