"""Output is taken in whatever comes: kept within bounds, private, redacted, and never at the agent's cost."""

from __future__ import annotations

import asyncio
import os
import resource
import stat
import sys
from typing import TYPE_CHECKING

import pytest

from coordstore_orchestrator.worker.process import Capture, CaptureFailed
from coordstore_orchestrator.worker.process.logfile import LogFile, log_parts, private_folder, read_log
from coordstore_orchestrator.worker.process.stream import LineSplitter

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from coordstore_orchestrator.worker.process import Exit
    from tests.process.bench import Bench

MEGABYTE = 1_000_000
FLOOD = f"import os\nfor n in range(64): os.write(1, (b'%d ' % n + b'x' * 61 + b'\\n') * ({MEGABYTE} // 64))"
"""About 64 MB."""


async def run(bench: Bench, capture: Capture, script: str) -> Exit:
    argv = [sys.executable, "-I", "-S", "-c", script]
    agent = await bench.guardian.spawn(argv, cwd=bench.folder, env=bench.env, capture=capture, label="agent")
    return await agent.wait()


def sizes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in folder.iterdir()}


@pytest.mark.req("O1")
async def test_both_streams_are_kept_and_counted(bench: Bench) -> None:
    heard: list[tuple[str, bytes]] = []
    now = iter(range(100, 200))
    capture = Capture(
        bench.folder / "logs", on_line=lambda stream, line: heard.append((stream, line)), clock=lambda: next(now)
    )
    silent = capture.last_output_at
    script = "import os; os.write(1, b'one\\ntwo\\nthree'); os.write(2, b'\\n\\xff\\n')"
    assert (await run(bench, capture, script)).ok
    assert [line for stream, line in heard if stream == "stdout"] == [b"one", b"two", b"three"]
    assert [line for stream, line in heard if stream == "stderr"] == [b"", b"\xff"]
    found = capture.statistics()
    assert (found.stdout_bytes, found.stderr_bytes, found.written, found.errors) == (13, 3, 16, ())
    assert silent is None
    assert capture.last_output_at in range(100, 200)
    assert await asyncio.to_thread(capture.read, "stdout") == b"one\ntwo\nthree"
    assert await asyncio.to_thread(capture.read, "stderr") == b"\n\xff\n"


async def test_the_newest_output_is_at_hand(bench: Bench) -> None:
    capture = Capture(bench.folder / "logs", "check")
    await run(bench, capture, "import os; os.write(1, b'a' * 100_000 + 'é failed'.encode())")
    assert capture.tail(8) == "é failed"
    assert len(capture.tail(50_000)) < 20_000


@pytest.mark.security(17)
@pytest.mark.req("O1")
async def test_a_flood_fills_no_disk_blocks_no_loop_and_hangs_nobody(bench: Bench) -> None:
    capture = Capture(bench.folder / "logs", cap=MEGABYTE)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.ensure_future(count())
    assert (await run(bench, capture, FLOOD)).ok
    counting.cancel()
    found = capture.statistics()
    assert found.stdout_bytes == found.written > 63 * MEGABYTE
    assert turns > 64
    kept = await asyncio.to_thread(sizes, bench.folder / "logs")
    assert 0.6 * MEGABYTE <= sum(kept.values()) <= MEGABYTE
    assert len(kept) == 4
    text = await asyncio.to_thread(capture.read)
    assert text.startswith(b"0 xxx")
    assert text.endswith(b"xxx\n")
    assert b"\n63 xxx" in text
    left_out = found.stdout_bytes - sum(kept.values())
    assert f"[{left_out} bytes left out]".encode() in text


@pytest.mark.security(9)
async def test_secrets_reach_neither_disk_nor_readers(bench: Bench) -> None:
    secrets = ["correct horse battery", "hunter2\nsecond line", "ghp_" + "a1B2" * 9]
    script = (
        "import os, sys\ndata = ('>' + '|'.join(sys.stdin.read().split('&')) + '<').encode()\n"
        "for at in range(0, len(data), 3): os.write(1, data[at:at+3])"
    )
    heard: list[bytes] = []
    capture = Capture(bench.folder / "logs", secrets=secrets[:2], on_line=lambda _, line: heard.append(line))
    source = bench.folder / "input"
    await asyncio.to_thread(source.write_text, "&".join(secrets))
    agent = await bench.guardian.spawn(
        [sys.executable, "-c", script], cwd=bench.folder, env=bench.env, capture=capture, stdin=source, label="agent"
    )
    assert (await agent.wait()).ok
    assert await asyncio.to_thread(capture.read) == b">[redacted]|[redacted]|[redacted]<"
    assert heard == [b">[redacted]|[redacted]|[redacted]<"]
    assert capture.tail() == ">[redacted]|[redacted]|[redacted]<"


