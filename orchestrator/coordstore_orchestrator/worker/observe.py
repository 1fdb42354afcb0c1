"""Watches one agent's process from outside: reads along, tells the store, looks at its files, keeps it to its limits.

The agent waits for nobody: what it prints is taken in as it comes, and written a few times a second, step and events
in one transaction. When the store cannot take it the events wait, and the oldest go when there are too many.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from coordstore.errors import CoordError, Fenced, LeaseLost, OutcomeUnknown, Unavailable
from coordstore.session import events
from coordstore_orchestrator.agents.trouble import classify
from coordstore_orchestrator.worker.pulse import Pulses, Sight
from coordstore_orchestrator.worker.stop import Stop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from coordstore.session.claim import Claim
    from coordstore_orchestrator.agents.output import Reader
    from coordstore_orchestrator.agents.trouble import StartTrouble

__all__ = ["START", "Observer", "Sight"]

log = logging.getLogger(__name__)

PAUSE: Final = 0.25
"""Seconds between two writes, at least."""
TICK: Final = 1.0
"""Seconds between two looks at the limits, at most; also between two steps of a command that just prints."""
LOOK: Final = 2.0
"""Seconds between two looks at the files, at least."""
SHARE: Final = 20
"""Between two looks at the files lies this many times what a look takes: a large tree is looked at less often."""
AT_ONCE: Final = 32
"""Events in one write, at most."""
BACKLOG: Final = 256
"""Events that wait to be written, at most."""
SHOWN_FILES: Final = 100
IN_VAIN: Final = 3
"""Errors of one kind before the first tool call after which an agent does not get going any more."""
START: Final = "start"
"""Code of a process that was stopped because it did not get going."""


class Observer:
    """Watches one process; `run` it beside, and `finish` it once the process has ended.

    Args:
        claim: Where to report.
        reader: Understands the output.
        limits: ``steps``, ``idle`` (seconds) and ``cost`` (US dollars); what is missing is not limited.
        sight: What else to look at.
        clock: Tells the time in seconds.

    Attributes:
        stop: Asked once a limit is reached, with its name as the code.
        errors: The last errors that the agent told of.
    """

    def __init__(
        self,
        claim: Claim,
        reader: Reader,
        limits: Mapping[str, float],
        sight: Sight,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.reader = reader
        self.stop = Stop()
        self.errors: deque[str] = deque(maxlen=IN_VAIN)
        self._claim = claim
        self._limits = limits
        self._sight = sight
        self._clock = clock
        self._waiting: deque[events.Event] = deque()
        self._left_out = 0
        self._news = asyncio.Event()
        self._life = self._stepped = self._looked = clock()
        self._pulse = Pulses(sight, clock)
        self._look_pause = LOOK
        self._moved = False
        self._files: object = None
        self._step_written = 0
        self._in_vain = 0
        self._closed = False
        self._paused = False

    def __repr__(self) -> str:
        return f"<Observer of {self._claim.agent}: {self.reader!r}, {len(self._waiting)} events wait>"

    def line(self, stream: str, line: bytes) -> None:
        """Take one line of output, in the event loop."""
        signs = self.reader.signs
        self.take(self.reader.feed(stream, line))
        if self.reader.live or self.reader.signs != signs:
            self._alive()

    def take(self, told: Iterable[events.Event]) -> None:
        """Take events, from the output or from the agent's own report."""
        for event in told:
            if isinstance(event, events.Error):
                self._error(event.text)
            elif not isinstance(event, events.Pulse):
                self._alive()
            if isinstance(event, events.Usage):
                self._check_cost(event.cost_usd)
            if len(self._waiting) >= BACKLOG:
                self._waiting.popleft()
                self._left_out += 1
            self._waiting.append(event)
            self._news.set()
        self._check_steps()

    def pause(self) -> None:
        """Count no time against the agent from here: it waits for others."""
        self._paused = True

    def go_on(self) -> None:
        """Count time again, from now."""
        self._paused = False
        self._pulse.restart()
        self._alive()

    def trouble(self, output: str) -> StartTrouble | None:
        """Return what kept the agent from starting, if something did.

        Args:
            output: The end of what it printed.
        """
        if self.reader.acted:
            return None
        return classify("\n".join([*self.errors, self.reader.failed or "", output]))

    async def run(self) -> None:
        """Watch until cancelled. Cancelled, what was not written yet is what `finish` returns."""
        while not self._closed:
            with suppress(TimeoutError):
                # Not wait_for: in Python 3.11 it loses a cancellation that comes together with news.
                async with asyncio.timeout(self._patience()):
                    await self._news.wait()
            self._news.clear()
            await self._look()
            if not self._paused:
                self.take(await self._pulse.look(self._life, self.reader.steps))
                self._check_idle()
            await self._write()
            await asyncio.sleep(PAUSE)

    async def finish(self) -> list[events.Event]:
        """Return what is left to tell, with the record that the agent wrote last read to its end."""
        await self._read_record()
        self.take(self.reader.finish())
        if self.reader.steps != self._step_written and not self._closed:
            await self._write()
        left, self._waiting = [*self._noted(), *self._waiting], deque()
        return left

    def _alive(self) -> None:
        self._life = self._clock()
        self._moved = True

    def _patience(self) -> float:
        """Return how long to wait for news."""
        idle = self._limits.get("idle")
        return TICK if idle is None or self._paused else max(0.01, min(TICK, self._life + idle - self._clock()))

    async def _look(self) -> None:
        """Look at files and record when it is time, and count the step of a command that just prints."""
        await self._read_record()
        if self._clock() - self._looked >= self._look_pause:
            began = self._clock()
            self._pulse.looked = self.reader.steps
            with suppress(CoordError, OSError):  # the agent may be in the middle of anything
                self._see(*await self._sight.files())
            self._looked = self._clock()
            self._look_pause = max(LOOK, SHARE * (self._looked - began))
        if self.reader.live and self._moved and self._clock() - self._stepped >= TICK:
            self._stepped, self._moved = self._clock(), False
            life = self._life
            self.take([self.reader.step()])
            self._life, self._moved = life, False

    def _see(self, paths: list[str], state: object) -> None:
        """Note that files changed since the last look."""
        before, self._files = self._files, state
        if state != before and (paths or before is not None):
            self._pulse.changed()
            self.take([events.FilesChanged(paths=tuple(paths[:SHOWN_FILES]), count=len(paths))])

    async def _read_record(self) -> None:
        data = await self._sight.record()
        if data is not None:
            self.take(self.reader.record(data))

    def _error(self, text: str) -> None:
        self.errors.append(text)
        trouble = None if self.reader.acted else classify(text)
        self._in_vain = self._in_vain + 1 if trouble else 0
        if trouble and self._in_vain >= IN_VAIN:
            self.stop.ask(START, trouble.advice)

    def _check_steps(self) -> None:
        limit = self._limits.get("steps")
        if limit is not None and self.reader.steps > limit:
            self.stop.ask("steps", f"stopped after its limit of {limit:g} steps")

    def _check_cost(self, spent: float | None) -> None:
        limit = self._limits.get("cost")
        if limit is not None and spent is not None and spent > limit:
            self.stop.ask("cost", f"stopped at {spent:.2f} $, over its limit of {limit:g} $")

    def _check_idle(self) -> None:
        limit = self._limits.get("idle")
        if limit is not None and self._clock() - self._life >= limit:
            self.stop.ask("idle", f"stopped after {limit:g} s without a sign of life")

    def _noted(self) -> list[events.Event]:
        count, self._left_out = self._left_out, 0
        return [events.Note(text=f"{count} events were left out: it told more than can be kept")] if count else []

    async def _write(self) -> None:
        """Write what waits, some at a time, and the step."""
        if not self._waiting and self.reader.steps == self._step_written:
            return
        told = [*self._noted(), *(self._waiting.popleft() for _ in range(min(AT_ONCE, len(self._waiting))))]
        step = self.reader.steps
        try:
            await self._claim.report(*told, **({"step": step} if step else {}))
        except Unavailable as error:
            log.warning("events of %s wait: %s", self._claim.agent, error)
            self._waiting.extendleft(reversed(told))
            return
        except OutcomeUnknown as error:  # written again they might stand twice
            log.warning("%d events of %s may be lost: %s", len(told), self._claim.agent, error)
        except (Fenced, LeaseLost) as error:
            log.warning("%s is no longer ours: %s", self._claim.agent, error)
            self._closed = True
            return
        self._step_written = step
        if self._waiting:
            self._news.set()
