"""Nothing that an agent started is left, however it was cut loose and however the end came."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from coordstore_orchestrator.worker.process import Capture, Guardian, is_alive
from coordstore_orchestrator.worker.process.proctree import below
from tests.process.bench import DAEMON, Bench, identities

if TYPE_CHECKING:
    from pathlib import Path

PAUSE = "import signal; print('up', flush=True); signal.pause()"

HANDS_ON = """
import os, time
end = time.monotonic() + 30
while time.monotonic() < end:
    if os.fork():
        os._exit(0)
    %s
"""
"""Forks and exits for as long as it is let: gone from /proc before anybody has looked."""

REAPED = """
import os
crowd = [os.fork() or os._exit(0) for _ in range(1500)]  # so that a look at /proc takes its time

import asyncio, ctypes, signal, sys
from pathlib import Path
from coordstore_orchestrator.worker.process import Guardian
from tests.process.bench import Bench

async def main():
    async with Guardian() as guardian:
        agent = await Bench(guardian, Path.cwd()).python(sys.argv[1])
        found = await (agent.kill() if sys.argv[2] == "kill" else agent.wait())
        assert not found.survivors, found

ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # whoever escapes the guardian falls to this process
asyncio.run(main())
for pid in crowd:
    os.waitpid(pid, 0)
try:
    _, pid = os.wait(), os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT).si_pid
    os.killpg(os.getpgid(pid), signal.SIGKILL)
    print("one escaped")
except ChildProcessError:
    print("nobody escaped")
"""

HUNDRED = """
import os, signal
for _ in range(100):
    if os.fork() == 0:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.pause()
"""

POLITE = """
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
print("up", flush=True)
signal.sigwait([signal.SIGTERM])
print("bye", flush=True)
os._exit(7)
"""

STOPPED = """
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
parent = os.getpid()
if os.fork() == 0:
    while b") T " not in open(f"/proc/{parent}/stat", "rb").read():
        pass
    print("up", flush=True)
    os._exit(0)
os.kill(parent, signal.SIGSTOP)
signal.sigwait([signal.SIGTERM])
os._exit(7)
"""

CHILD_DECIDES = """
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR1])
parent = os.getpid()
if os.fork() == 0:
    os.setsid()
    print("up", flush=True)
    signal.sigwait([signal.SIGTERM])
    print("child ends", flush=True)
    os.kill(parent, signal.SIGUSR1)
    os._exit(0)
