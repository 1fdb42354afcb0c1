"""An agent gets exactly what it was given, and how it ended is known from its wait status alone."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import sys
from pathlib import Path

import pytest

from coordstore_orchestrator.worker.process import CaptureFailed, Guardian, Inlet, StartFailed, process_identity
from tests.process.bench import Bench


@pytest.mark.req("W3", "T5")
@pytest.mark.parametrize("code", [0, 1, 42, 127, 255])
async def test_the_exit_status_is_the_agents_own(bench: Bench, code: int) -> None:
    agent = await bench.sh(f"echo success; exit {code}")
    found = await agent.wait()
    assert (found.code, found.signal, found.lost, found.leftovers) == (code, None, False, ())
    assert found.ok is (code == 0)


@pytest.mark.req("T5")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGHUP])
async def test_a_signal_that_ended_it_is_told(bench: Bench, number: signal.Signals) -> None:
    agent = await bench.sh(f"ulimit -c 0; kill -{int(number)} $$")
    found = await agent.wait()
    assert (found.code, found.signal) == (None, number)


@pytest.mark.req("W3")
async def test_it_has_a_session_of_its_own_and_is_known_by_start_time(bench: Bench) -> None:
    agent = await bench.sh("echo $$; exec sleep 1000")
    assert await bench.hear() == [str(agent.pid)]
    assert os.getsid(agent.pid) == os.getpgid(agent.pid) == agent.pid
    assert process_identity(agent.pid) == agent.identity


async def test_the_environment_is_the_given_one_and_nothing_else(bench: Bench) -> None:
    agent = await bench.start(["env", "-0"])
    await agent.wait()
    pairs = await asyncio.to_thread(agent.capture.read)
    assert dict(pair.split("=", 1) for pair in pairs.decode().split("\0") if pair) == bench.env


async def test_arguments_arrive_as_they_are(bench: Bench) -> None:
    odd = ["", " ", "$(touch canary)", "; touch canary", "`touch canary`", "a\nb", "--help", "é\udcff", "*"]
    script = "import os, sys; os.write(1, b'\\0'.join(map(os.fsencode, sys.argv[1:])))"
    agent = await bench.start([sys.executable, "-I", "-S", "-c", script, *odd])
    assert (await agent.wait()).ok
    assert (await asyncio.to_thread(agent.capture.read)).split(b"\0") == list(map(os.fsencode, odd))
    assert not await asyncio.to_thread((bench.folder / "canary").exists)


async def test_nothing_of_ours_is_inherited(bench: Bench) -> None:
    script = (
        "import os; print(sorted(map(int, os.listdir('/proc/self/fd')))[:-1], oct(os.umask(0)), os.getcwd())\n"
        "[print(line.strip()) for line in open('/proc/self/status') if line[:6] in ('SigIgn', 'SigBlk')]"
    )
    agent = await bench.start(["sh", "-c", 'exec "$0" -I -S -c "$1"', sys.executable, script])
    await agent.wait()
    first, blocked, ignored = bench.lines
    assert first == f"[0, 1, 2] 0o22 {await asyncio.to_thread(bench.folder.resolve)}"
    assert int(blocked.split()[1], 16) == 0
    # Python ignores two itself; what no program may set (libc's own) is the environment's affair.
    ours = signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}
    assert not int(ignored.split()[1], 16) & sum(1 << number - 1 for number in ours)


@pytest.mark.req("R7")
async def test_what_is_written_while_it_runs_arrives_and_then_the_end(bench: Bench) -> None:
    inlet = Inlet()
    large = b"x" * 3_000_000
    agent = await bench.start(["sh", "-c", "read a; echo got $a; wc -c"], stdin=inlet)
    await inlet.begin()
    inlet.write(b"one\n")
    assert await bench.hear() == ["got one"]
    inlet.write(large)
    inlet.write(b"two\n")
    inlet.close()
    inlet.write(b"too late")
    assert (await agent.wait()).ok
    assert bench.lines[-1] == str(len(large) + 4)


@pytest.mark.req("R7")
async def test_an_agent_that_does_not_read_holds_up_nobody_and_leaves_no_pipe(bench: Bench) -> None:
    before = await asyncio.to_thread(_open_files)
    inlet = Inlet()
    agent = await bench.start(["sh", "-c", "exec <&-; echo deaf; sleep 0.2"], stdin=inlet)
    await inlet.begin()
    assert await bench.hear() == ["deaf"]
    for _ in range(10):
        inlet.write(b"x" * 100_000)
        await asyncio.sleep(0.01)
    assert (await agent.wait()).ok
    inlet.close()
    script = bench.folder / "script"
    script.write_text("#!/nothing/here")
    script.chmod(0o700)
    for command in ("./script", "./nothing-here"):
        with pytest.raises(StartFailed):
            await bench.start([command], stdin=Inlet())
    await asyncio.sleep(0)
    assert await asyncio.to_thread(_open_files) <= before, "a pipe stays open"


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_files_of_agents_have_the_usual_mode_whatever_our_own(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        async with Guardian() as guardian:
            agent = await Bench(guardian, tmp_path).sh("touch file")
            assert (await agent.wait()).ok
    finally:
        os.umask(before)
    assert stat.S_IMODE((await asyncio.to_thread((tmp_path / "file").stat)).st_mode) == 0o644


async def test_without_input_it_reads_the_end_at_once(bench: Bench) -> None:
    agent = await bench.sh("cat; echo over")
    assert (await agent.wait()).ok
    assert bench.lines == ["over"]


@pytest.mark.req("W3")
async def test_agents_run_side_by_side(bench: Bench) -> None:
    script = "touch here.$0; while [ $(ls here.* | wc -l) -lt 5 ]; do :; done"
    agents = await asyncio.gather(*(bench.start(["sh", "-c", script, str(number)]) for number in range(5)))
    assert [(await agent.wait()).ok for agent in agents] == [True] * 5


def executable(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


@pytest.mark.req("P5")
@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["no-such-agent"], "command 'no-such-agent' not found; install it"),
        (["./absent"], "command './absent' not found below"),
        (["./plain"], "'./plain' is not executable: `chmod +x"),
        (["./text"], "'./text' is no program: a script begins with a line such as #!/bin/sh"),
        (["./lost"], "the interpreter that './lost' names in its first line was not found"),
        (["true", "x" * 200_000], "'true' gets more arguments or environment than the kernel takes"),
        (["true", "a\0b"], "NUL byte"),
        ([], "has no command"),
        ([""], "has no command"),
    ],
)
async def test_what_cannot_start_is_refused_with_a_sentence(bench: Bench, argv: list[str], said: str) -> None:
    def files() -> None:
        (bench.folder / "plain").write_text("#!/bin/sh\n")
        executable(bench.folder / "text", "\x01nothing that runs")
        executable(bench.folder / "lost", "#!/no/such/interpreter\n")

    await asyncio.to_thread(files)
    with pytest.raises(StartFailed) as caught:
        await bench.start(argv)
    assert said in str(caught.value)
    assert (await (await bench.sh("exit 5")).wait()).code == 5


async def test_a_missing_folder_or_input_is_named(bench: Bench) -> None:
    with pytest.raises(StartFailed, match=r"cannot start in .*gone .*: the folder must exist"):
        await bench.start(["true"], cwd="gone")
    with pytest.raises(StartFailed, match=r"input .*gone of agent .* cannot be read"):
        await bench.start(["true"], stdin=bench.folder / "gone")


async def test_a_failed_start_leaves_the_folder_to_the_next_and_only_to_one(bench: Bench) -> None:
    await asyncio.to_thread(executable, bench.folder / "text", "\x01")
    with pytest.raises(StartFailed):
        await bench.start(["./text"], logs="logs")
    assert (await (await bench.start(["true"], logs="logs")).wait()).ok
    with pytest.raises(CaptureFailed, match="give each attempt a folder of its own"):
        await bench.start(["true"], logs="logs")
