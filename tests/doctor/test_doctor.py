"""`coord doctor` finds what was broken on purpose, says what to do, and changes nothing."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from coordstore import open_store
from coordstore.checkup import Finding
from coordstore.checkup.processes import is_dead, own_record
from coordstore.cli.main import main
from coordstore.errors import Unsupported
from coordstore.home import worktree_dir
from coordstore.hookspecs import hookimpl
from coordstore.model import Append, Put
from coordstore.plugins import plugin_manager
from coordstore.session.keys import SessionKeys
from coordstore.session.session import Session, as_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from coordstore import CoordStore
    from coordstore.hookspecs import RegisterCheckup
    from coordstore.url import StoreURL

pytestmark = pytest.mark.req("C2")

HOLD = """
import sys
from pathlib import Path
from coordstore.hostkit import StoreLock
lock = StoreLock(Path(sys.argv[1]), 5)
with lock.held():
    print("held", flush=True)
    sys.stdin.read()
"""


class Told(NamedTuple):
    code: int
    findings: list[dict[str, Any]]

    def of(self, check: str, level: str | None = None) -> list[dict[str, Any]]:
        return [each for each in self.findings if each["check"] == check and level in (None, each["level"])]

    @property
    def bad(self) -> set[tuple[str, str]]:
        return {(each["check"], each["level"]) for each in self.findings if each["level"] != "ok"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the database of a store with some contents, closed."""
    path = tmp_path / "private" / "store.db"
    within(path, fill)
    return path


@pytest.fixture
def doctor(capfd: pytest.CaptureFixture[str]) -> Callable[..., Told]:
    def run(*args: str | Path) -> Told:
        capfd.readouterr()
        named = [f"sqlite:{arg}" if isinstance(arg, Path) else arg for arg in args]
        code = main(["doctor", *named, "--json"])
        told = json.loads(capfd.readouterr().out)
        assert told["schema"] == 1
        assert told["healthy"] == (code == 0)
        assert all(each["advice"] for each in told["findings"] if each["level"] != "ok")
        return Told(code, told["findings"])

    return run


async def fill(store: CoordStore) -> None:
    for number in range(50):
        await store.transact([Put(f"k/{number}", b"v" * 500)], appends=[Append("s", b"%d" % number)])
    await store.append("t", [b"1", b"2"])
    await store.trim("t", 2)


def within(path: Path, work: Callable[[CoordStore], Any]) -> Any:
    async def run() -> Any:
        async with open_store(f"sqlite:{path}") as store:
            return await work(store)

    return asyncio.run(run())


