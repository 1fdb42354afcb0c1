"""Simulated agents: honest ones that complete, fail or break, and those that go wrong: silent, looping, lying.

What becomes of a run that nobody stopped is asked of the worker's own rule (`refusal`), never of the agent.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from coordstore.session import State, events
from coordstore_orchestrator.worker.agentrun import Ran
from coordstore_orchestrator.worker.outcome import refusal
from coordstore_orchestrator.worker.process import Exit
from coordstore_orchestrator.worker.stop import CANCELLED, INTERRUPTED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coordstore.session import Attempt, Task
    from coordstore.session.claim import Claim
    from coordstore_orchestrator.worker.stop import Stop
    from tests.orchestrator.simulation import Process

__all__ = ["KINDS", "WRONG", "Scripted"]

KINDS: Final = ("complete", "fail", "raise", "silent", "hang", "slow", "still", "mute", "loop", "lie")
WRONG: Final = {
    "still": ("stall",),
    "mute": ("silence", "stall"),
    "loop": ("repeats",),
    "lie": ("nothing-done",),
}
"""How an attempt may end by its agent's own fault, by kind; the others are to be let alone by every detector."""
THRESHOLDS: Final = {"stall": 4, "tool": 8, "silence": 6, "repeats": 3}
NEVER_STOPS: Final = 10**6
PULSE: Final = 2.0
Told = tuple[float, tuple[events.Event, ...]]
"""How long an agent takes, and what it is then seen to have done."""


class Scripted:
    """The runner of one process: each attempt's agent is chosen by the world's dice."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.world = process.world

    async def run(self, claim: Claim, attempt: Attempt, task: Task, stop: Stop) -> None:
        assert attempt.task == task.id
        self.process.active += 1
        assert self.process.active <= self.world.slots[self.process.pid], "more agents than slots"
        try:
            await self._run(claim, task, stop)
        finally:
            self.process.active -= 1

    async def _run(self, claim: Claim, task: Task, stop: Stop) -> None:
        kind = self.world.random.choices(KINDS, self.world.behaviour)[0]
        self.world.kinds[claim.agent] = kind
        watching = events.Watching(profile="p", thresholds=THRESHOLDS)
        await claim.report(events.Note(text=kind), watching, pid=self.process.pid)
        for seconds, told in self._script(kind):
            await self._wait(seconds, stop)
            if stop.asked:
                break
            if told:
                await claim.report(*told)
        await self._end(claim, task, kind, stop)

    async def _wait(self, seconds: float, stop: Stop) -> None:
        """Wait so long, or until it is stopped."""
        work = asyncio.ensure_future(self.world.clock.sleep(seconds))
        asked = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait({work, asked}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            work.cancel()
            asked.cancel()

    async def _end(self, claim: Claim, task: Task, kind: str, stop: Stop) -> None:
        if stop.asked:
            state = State.CANCELLED if stop.code in (CANCELLED, INTERRUPTED) else State.FAILED
            await claim.finish(state, {"code": stop.code, "reason": stop.reason})
        elif kind == "raise":
            message = "the runner broke"
            raise RuntimeError(message)
        elif kind in ("fail", "hang"):
            await claim.finish(State.FAILED, {"code": "failed", "reason": kind})
        elif kind != "silent":
            nobody: Any = None
            ran = Ran(nobody, Exit(0, None), failed=None, said="All done.", stop=stop, told=[], quiet=False)
            wrong = refusal(ran, task.spec, None, changed=kind != "lie")
            if wrong is None:
                await claim.finish(State.COMPLETED, {"code": "completed", "commit": claim.agent})
            else:
                await claim.finish(State.FAILED, {"code": wrong[1], "reason": wrong[0]})

    def _script(self, kind: str) -> Iterator[Told]:
        """Yield what the agent is seen to do, until it ends by itself."""
        if kind == "slow":
            yield from self._slow()
        elif kind == "loop":
            yield from ((0.5, _call("again")) for _ in range(NEVER_STOPS))
        elif kind in ("still", "mute"):
            yield from self._still(kind)
        elif kind == "hang":
            yield 40.0, ()
        elif kind == "lie":
            yield 0.5, (events.Message(text="Everything is implemented and tested."),)
            yield 0.1, (events.Completion(claim="complete", text="All done."),)
        else:
            seconds = self.world.random.choice([0.0, 0.1, 1.0, 5.0])
            for number in range(self.world.random.randint(0, 2)):
                yield seconds / 3, (*_call(str(number)), events.FilesChanged(paths=("f",), count=1))
            yield seconds / 3, ()

    def _slow(self) -> Iterator[Told]:
        """A tool that takes long and uses the processor: whoever stops it is wrong."""
        began = self.world.clock.now()
        yield 0.5, _call("test")
        for number in range(1, 8):
            yield PULSE, (self._pulse(began, cpu=number * PULSE),)
        yield 0.1, (events.ToolResult(ok=True),)

    def _still(self, kind: str) -> Iterator[Told]:
        """Nothing is seen of it any more, for ever; a mute one is known to ask its model."""
        yield 0.1, (events.Step(step=1),)
        if kind == "mute":
            yield 0.1, (events.ModelCall(),)
        began = self.world.clock.now()
        for _ in range(NEVER_STOPS):
            yield PULSE, (self._pulse(began, cpu=0.1),)

    def _pulse(self, began: float, cpu: float) -> events.Pulse:
        up = self.world.clock.now() - began + PULSE
        return events.Pulse(up=up, still=up, quiet=up, cpu=cpu, output=0, files=0)


def _call(digest: str) -> tuple[events.Event, ...]:
    return events.Step(step=1), events.ToolCall(name="bash", digest=digest)
