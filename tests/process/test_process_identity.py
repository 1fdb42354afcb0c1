"""A signal reaches the process that is meant, or nobody."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from coordstore_orchestrator.worker.process import (
    ProcessIdentity,
    SignalRefused,
    is_alive,
    is_dead,
    own_holder,
    process_identity,
    signal_process,
)
from coordstore_orchestrator.worker.process.proctree import Process, read_process, send

if TYPE_CHECKING:
    from collections.abc import Iterator

REUSE = """
import os, signal, subprocess
from pathlib import Path
from coordstore_orchestrator.worker.process import identity

def sleeper():
    return subprocess.Popen(["sleep", "1000"], start_new_session=True)

first = sleeper()
meant = identity.process_identity(first.pid)
first.kill()
first.wait()
for _ in range(50):
    Path("/proc/sys/kernel/ns_last_pid").write_text(str(meant.pid - 1))
    victim = sleeper()
    if victim.pid == meant.pid and identity.process_identity(victim.pid) != meant:  # else within one clock tick
        break
    victim.kill()
    victim.wait()
assert victim.pid == meant.pid, "the pid was not given again"
assert not identity.is_alive(meant)
assert identity.signal_process(meant, signal.SIGKILL) is False
assert victim.poll() is None
victim.kill()
print("the stranger lived")
"""


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as process:
        yield process
        process.kill()


def test_a_process_is_known_by_boot_pid_and_start(sleeper: subprocess.Popen[bytes]) -> None:
    meant = process_identity(sleeper.pid)
    assert is_alive(meant)
    assert signal_process(meant, signal.SIGTERM) is True
    assert sleeper.wait() == -signal.SIGTERM
    assert not is_alive(meant)
    assert signal_process(meant, signal.SIGTERM) is False
    with pytest.raises(ProcessLookupError):
        process_identity(sleeper.pid)


def test_what_only_waits_to_be_collected_is_not_alive(sleeper: subprocess.Popen[bytes]) -> None:
    meant = process_identity(sleeper.pid)
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert not is_alive(meant)
    assert signal_process(meant, signal.SIGTERM) is False


@pytest.mark.security(14)
@pytest.mark.parametrize("change", [{"start_ticks": 1}, {"boot_id": "another"}])
def test_one_that_differs_in_anything_is_a_stranger(
    sleeper: subprocess.Popen[bytes], change: dict[str, str | int]
) -> None:
    known = process_identity(sleeper.pid)
    other = {"boot_id": known.boot_id, "pid": known.pid, "start_ticks": known.start_ticks} | change
    stranger = ProcessIdentity(**other)  # type: ignore[arg-type]  # a mixed mapping, each field of its own type
    assert not is_alive(stranger)
    assert signal_process(stranger, signal.SIGKILL) is False
    assert is_alive(known)


@pytest.mark.security(14)
def test_the_start_time_is_compared_again_when_the_signal_is_sent(sleeper: subprocess.Popen[bytes]) -> None:
    known = read_process(sleeper.pid)
    assert known is not None
    earlier = Process(known.pid, known.parent, known.group, known.state, known.start - 1)
    assert send(earlier, signal.SIGKILL) is False
    assert send(known, signal.SIGKILL) is True
    assert sleeper.wait() == -signal.SIGKILL


@pytest.mark.security(14)
@pytest.mark.parametrize("pid", [1, 0, -1, -os.getpgrp()])
def test_no_signal_goes_to_init_or_to_groups(pid: int) -> None:
    with pytest.raises(SignalRefused, match="no single process"):
        signal_process(ProcessIdentity("any", pid, 0), 0)


@pytest.mark.security(14)
def test_no_signal_goes_to_ourselves_or_our_group() -> None:
    with pytest.raises(SignalRefused, match="this one is in ours"):
        signal_process(process_identity(os.getpid()), signal.SIGCONT)
    with subprocess.Popen(["sleep", "1000"]) as process:
        with pytest.raises(SignalRefused, match="this one is in ours"):
            signal_process(process_identity(process.pid), signal.SIGKILL)
        process.kill()


@pytest.mark.security(14)
@pytest.mark.req("W3")
def test_a_pid_that_was_given_again_is_never_signalled() -> None:
    isolated = ["unshare", *([] if os.geteuid() == 0 else ["--map-root-user"]), "--pid", "--fork", "--mount-proc"]
    if subprocess.run([*isolated, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("pid namespaces cannot be made here")
    done = subprocess.run(
        [*isolated, "--kill-child", sys.executable, "-c", REUSE], check=False, capture_output=True, text=True
    )
    assert done.stdout == "the stranger lived\n", done.stderr


@pytest.mark.security(14)
def test_a_holder_is_known_dead_only_where_that_can_be_seen(sleeper: subprocess.Popen[bytes]) -> None:
    own = own_holder()
    assert own["run"] != own_holder()["run"]
    assert not is_dead(own)
    known = process_identity(sleeper.pid)
    other = own | {"pid": known.pid, "start": known.start_ticks}
    assert not is_dead(other)
    sleeper.kill()
    sleeper.wait()
    assert is_dead(other)
    assert is_dead(own | {"start": 1})
    for unknown in ({"boot": "another"}, {"pids": 1}, {"pid": None}, {"pid": True}, {"start": "1"}):
        assert not is_dead(other | unknown)
    assert not is_dead({})