signal.sigwait([signal.SIGUSR1])
os._exit(3)
"""

STUBBORN = "trap '' TERM HUP INT; echo up; while :; do sleep 1000; done"


@pytest.mark.req("W3")
async def test_a_daemon_is_ended_with_its_agent_and_reported(bench: Bench) -> None:
    found = await (await bench.python(DAEMON)).wait()
    pid = int(await asyncio.to_thread((bench.folder / "daemon").read_text))
    assert found.ok
    assert [(left.pid, left.argv) for left in found.leftovers] == [(pid, ("sleep", "1000"))]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.req("W3")
async def test_killing_an_agent_takes_its_daemon_along(bench: Bench) -> None:
    agent = await bench.python(DAEMON + PAUSE)
    await bench.hear()
    daemon = await bench.daemon()
    found = await agent.kill()
    assert (found.code, found.signal, found.leftovers) == (None, signal.SIGKILL, ())
    assert not is_alive(daemon)


@pytest.mark.req("W3")
async def test_only_the_agents_own_processes_are_ended(bench: Bench) -> None:
    other = await bench.python(DAEMON + PAUSE)
    await bench.hear()
    daemon = await bench.daemon()
    # A child is the shell's image until it has run its program.
    leaves = "sleep 1000 & until [ $(cat /proc/$!/comm) = sleep ]; do :; done; exit 0"
    assert (await (await bench.sh(leaves)).wait()).leftovers[0].argv == ("sleep", "1000")
    assert is_alive(daemon)
    assert is_alive(other.identity)


async def test_children_that_end_with_their_agent_are_no_leftovers(bench: Bench) -> None:
    found = await (await bench.sh("mkfifo pipe; cat pipe & exec 3>pipe; echo said >&3; exit 0")).wait()
    assert found.leftovers == ()


@pytest.mark.req("W3")
async def test_a_hundred_children_that_ignore_sigterm_are_all_ended(bench: Bench) -> None:
    found = await (await bench.python(HUNDRED)).wait()
    assert found.ok
    assert len({left.pid for left in found.leftovers}) == 100


@pytest.mark.req("W3")
@pytest.mark.parametrize("how", ["wait", "kill"])
@pytest.mark.parametrize("then", ["pass", "os.setsid()"])
def test_a_process_that_runs_away_by_forking_is_caught(tmp_path: Path, then: str, how: str) -> None:
    argv = [sys.executable, "-c", REAPED, HANDS_ON % then, how]
    done = subprocess.run(argv, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert done.stdout == "nobody escaped\n"


@pytest.mark.req("W3")
async def test_an_agent_that_ignores_sigterm_is_killed_after_the_grace(bench: Bench) -> None:
    agent = await bench.sh(STUBBORN)
    await bench.hear()
    children = identities(child.pid for child in await asyncio.to_thread(below, agent.pid))
    found = await agent.terminate(grace=0.05)
    assert found.signal == signal.SIGKILL
    assert not any(map(is_alive, children))


@pytest.mark.req("W3")
async def test_an_agent_may_end_in_its_own_way_when_asked(bench: Bench) -> None:
    agent = await bench.python(POLITE)
    await bench.hear()
    assert (await agent.terminate()).code == 7
    assert bench.lines == ["up", "bye"]


@pytest.mark.req("W3")
async def test_processes_in_other_sessions_are_asked_too(bench: Bench) -> None:
    agent = await bench.python(CHILD_DECIDES)
    await bench.hear()
    assert (await agent.terminate()).code == 3
    assert bench.lines == ["up", "child ends"]


async def test_a_stopped_agent_hears_that_it_is_asked(bench: Bench) -> None:
    agent = await bench.python(STOPPED)
    await bench.hear()
    assert (await agent.terminate()).code == 7


async def test_an_agent_without_output_is_not_over(bench: Bench) -> None:
    await asyncio.to_thread(os.mkfifo, bench.folder / "gate")
    agent = await bench.sh("echo up; exec >&- 2>&-; read -r _ < gate; exit 6")
    await bench.hear()
    assert agent.running
    await asyncio.to_thread((bench.folder / "gate").write_text, "go\n")
    assert (await agent.wait()).code == 6


async def test_ending_what_has_ended_changes_nothing(bench: Bench) -> None:
    agent = await bench.sh("exit 2")
    first = await agent.wait()
    assert await agent.terminate() == await agent.kill() == await agent.wait() == first


async def test_a_cancelled_wait_leaves_the_agent_running(bench: Bench) -> None:
    agent = await bench.python(PAUSE)
    waiting = asyncio.ensure_future(agent.wait())
    await bench.hear()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert is_alive(agent.identity)
    assert agent.running


@pytest.mark.parametrize("turns", range(0, 40, 3))
async def test_a_cancelled_start_leaves_nothing(bench: Bench, turns: int) -> None:
    starting = asyncio.ensure_future(bench.sh("sleep 1000"))
    for _ in range(turns):
        await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert (await (await bench.sh("exit 0")).wait()).ok


@pytest.mark.req("W3")
async def test_leaving_the_context_ends_all_agents(tmp_path: Path) -> None:
    async with Guardian() as guardian:
        bench = Bench(guardian, tmp_path)
        agents = [await bench.sh(STUBBORN) for _ in range(3)]
        agents.append(await bench.python(DAEMON + PAUSE))
        await bench.hear(4)
        daemon = await bench.daemon()
    assert [(await agent.wait()).signal for agent in agents] == [signal.SIGKILL] * 4
    assert not is_alive(daemon)
    assert guardian.statistics().running == 0
    assert guardian.statistics().started == 4


@pytest.mark.req("W3")
async def test_a_cancelled_context_ends_all_agents_however_often_it_is_cancelled(tmp_path: Path) -> None:
    up = asyncio.Event()
    started: list[Bench] = []

    async def body() -> None:
        async with Guardian() as guardian:
            started.append(Bench(guardian, tmp_path))
            await started[0].sh(STUBBORN)
            await started[0].hear()
            up.set()
            await asyncio.Event().wait()

    task = asyncio.ensure_future(body())
    await up.wait()
    while not task.done():
        task.cancel()
        await asyncio.sleep(0)
    assert task.cancelled()
    assert await started[0].remains() == []


async def test_a_guardian_that_nobody_uses_costs_nothing_to_leave() -> None:
    async with Guardian() as guardian:
        assert guardian.statistics().running == 0


async def test_figures_of_an_agent_are_told(bench: Bench) -> None:
    agent = await bench.python("x = bytearray(50_000_000)\nfor _ in range(3_000_000): pass")
    found = await agent.wait()
    assert found.cpu_seconds > 0.01
    assert found.peak_kib > 48_000
    assert "has ended" in repr(agent)


async def test_a_capture_serves_one_process(bench: Bench) -> None:
    capture = Capture(bench.folder / "logs", "check")
    for number in range(3):
        one = Capture(bench.folder / "logs", "check")
        agent = await bench.guardian.spawn(
            ["sh", "-c", f"echo {number}"], cwd=bench.folder, env=bench.env, capture=one, label="check"
        )
        await agent.wait()
        assert await asyncio.to_thread(one.read) == f"{number}\n".encode()
    names = await asyncio.to_thread(lambda: sorted(path.name for path in capture.folder.iterdir()))
    assert names == [f"check{n}.{stream}.log" for n in ("-2", "-3", "") for stream in ("stderr", "stdout")]
