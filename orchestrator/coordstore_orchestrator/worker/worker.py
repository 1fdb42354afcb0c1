"""A worker: watches the queues of its classes, claims what it has a slot for, and runs each attempt to its end.

It knows the orchestrator only through the store. All its claims hang on one lease: when that is lost, or a claim
no longer holds, the attempts concerned are stopped and nothing more is reported of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, Protocol

from coordstore.errors import Conflict, LeaseLost
from coordstore.session import DEFAULT_CLASS, SessionView, State

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from coordstore.session import Attempt, Task
    from coordstore.session.claim import Claim
    from coordstore.session.session import Session

__all__ = ["CANCELLED", "INTERRUPTED", "Runner", "Stop", "Worker"]

log = logging.getLogger(__name__)

LEASE_TTL: Final = 10
"""Seconds after which what a dead worker ran is given to another."""
CANCELLED: Final = "cancelled"
INTERRUPTED: Final = "interrupted"


class Stop:
    """Tells a running attempt to stop, once, with a code and a reason."""

    def __init__(self) -> None:
        self.code = ""
        self.reason = ""
        self._asked = asyncio.Event()

    def ask(self, code: str, reason: str) -> None:
        """Ask it to stop; the first asking counts."""
        if not self._asked.is_set():
            self.code, self.reason = code, reason
            self._asked.set()

    @property
    def asked(self) -> bool:
        """Whether it was asked."""
        return self._asked.is_set()

    async def wait(self) -> None:
        """Return once it is asked."""
        await self._asked.wait()


class Runner(Protocol):
    """What carries out one claimed attempt."""

    async def run(self, claim: Claim, attempt: Attempt, task: Task, stop: Stop) -> None:
        """Run the attempt to a final state and report it through the claim."""


class Worker:
    """Runs attempts of one session, so many at a time.

    Args:
        session: Whose queues to serve.
        runner: Carries out each attempt.
        slots: How many at a time.
        holder: Who we are: host, boot id, pid, start time, run.
        classes: Whose queues; None: all.
    """

    def __init__(
        self,
        session: Session,
        runner: Runner,
        slots: int,
        holder: Mapping[str, Any],
        classes: Collection[str] | None = None,
    ) -> None:
        self._session = session
        self._runner = runner
        self._slots = slots
        self._holder = holder
        self._classes = classes
        self._running: dict[str, tuple[asyncio.Task[None], Stop]] = {}
        self._view = SessionView(session.name)
        self._changed = asyncio.Event()
        self._draining = False

    def drain(self) -> None:
        """Claim nothing more; what runs goes on."""
        self._draining = True

    def interrupt(self) -> None:
        """Claim nothing more and stop what runs; it ends as cancelled and is tried again when the session is resumed."""
        self._draining = True
        for _, stop in self._running.values():
            stop.ask(INTERRUPTED, "interrupted by the person who ran it")

    async def run(self) -> None:
        """Serve until cancelled.

        Cancelled, it stops its agents, waits for them to be gone and gives up its claims, which are then lost.

        Raises:
            LeaseLost: The store was out of reach for longer than the lease; all agents were stopped.
        """
        async with await self._session.store.grant(LEASE_TTL) as lease:
            helpers = [asyncio.ensure_future(self._pump()), asyncio.ensure_future(lease.wait_lost())]
            for helper in helpers:
                helper.add_done_callback(lambda _: self._changed.set())
            try:
                while not lease.lost:
                    await self._changed.wait()
                    self._changed.clear()
                    if helpers[0].done():
                        helpers[0].result()
                    self._stop_cancelled()
                    await self._claim_some(lease)
                raise LeaseLost(f"worker lost its lease {lease.id}: its agents were stopped", lease=lease.id)
            finally:
                for helper in helpers:
                    helper.cancel()
                await self._end_all()
                await asyncio.gather(*helpers, return_exceptions=True)

    async def _pump(self) -> None:
        async with aclosing(self._session.views()) as views:
            async for view in views:
                self._view = view
                self._changed.set()

    def _waiting(self) -> list[tuple[str, Task]]:
        """Return the agents that wait and that we serve, by priority, then in the order they were queued."""
        found = []
        prefix = self._session.keys.queue + "/"
        for key, entry in self._view.entries.items():
            if not key.startswith(prefix):
                continue
            name, _, agent = key.removeprefix(prefix).partition("/")
            attempt = self._view.attempt(agent)
            if attempt is None or (self._classes is not None and name not in {*self._classes, DEFAULT_CLASS}):
                continue
            task = self._view.tasks[attempt.task]
            found.append((-int(task.spec.get("priority") or 0), entry.revision, agent, task))
        return [(agent, task) for _, _, agent, task in sorted(found, key=lambda row: row[:3])]

    async def _claim_some(self, lease: Any) -> None:  # noqa: ANN401  (a Lease)
        """Claim what waits while there are free slots."""
        if self._draining:
            return
        free = self._slots - len(self._running)
        waiting = [pair for pair in self._waiting() if pair[0] not in self._running][: max(free, 0)]
        await asyncio.gather(*(self._claim(agent, task, lease) for agent, task in waiting))

    async def _claim(self, agent: str, task: Task, lease: Any) -> None:  # noqa: ANN401  (a Lease)
        try:
            claim = await self._session.claim(agent, task.spec.get("labels") or (), self._holder, lease)
        except Conflict:
            return
        except LeaseLost:
            return
        attempt = self._view.attempt(agent)
        if attempt is None:
            return
        stop = Stop()
        running = asyncio.create_task(self._runner.run(claim, attempt, task, stop), name=agent)
        self._running[agent] = running, stop
        running.add_done_callback(lambda done: self._ended(agent, done))

    def _ended(self, agent: str, done: asyncio.Task[None]) -> None:
        del self._running[agent]
        self._changed.set()
        if not done.cancelled() and done.exception() is not None:
            log.error("attempt %s broke off", agent, exc_info=done.exception())

    def _stop_cancelled(self) -> None:
        """Pass on requests to cancel what runs here, and stop what is no longer ours."""
        for agent, (_, stop) in self._running.items():
            attempt = self._view.attempt(agent)
            asked = attempt.text("cancel") if attempt else None
            if asked is not None:
                stop.ask(CANCELLED, asked or "cancelled")
            elif attempt is not None and attempt.state not in (State.PENDING, State.RUNNING):
                stop.ask(CANCELLED, f"it is {attempt.state} already")

    async def _end_all(self) -> None:
        """Cancel what runs and wait until its processes are gone."""
        running = [task for task, _ in self._running.values()]
        for task in running:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*running, return_exceptions=True)