def damage(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        for statement in statements:
            database.execute(statement)
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


# --- the store -----------------------------------------------------------------------------------------------------


def test_a_healthy_store(path: Path, doctor: Callable[..., Told]) -> None:
    told = doctor(path)
    assert (told.code, told.bad) == (0, set())
    for check in ("reachable", "format", "integrity", "content", "sqlite", "permissions", "file system", "disk space"):
        assert told.of(check), check
    assert {"lock", "leases", "sessions", "git", "durability"} <= {each["check"] for each in told.findings}


def test_for_people(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path.chmod(0o644)
    assert main(["doctor", f"sqlite:{path}"]) == 1
    out = capfd.readouterr().out
    assert f"-> chmod 600 {path}" in out
    assert out.splitlines()[-1].startswith("2 problems, ")


def test_nothing_is_changed(path: Path, doctor: Callable[..., Told]) -> None:
    def state() -> dict[str, tuple[bytes, int]]:
        return {each.name: (each.read_bytes(), each.stat().st_mode) for each in path.parent.iterdir()}

    doctor(path)
    before = state()
    doctor(path)
    assert state() == before
    assert path.read_bytes() == before[path.name][0]
    assert all(mode & 0o777 == 0o600 for _, mode in before.values())


def test_a_store_in_use_is_healthy_and_goes_on(path: Path, doctor: Callable[..., Told]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", BUSY, f"sqlite:{path}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout
    assert process.stdout.readline() == b"writing\n"
    told = doctor(path)
    process.communicate(timeout=20)
    assert process.returncode == 0
    assert (told.code, told.bad) == (0, set())


def test_a_lock_that_is_let_go_after_a_while_is_no_trouble(path: Path, doctor: Callable[..., Told]) -> None:
    with path.with_name(f"{path.name}-lock").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        holder = threading.Timer(1.0, fcntl.flock, (file, fcntl.LOCK_UN))
        holder.start()
        told = doctor(path)
        holder.join()
    assert not told.of("lock", "warning")


BUSY = """
import asyncio, sys
from coordstore import open_store
async def work():
    async with open_store(sys.argv[1]) as store:
        reading = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
        await store.put("busy", b"")
        print("writing", flush=True)
        while not reading.done():
            await store.put("busy", b"")
asyncio.run(work())
"""


@pytest.mark.parametrize(
    ("statements", "check", "words"),
    [
        (["UPDATE entries SET value = x'00' WHERE key = 'k/7'"], "content", "k/7"),
        (["UPDATE changes SET revision = revision + 1000 WHERE key = 'k/8'"], "content", "k/8"),
        (["UPDATE records SET data = x'00' WHERE stream = 's' AND sequence = 3"], "content", "s"),
        (["DELETE FROM records WHERE stream = 's' AND sequence = 3"], "content", "missing in 1 streams: s"),
        (["UPDATE meta SET placed = revision"], "content", "missing in 1 streams: s"),
        (["INSERT INTO places VALUES ('t', 1, 1, 0)"], "content", "missing in 1 streams: t"),
        (["UPDATE streams SET head = 60 WHERE name = 's'"], "content", "missing in 1 streams: s"),
        (["CREATE TABLE notes (text)"], "content", "notes"),
        (["DROP INDEX entries_by_lease"], "content", "missing: entries_by_lease"),
        (["PRAGMA user_version = 99"], "integrity", "format 99"),
        (["PRAGMA application_id = 7"], "integrity", "no store of coordstore"),
        (["DELETE FROM meta"], "integrity", "identity"),
    ],
)
def test_damage_is_found_and_named(
    path: Path, doctor: Callable[..., Told], statements: list[str], check: str, words: str
) -> None:
    damage(path, *statements)
    told = doctor(path)
    assert told.code == 1
    assert any(words in each["text"] for each in told.of(check, "problem")), told.of(check)


def test_a_damaged_page_is_found(path: Path, doctor: Callable[..., Told]) -> None:
    damage(path)
    with path.open("r+b") as file:
        file.seek(4096 * 3)
        file.write(os.urandom(4096 * 4))
    told = doctor(path)
    assert told.code == 1
    assert told.of("integrity", "problem")


def test_what_is_no_database_is_found(path: Path, doctor: Callable[..., Told]) -> None:
    for name in ("-wal", "-shm"):
        path.with_name(path.name + name).unlink(missing_ok=True)
    path.write_bytes(b"no database" * 1000)
    told = doctor(path)
    assert told.code == 1
    assert told.of("integrity", "problem")
    assert told.of("reachable", "problem")


def test_another_journal_mode_is_a_warning(path: Path, doctor: Callable[..., Told]) -> None:
    damage(path, "PRAGMA journal_mode = DELETE")
    assert doctor(path).bad == {("content", "warning")}


# --- what it stands on ---------------------------------------------------------------------------------------------


def test_what_others_may_use_is_a_problem(path: Path, doctor: Callable[..., Told]) -> None:
    path.parent.chmod(0o770)
    path.with_name("store.db-lock").chmod(0o660)
    told = doctor(path)
    assert {each["advice"] for each in told.of("permissions", "problem")} == {
        f"chmod go-w {path.parent}, or use a private directory",
        f"chmod 600 {path}-lock",
    }


def test_a_link_in_place_of_a_file_is_a_problem(path: Path, doctor: Callable[..., Told]) -> None:
    path.with_name("store.db-leases").unlink()
    path.with_name("store.db-leases").symlink_to("/dev/null")
    assert "symbolic link" in doctor(path).of("permissions", "problem")[0]["text"]


def test_the_disk(path: Path, doctor: Callable[..., Told], monkeypatch: pytest.MonkeyPatch) -> None:
    def room(free: int, names: int) -> Callable[[object], SimpleNamespace]:
        return lambda _: SimpleNamespace(f_bavail=free, f_frsize=1, f_favail=names, f_files=10**6)

    for free, names, level in ((2**40, 10**5, "ok"), (2**29, 10**5, "warning"), (2**20, 10**5, "problem")):
        monkeypatch.setattr(os, "statvfs", room(free, names))
        assert [each["level"] for each in doctor(path).of("disk space")] == [level]
    monkeypatch.setattr(os, "statvfs", room(2**40, 3))
    assert doctor(path).of("disk space", "problem")


def test_a_network_file_system(path: Path, doctor: Callable[..., Told], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        message = "it is on a network file system (nfs4): use etcd:"
        raise Unsupported(message)

    monkeypatch.setattr("coordstore.checkup.host.refuse_network", refuse)
    assert doctor(path).of("file system", "problem")
    assert doctor(f"sqlite:{path}?allow_network_fs=1").of("file system", "warning")


@pytest.mark.security(16)
@pytest.mark.parametrize(
    ("version", "level", "words"),
    [
        ((3, 7, 0), "problem", "too old"),
        ((3, 40, 1), "ok", "has the WAL-reset bug"),
        ((3, 51, 2), "ok", "has the WAL-reset bug"),
        ((3, 51, 3), "ok", "without the WAL-reset bug"),
    ],
)
def test_the_version_of_sqlite(
    path: Path, doctor: Callable[..., Told], monkeypatch: pytest.MonkeyPatch, version: Any, level: str, words: str
) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", version)
    (found,) = doctor(path).of("sqlite")
    assert found["level"] == level
    assert words in found["text"]


@pytest.fixture
def holder(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Return a process that holds the store's lock."""
    argv = [sys.executable, "-c", HOLD, f"{path}-lock"]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout
    assert process.stdout.readline() == b"held\n"
    yield process
    process.send_signal(signal.SIGCONT)
    process.communicate(timeout=20)


def test_a_lock_that_is_held_names_its_holder(
    path: Path, doctor: Callable[..., Told], holder: subprocess.Popen[bytes]
) -> None:
    assert f"process {holder.pid} on " in doctor(f"sqlite:{path}?lock_wait=0.1").of("lock", "warning")[0]["text"]


def test_a_stopped_holder_of_the_lock_is_a_problem(
    path: Path, doctor: Callable[..., Told], holder: subprocess.Popen[bytes]
) -> None:
    holder.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, holder.pid, os.WSTOPPED | os.WNOWAIT)
    (found,) = doctor(f"sqlite:{path}?lock_wait=0.1").of("lock", "problem")
    assert f"kill -CONT {holder.pid}" in found["advice"]


# --- leases, sessions, folders, git --------------------------------------------------------------------------------


@pytest.fixture
def dead() -> dict[str, Any]:
    """Return the record of a process that is gone."""
    code = "import json; from coordstore.checkup.processes import own_record; print(json.dumps(own_record()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    record: dict[str, Any] = json.loads(done.stdout)
    assert is_dead(record)
    return record


def test_only_what_is_known_to_be_gone_counts_as_dead(dead: dict[str, Any]) -> None:
    mine = own_record()
    assert not is_dead(mine)
    assert is_dead({**mine, "start": mine["start"] + 1})
    for part in ("boot", "pids", "pid", "start"):
        assert not is_dead({**dead, part: "other"}), part
        assert not is_dead({name: value for name, value in dead.items() if name != part}), part


def test_keys_of_a_dead_process(path: Path, doctor: Callable[..., Told], dead: dict[str, Any]) -> None:
    alive = as_value(own_record())

    async def hold(store: CoordStore) -> None:
        lease = await store.grant(600)
        await store.put("shop/leader", as_value(dead), lease=lease)
        await store.put("alive", alive, lease=lease)
        await store.put("opaque", b"\xff", lease=lease)

    within(path, hold)
    (found,) = doctor(path).of("leases")
    assert found["level"] == "warning"
    assert f"shop/leader is held by process {dead['pid']}" in found["text"]


def test_a_session_that_nobody_leads(path: Path, doctor: Callable[..., Told]) -> None:
    async def begin(store: CoordStore) -> None:
        await Session(store, "shop").create(
            {"goal": "g", "digest": "d", "base": "b"}, {"a": {"name": "A", "needs": []}}
        )

    within(path, begin)
    (found,) = doctor(path).of("sessions")
    assert found["level"] == "warning"
    assert found["text"].startswith("session shop: nobody orchestrates")
    assert found["advice"].endswith("--session shop")


@pytest.mark.req("G4")
def test_worktrees_left_behind(tmp_path: Path, doctor: Callable[..., Told], monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run(["git", "init", "-q", tmp_path / "project"], check=True)
    monkeypatch.chdir(tmp_path / "project")
    from coordstore.cli.context import Settings

    home = Settings().home()

    async def begin(store: CoordStore) -> None:
        session, keys = Session(store, "shop"), SessionKeys("shop")
        await session.create({"goal": "g", "digest": "d", "base": "b"}, {"a": {"name": "A", "needs": []}})
        await session.assign((await session.view()).tasks["a"], "b")
        await store.put(keys.agent("a.1", "status"), b"failed")

    within(home / "store.db", begin)
    assert doctor().of("worktrees", "ok")
    for session, agent in (("shop", "a.1"), ("lost", "x.1")):
        worktree_dir(home, session, agent).mkdir(parents=True)
    left = {each["text"].partition(" was ")[0] for each in doctor().of("worktrees", "warning")}
    assert left == {str(worktree_dir(home, "shop", "a.1")), str(worktree_dir(home, "lost", "x.1"))}

    leader = as_value(own_record())

    async def lead(store: CoordStore) -> None:
        await store.put("shop/leader", leader, lease=await store.grant(600))

    within(home / "store.db", lead)
    assert len(doctor().of("worktrees", "warning")) == 1


@pytest.mark.parametrize(
    ("script", "words"),
    [("echo git version 2.37.9", "too old"), ("exit 3", "does not start"), (None, "does not start")],
)
def test_git(
    tmp_path: Path, path: Path, doctor: Callable[..., Told], monkeypatch: pytest.MonkeyPatch, script: str, words: str
) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    if script:
        (folder / "git").write_text(f"#!/bin/sh\n{script}\n")
        (folder / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    assert words in doctor(path).of("git", "problem")[0]["text"]


# --- which store ---------------------------------------------------------------------------------------------------


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path, doctor: Callable[..., Told]) -> None:
    told = doctor(tmp_path / "nothing.db")
    assert told.bad == {("reachable", "warning")}
    assert list(tmp_path.iterdir()) == []


def test_a_scheme_that_nobody_has_is_a_problem(doctor: Callable[..., Told]) -> None:
    assert doctor("shelf:x").bad == {("backend", "problem"), ("reachable", "problem")}


def test_a_wrong_option_is_a_problem(path: Path, doctor: Callable[..., Told]) -> None:
    assert doctor(f"sqlite:{path}?durability=odd").of("reachable", "problem")


def test_a_url_that_is_none_is_a_usage_error() -> None:
    assert main(["doctor", "nonsense"]) == 2


def test_a_backend_without_a_checkup_is_looked_at_through_the_contract(doctor: Callable[..., Told]) -> None:
    told = doctor("memory:")
    assert told.bad == {("backend", "warning")}
    assert told.of("reachable", "ok")


def look(url: StoreURL) -> list[Finding]:
    """Look at a store of the test's plugin."""
    return [Finding.problem("shelf", f"{url.rest} is dusty", "clean it")]


def test_a_plugin_adds_its_findings(doctor: Callable[..., Told], monkeypatch: pytest.MonkeyPatch) -> None:
    class Shelf:
        @hookimpl
        def register_checkups(self, register: RegisterCheckup) -> None:
            register("shelf", "shelf_checkup:look", summary="dust")

    monkeypatch.setitem(sys.modules, "shelf_checkup", SimpleNamespace(look=look))
    plugin = Shelf()
    plugin_manager().register(plugin, "shelf:shelf")
    try:
        (found,) = doctor("shelf:top").of("shelf")
    finally:
        plugin_manager().unregister(plugin)
    assert found == {"check": "shelf", "level": "problem", "text": "top is dusty", "advice": "clean it"}
