"""Pulses are told of quiet agents, and of busy ones that change nothing; processor time is that of the whole tree."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from coordstore.session import events
from coordstore_orchestrator.worker.agentrun import pulse_of
from coordstore_orchestrator.worker.pulse import Pulses, Sight, cpu_seconds

BUSY = "import time\nwhile time.process_time() < 0.5: pass"


class Quiet:
    """Pulses on a clock in our hands."""

    def __init__(self, *, measured: bool = True) -> None:
        self.now = 100.0
        self.pulses = Pulses(Sight(self.files, self.record, self.used if measured else None), lambda: self.now)

    async def files(self) -> tuple[list[str], object]:
        return [], ()

    async def record(self) -> bytes | None:
        return None

    async def used(self) -> tuple[float, int]:
        return 1.234, 77

    async def look(self, life: float, steps: int = 0) -> list[events.Pulse]:
        return [each for each in await self.pulses.look(life, steps) if isinstance(each, events.Pulse)]


@pytest.mark.req("M1")
async def test_a_quiet_agents_pulse_comes_and_gets_rarer() -> None:
    scene = Quiet()
    told = []
    for second in range(1, 301):
        scene.now = 100.0 + second
        told += await scene.look(100.0)
    assert [pulse.up for pulse in told[:4]] == [5.0, 10.0, 15.0, 20.0]
    assert told[-1].quiet > 250
    assert len(told) < 30
    assert (told[0].cpu, told[0].output) == (1.23, 77)


@pytest.mark.req("M1")
async def test_a_busy_agent_has_none_unless_it_changes_no_file() -> None:
    scene = Quiet()
    told = []
    for second in range(1, 21):
        scene.now = 100.0 + second
        scene.pulses.looked = second
        told += await scene.look(scene.now, second)
        if second == 5:
            scene.pulses.changed()
    assert [pulse.looked for pulse in told] == list(range(11, 21))
    assert {pulse.files for pulse in told} == {1}
    nobody = Quiet(measured=False)
    nobody.now += 600
    assert await nobody.look(100.0) == []


@pytest.mark.req("M1")
def test_processor_time_is_that_of_ended_children_too() -> None:
    before = cpu_seconds(os.getpid())
    subprocess.run([sys.executable, "-c", BUSY], check=True)
    assert cpu_seconds(os.getpid()) - before >= 0.4
    assert cpu_seconds(2**22 + 1) == 0.0


@pytest.mark.req("M1")
def test_pulses_are_as_frequent_as_the_thresholds_need() -> None:
    assert pulse_of({}) == 5.0
    assert pulse_of({"stall": 60, "silence": 0}) == 5.0
    assert pulse_of({"stall": 3, "tool": 900}) == 1.0
