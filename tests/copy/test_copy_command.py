"""`coord copy` as a person types it: output, exit codes, the bar on a terminal, going on after a kill."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from coordstore import open_store
from coordstore.cli.main import main
from coordstore.model import Append, Put

if TYPE_CHECKING:
    from pathlib import Path

    from coordstore import CoordStore

pytestmark = pytest.mark.req("S11", "C2")

PROGRAM = [sys.executable, "-c", "from coordstore.cli.main import main; raise SystemExit(main())", "copy"]


@pytest.fixture
def source(tmp_path: Path) -> str:
    url = f"sqlite:{tmp_path}/source.db"

    async def fill(store: CoordStore) -> None:
        lease = await store.grant(600)
        await store.put("held", b"", lease=lease)
        for number in range(100):
            await store.transact([Put(f"k/{number}", b"v")], appends=[Append("s", b"%d" % number)])
        await store.trim("s", 40)

    within(url, fill)
    return url


def within(url: str, work: Any) -> Any:
    async def run() -> Any:
        async with open_store(url) as store:
            return await work(store)

    return asyncio.run(run())


async def heads(store: CoordStore) -> dict[str, int]:
    return await store.heads()


def test_a_copy_is_summed_up(source: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["copy", source, f"sqlite:{tmp_path}/copy.db"]) == 0
    out, err = capfd.readouterr()
    assert "held at revision 102:\n100 keys, 1 stream with 60 records (160 written now)\n" in out
    assert "verified: every key, stream and record is equal (digest " in out
    assert "1 key on leases left out, they belong to living processes: held" in out
    assert err == ""
    assert within(f"sqlite:{tmp_path}/copy.db", heads) == {"s": 100}


def test_json(source: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["copy", source, f"sqlite:{tmp_path}/copy.db", "--json", "--with-leased"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert told["schema"] == 1
    assert told["source"]["url"] == source
    assert (told["revision"], told["keys"], told["streams"], told["records"]) == (102, 101, 1, 60)
    assert told["leased"] == {"copied": True, "keys": ["held"]}
    assert told["verified"] is True
    assert told["resumed"] is False


def test_refusals_are_sentences_with_exit_codes(source: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    target = f"sqlite:{tmp_path}/copy.db"
    assert main(["copy", f"sqlite:{tmp_path}/nothing.db", target]) == 4
    assert "there is no store at" in capfd.readouterr().err
    assert not (tmp_path / "copy.db").exists()
    assert main(["copy", source, source]) == 2
    assert "itself" in capfd.readouterr().err
    assert main(["copy", source, target]) == 0
    assert main(["copy", source, target]) == 2
    assert "--resume goes on with it" in capfd.readouterr().err
    assert main(["copy", source, target, "--resume"]) == 0
    assert "(0 written now)" in capfd.readouterr().out


def test_a_terminal_sees_a_bar(source: str, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [*PROGRAM, source, f"sqlite:{tmp_path}/copy.db"], stderr=theirs, stdout=subprocess.PIPE, check=False, timeout=30
    )
    os.close(theirs)
    shown = os.read(ours, 65536)
    os.close(ours)
    assert done.returncode == 0
    assert b"copying" in shown
    assert b"100%" in shown


def test_following_goes_on_until_it_is_interrupted(source: str, tmp_path: Path) -> None:
    target = f"sqlite:{tmp_path}/copy.db"
    process = subprocess.Popen(
        [*PROGRAM, source, target, "--follow"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stderr
    assert "held at revision 102" in process.stdout.readline()
    assert "following" in process.stderr.readline()

    async def arrives(store: CoordStore) -> bytes:
        async with asyncio.timeout(20), open_store(target) as copy:
            await store.put("late", b"here")
            async for batch in copy.watch("late"):
                for change in batch.changes:
                    if change.entry:
                        return change.entry.value
        return b""

    assert within(source, arrives) == b"here"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "--resume" in said
    assert main(["copy", source, target, "--resume"]) == 0


def test_a_copy_that_was_killed_goes_on(source: str, tmp_path: Path) -> None:
    target = f"sqlite:{tmp_path}/copy.db"
    process = subprocess.Popen([*PROGRAM, source, target, "--follow"], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    process.stdout.readline()
    process.kill()
    process.wait(20)
    process.stdout.close()

    async def more(store: CoordStore) -> int:
        return await store.append("s", [b"more"])

    assert within(source, more) == 101
    again = subprocess.run([*PROGRAM, source, target, "--resume"], check=False, timeout=8)
    assert again.returncode == 0
    assert within(target, heads) == {"s": 101}
