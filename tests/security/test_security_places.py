"""State folders that were planted are refused, all files are private, and nobody else gets in."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from coordstore.home import find_common_dir, home_name
from tests.run.conftest import Place
from tests.security.nobody import NOBODY, allowed, can_be_nobody

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def seen_place() -> Iterator[Place]:
    """Give a place that everybody can get to: pytest's own folders would keep others out by themselves."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Place(Path(name))


def _link(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def _shared(path: Path, _: Path) -> None:
    path.mkdir()
    path.chmod(0o777)


def _foreign(path: Path, _: Path) -> None:
    path.mkdir(mode=0o700)
    os.chown(path, NOBODY, NOBODY)


def _pipe(path: Path, _: Path) -> None:
    os.mkfifo(path)


@pytest.mark.security(7)
@pytest.mark.parametrize("plant", [_link, _shared, _foreign, _pipe])
@pytest.mark.parametrize("where", ["", "sessions", "sessions/s"])
def test_a_planted_folder_is_refused_before_anything_is_written(
    place: Place, where: str, plant: Callable[[Path, Path], None]
) -> None:
    if plant is _foreign and not can_be_nobody():
        pytest.skip("declared: only root can give a folder away")
    victim = place.folder / "victim"
    victim.mkdir()
    folder = place.folder / "state" / home_name(find_common_dir(place.repository)) / where
    folder.parent.mkdir(parents=True)
    for parent in folder.relative_to(place.folder).parents[:-1]:
        (place.folder / parent).chmod(0o700)
    plant(folder, victim)
    done = place.run(place.plan({"t": {}}))
    assert done.code == 4, done
    assert str(folder) in done.err
    assert "this should not happen" not in done.err
    assert list(victim.iterdir()) == []
    assert folder.is_fifo() or folder.is_symlink() or list(folder.iterdir()) == []


@pytest.mark.security(7)
@pytest.mark.parametrize("store", ["", "sqlite", "file"])
def test_a_link_that_somebody_else_put_where_everybody_may_is_refused(place: Place, store: str) -> None:
    """It may lead to a folder of ours now, and to another one when that has been looked at."""
    if not can_be_nobody():
        pytest.skip("declared: only root can give a link away")
    everybodys, own = place.folder / "everybodys", place.folder / "own"
    everybodys.mkdir()
    everybodys.chmod(0o1777)
    own.mkdir(mode=0o700)
    link = everybodys / "link"
    link.symlink_to(own)
    os.chown(link, NOBODY, NOBODY, follow_symlinks=False)
    place.env["COORD_HOME"] = str(place.folder / "state" if store else link)
    done = place.coord(*(["--store", f"{store}:{link}/x/store"] if store else []), "run", place.plan({"t": {}}))
    assert (done.code, f"{link}, on the way to" in done.err) == (4, True), done
    assert list(own.iterdir()) == []


@pytest.mark.security(7)
def test_a_store_that_is_another_files_second_name_is_refused(place: Place) -> None:
    home = place.folder / "state" / home_name(find_common_dir(place.repository))
    home.mkdir(mode=0o700, parents=True)
    other = place.folder / "other"
    other.touch(mode=0o600)
    (home / "store.db").hardlink_to(other)
    done = place.run(place.plan({"t": {}}))
    assert (done.code, "hard link" in done.err) == (4, True), done
    assert other.read_bytes() == b""


@pytest.mark.security(8)
@pytest.mark.req("C1")
def test_after_a_whole_session_without_a_umask_nothing_is_open_to_others(seen_place: Place) -> None:
    place = seen_place
    old = os.umask(0)
    try:
        done = place.run(place.plan({name: {} for name in ("x", "y")}, validate=["true"]))
    finally:
        os.umask(old)
    assert done.code == 0, done
    state = place.folder / "state"
    open_ones = [path for path in [state, *state.rglob("*")] if not path.is_symlink() and _mode(path) & 0o077]
    assert open_ones == []
    if can_be_nobody():
        own = str(place.repository / "a.txt")
        assert allowed("-r", own) == [own]
        assert allowed("-r", str(state), *map(str, state.rglob("*"))) == []


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


LISTEN = "0A"


def _listening(pids: set[int]) -> Iterator[str]:
    """Yield the internet addresses that some processes listen at."""
    inodes = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            inodes |= {str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir() if fd.is_symlink()}
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if f"socket:[{fields[9]}]" in inodes and (fields[3] == LISTEN or table.startswith("udp")):
                yield f"{table} {fields[1]}"


def _descendants(pid: int) -> set[int]:
    parents = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found, grown = {pid}, True
    while grown:
        more = {child for child, parent in parents.items() if parent in found} - found
        found |= more
        grown = bool(more)
    return found


@pytest.mark.security(11)
def test_a_run_listens_nowhere_but_at_private_sockets(seen_place: Place) -> None:
    """Its agents' sockets lie in folders that are the user's alone: another user does not get to them."""
    place = seen_place
    fifo = place.folder / "go"
    os.mkfifo(fifo)
    script = f"echo $COORD_AGENT_SOCKET > t.txt; cat {fifo} > /dev/null"
    process = place.start("run", place.plan({"t": {"sh": script}}), "--session", "s")
    out = os.open(fifo, os.O_WRONLY)  # returns when the agent is there
    try:
        assert list(_listening(_descendants(process.pid))) == []
        (tree,) = place.folder.glob("state/*/sessions/s/worktrees/t.1")
        address = (tree / "t.txt").read_text().strip()
        assert stat.S_ISSOCK(Path(address).stat().st_mode)
        assert not _mode(Path(address)) & 0o077 or not _mode(Path(os.path.realpath(address)).parent) & 0o077
        if can_be_nobody():
            assert allowed("-S", address) == [], "another user gets to the socket"
    finally:
        os.close(out)
    process.communicate(timeout=60)
    assert process.returncode == 0


@pytest.mark.security(11)
def test_a_listener_would_be_seen() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        assert list(_listening({os.getpid()}))


@pytest.mark.security(9)
def test_no_record_dumps_the_environment(place: Place) -> None:
    """What an agent's environment holds is nowhere in the state, even where the agent prints it all."""
    secrets = {"SOME_API_KEY": "plain-4711-value", "DB_PASSWORD": "correct horse battery"}
    plan = place.plan({"t": {"sh": "env; echo x > t.txt"}})
    assert place.coord("run", plan, "--session", "s", **secrets, UNRELATED="a-value-that-nobody-passes-on").code == 0
    kept = [path for path in place.folder.glob("state/**/*") if path.is_file() and not path.is_symlink()]
    for path in kept:
        data = path.read_bytes()
        assert not [name for name, value in secrets.items() if value.encode() in data], path
        assert b"a-value-that-nobody-passes-on" not in data, path
    assert json.loads(place.coord("inspect", "s", "--json").out)["sessions"][0]["id"] == "s"
