"""Whoever dies, by kill -9 too, takes along what hangs on it: worker, guardian, keeper."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from coordstore_orchestrator.worker.process import (
    Guardian,
    GuardianLost,
    end_leftovers,
    is_alive,
    process_identity,
)
from coordstore_orchestrator.worker.process.proctree import processes
from tests.process.bench import DAEMON, Bench, all_died, identities

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from coordstore_orchestrator.worker.process import ProcessIdentity

    Work = Callable[[str], tuple[subprocess.Popen[bytes], list[ProcessIdentity]]]

PAUSE = "import signal; print('up', flush=True); signal.pause()"

WORKER = """
import asyncio, os, sys
from pathlib import Path
from coordstore_orchestrator.worker.process import Capture, Guardian
from tests.process.bench import DAEMON, Bench

async def main():
    folder = Path.cwd()
    async with Guardian() as guardian:
        bench = Bench(guardian, folder)
        agents = [await bench.sh("trap '' TERM; echo up; sleep 1000 & wait") for _ in range(3)]
        agents.append(await bench.python(DAEMON + "import signal; print('up', flush=True); signal.pause()"))
        await bench.hear(4)
        print(guardian.statistics().pid, (await bench.daemon()).pid, *(agent.pid for agent in agents), flush=True)
        %s
asyncio.run(main())
"""


@pytest.fixture
def workers() -> Iterator[list[subprocess.Popen[bytes]]]:
    with contextlib.ExitStack() as stack:
        started: list[subprocess.Popen[bytes]] = []
        yield started
        for process in started:
            stack.enter_context(process).kill()


@pytest.fixture
def work(tmp_path: Path, workers: list[subprocess.Popen[bytes]]) -> Work:
    """Return a function that starts a worker with agents, and returns it and who all those processes are."""

    def start(then: str) -> tuple[subprocess.Popen[bytes], list[ProcessIdentity]]:
        process = subprocess.Popen(
            [sys.executable, "-c", WORKER % then], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        workers.append(process)
        assert process.stdout is not None
        pids = process.stdout.readline().split()
        assert len(pids) == 6
        return process, identities(map(int, pids))

    return start


@pytest.mark.req("W3", "M12")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGABRT])
def test_a_worker_that_is_killed_leaves_nothing(work: Work, number: signal.Signals) -> None:
    process, known = work("await asyncio.Event().wait()")
    process.send_signal(number)
    assert process.wait() == -number
    asyncio.run(all_died(known))


@pytest.mark.req("W3")
def test_a_worker_that_leaves_without_a_word_leaves_nothing(work: Work) -> None:
    process, known = work("os._exit(0)")
    assert process.wait() == 0
    asyncio.run(all_died(known))


@pytest.mark.req("W3")
def test_a_forked_copy_of_a_dead_worker_keeps_nothing_alive(work: Work) -> None:
    _, known = work("os.fork() == 0 and sys.stdin.read(); os._exit(0)")
    asyncio.run(all_died(known))


@pytest.mark.req("W3", "M12")
async def test_without_its_guardian_a_worker_knows_that_its_agents_are_lost(tmp_path: Path) -> None:
    async with Guardian() as guardian:
        bench = Bench(guardian, tmp_path)
        agents = [await bench.sh("echo up; exec sleep 1000"), await bench.python(DAEMON + PAUSE)]
        await bench.hear(2)
        daemon = await bench.daemon()
        os.kill(guardian.statistics().pid or 0, signal.SIGKILL)
        ends = [await agent.wait() for agent in agents]
        assert [(end.lost, end.code, end.signal, end.ok) for end in ends] == [(True, None, None, False)] * 2
        assert not any(map(is_alive, (daemon, *(agent.identity for agent in agents))))
        with pytest.raises(GuardianLost, match="open another Guardian"):
            await bench.sh("exit 0")
        assert guardian.statistics().lost
    assert await bench.remains() == []


async def parent_of(pid: int) -> int:
    found = {process.pid: process.parent for process in await asyncio.to_thread(processes)}
    return found[pid]


@pytest.mark.req("W3")
async def test_without_its_keeper_an_agent_is_lost_and_its_daemon_ended(bench: Bench) -> None:
    other = await bench.sh("echo up; exec sleep 1000")
    agent = await bench.python(DAEMON + PAUSE)
    await bench.hear(2)
    daemon = await bench.daemon()
    os.kill(await parent_of(agent.pid), signal.SIGKILL)
    assert (await agent.wait()).lost
    assert not is_alive(agent.identity)
    assert not is_alive(daemon)
    assert is_alive(other.identity)
    assert (await (await bench.sh("exit 0")).wait()).ok


@pytest.mark.req("W3")
async def test_without_either_the_mark_in_the_environment_is_enough(tmp_path: Path) -> None:
    async with Guardian() as guardian:
        bench = Bench(guardian, tmp_path)
        agent = await bench.sh("setsid sh -c 'echo up; exec sleep 1000' & wait")
        await bench.hear()
        remains = identities(await bench.remains())
        assert len(remains) == 2
        pid = guardian.statistics().pid or 0
        keeper = await parent_of(agent.pid)
        os.kill(pid, signal.SIGSTOP)
        os.kill(keeper, signal.SIGKILL)
        os.kill(pid, signal.SIGKILL)
        assert (await agent.wait()).lost
        assert not any(map(is_alive, remains))


@pytest.mark.req("M12")
def test_a_later_worker_ends_what_a_dead_one_has_left() -> None:
    env = {"PATH": os.environ["PATH"], "COORD_RUN": "0f" * 8}
    script = "setsid sleep 1000 & env -i sleep 1000 & echo up; wait"
    with (
        subprocess.Popen(["sh", "-c", script], env=env, stdout=subprocess.PIPE, start_new_session=True) as left,
        subprocess.Popen(["sleep", "1000"], env={**env, "COORD_RUN": "0f" * 9}) as stranger,
    ):
        assert left.stdout is not None
        left.stdout.readline()
        ended = asyncio.run(end_leftovers("0f" * 8))
        assert len(ended) == 3
        assert ("sh", "-c", script) in [one.argv for one in ended]
        assert left.wait() == -signal.SIGKILL
        assert is_alive(process_identity(stranger.pid))
        assert asyncio.run(end_leftovers("0f" * 8)) == []
        assert asyncio.run(end_leftovers("")) == []
        stranger.kill()