async def test_a_reader_that_fails_is_noted_and_reading_goes_on(bench: Bench) -> None:
    told: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))

    def fail(stream: str, line: bytes) -> None:
        raise ZeroDivisionError

    capture = Capture(bench.folder / "logs", on_line=fail)
    assert (await run(bench, capture, "print('one'); print('two')")).ok
    assert await asyncio.to_thread(capture.read) == b"one\ntwo\n"
    assert capture.statistics().errors == ("the reader of stdout failed (ZeroDivisionError()) and gets no more lines",)
    assert [type(context["exception"]) for context in told] == [ZeroDivisionError]


async def test_a_pipe_handed_to_a_stranger_does_not_hold_anybody_up(bench: Bench) -> None:
    capture = Capture(bench.folder / "logs")
    end, other = await asyncio.to_thread(capture.open)
    capture.start()
    os.set_blocking(end, False)
    os.write(end, b"said")
    await capture.finish(seconds=0.01)
    assert await asyncio.to_thread(capture.read) == b"said"
    os.close(end)
    os.close(other)


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.security(8)
async def test_everything_is_private_also_without_a_umask(bench: Bench, open_umask: None) -> None:
    capture = Capture(bench.folder / "a" / "logs", cap=1000)
    await run(bench, capture, "print('x' * 5000)")

    def modes() -> Iterator[int]:
        for path in [capture.folder.parent, *capture.folder.parent.rglob("*")]:
            yield stat.S_IMODE(path.stat().st_mode) & 0o077

    assert set(await asyncio.to_thread(lambda: list(modes()))) == {0}


@pytest.mark.security(8)
def test_a_folder_that_is_not_ours_alone_is_made_so_or_refused(tmp_path: Path) -> None:
    wide = tmp_path / "wide"
    wide.mkdir()
    wide.chmod(0o777)
    private_folder(wide)
    assert stat.S_IMODE(wide.stat().st_mode) == 0o700
    (tmp_path / "link").symlink_to(wide)
    os.mkfifo(tmp_path / "fifo")
    for name in ("link", "fifo"):
        with pytest.raises(CaptureFailed, match="choose a plain folder"):
            private_folder(tmp_path / name)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_somebody_elses_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", 65534, 65534)
    with pytest.raises(CaptureFailed, match="belongs to user 65534"):
        private_folder(tmp_path / "theirs")


def write_all(log: LogFile, pieces: Sequence[bytes]) -> None:
    for piece in pieces:
        log.write(piece)
    log.close()


@pytest.mark.parametrize("length", [0, 1, 49, 50, 51, 75, 100, 101, 250, 1000])
def test_beginning_and_end_are_kept_and_the_gap_is_counted(tmp_path: Path, length: int) -> None:
    data = bytes(byte % 251 for byte in range(length))
    write_all(LogFile(tmp_path, "stdout", cap=100), [data[at : at + 7] for at in range(0, length, 7)])
    place = 0
    for start, path in log_parts(tmp_path, "stdout"):
        part = path.read_bytes()
        assert part == data[start : start + len(part)]
        place = start + len(part)
    assert place == length
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 100
    kept = read_log(tmp_path, "stdout")
    assert (kept == data) == (length <= 100)


def test_a_full_disk_costs_output_and_nothing_else(tmp_path: Path) -> None:
    log = LogFile(tmp_path, "stdout", cap=100_000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            log.write(b"x" * 20_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert log.written == 10_000
    log.write(b"y")
    log.close()
    assert read_log(tmp_path, "stdout") == b"x" * 10_000 + b"y"


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_lines_are_cut_wherever_the_pieces_are(size: int) -> None:
    text = b"one\n\ntwo" + b"x" * 50 + b"\nthree\nlast"
    splitter = LineSplitter(longest=10)
    found = [line for at in range(0, len(text), size) for line in splitter.feed(text[at : at + size])]
    assert found + splitter.finish() == [b"one", b"", b"twoxxxxxxx", b"three", b"last"]
    assert splitter.finish() == []
