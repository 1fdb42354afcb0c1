"""What lies on disk: modes, what may not lie there, other formats, damage, files exchanged under a handle."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import stat
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from coordstore import open_store
from coordstore.errors import CoordError, Corrupt, InvalidArgument, StoreReplaced, Unavailable, VersionMismatch
from coordstore.model import Append, Put

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


async def fill(url: str) -> None:
    async with open_store(url) as store:
        await store.transact([Put("a", b"alpha"), Put("b/c", b"beta")], appends=[Append("s", b"one")])


def with_sqlite(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        for statement in statements:
            database.execute(statement)


def bytes_beside(path: Path) -> dict[str, bytes]:
    return {found.name: found.read_bytes() for found in path.parent.iterdir()}


@pytest.mark.security(8)
@pytest.mark.req("C1")
async def test_everything_is_private_whatever_the_umask(tmp_path: Path, no_umask: None) -> None:
    path = tmp_path / "new" / "deep" / "store.db"
    async with open_store(f"sqlite:{path}") as store:
        await store.put("a", b"1")
        await store.grant(5)
        await store.get("a")
        names = {found.name: stat.S_IMODE(found.stat().st_mode) for found in path.parent.iterdir()}
    assert names == dict.fromkeys(
        ("store.db", "store.db-wal", "store.db-shm", "store.db-lock", "store.db-leases"), 0o600
    )
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in (path.parent, path.parent.parent)} == {0o700}


@pytest.mark.security(7)
@pytest.mark.parametrize("suffix", ["", "-lock", "-leases", "-wal"])
async def test_a_planted_link_is_refused_and_not_followed(path: Path, url: str, suffix: str) -> None:
    target = path.with_name("target")
    target.write_bytes(b"precious")
    path.with_name(path.name + suffix).symlink_to(target)
    with pytest.raises(Unavailable, match="symbolic link"):
        await fill(url)
    assert target.read_bytes() == b"precious"


@pytest.mark.security(7)
async def test_a_second_name_is_refused(path: Path, url: str) -> None:
    await fill(url)
    path.with_name("other").hardlink_to(path)
    with pytest.raises(Unavailable, match="hard link"):
        await fill(url)


@pytest.mark.security(7)
async def test_a_directory_or_a_pipe_is_no_store(path: Path, url: str, tmp_path: Path) -> None:
    path.mkdir()
    with pytest.raises(Corrupt, match="no regular file"):
        await fill(url)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Corrupt, match="no regular file"):
        await fill(f"sqlite:{tmp_path}/pipe")


@pytest.mark.security(7)
async def test_a_directory_in_which_others_write_is_refused(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    with pytest.raises(Unavailable, match="chmod go-w"):
        await fill(f"sqlite:{shared}/store.db")
    assert not list(shared.iterdir())


async def test_a_file_that_others_may_read_is_refused(path: Path, url: str) -> None:
    await fill(url)
    path.chmod(0o644)
    with pytest.raises(Unavailable, match="chmod 600"):
        await fill(url)


@pytest.mark.security(7)
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
async def test_somebody_elses_file_and_directory_are_refused(path: Path, url: str, tmp_path: Path) -> None:
    await fill(url)
    os.chown(path, 12345, -1)
    with pytest.raises(Unavailable, match="belongs to user 12345"):
        await fill(url)
    (tmp_path / "theirs").mkdir(mode=0o700)
    os.chown(tmp_path / "theirs", 12345, -1)
    with pytest.raises(Unavailable, match="belongs to user 12345"):
        await fill(f"sqlite:{tmp_path}/theirs/store.db")


async def test_a_newer_format_is_refused_by_name_and_nothing_is_written(path: Path, url: str) -> None:
    await fill(url)
    with_sqlite(path, "PRAGMA user_version = 7")
    before = bytes_beside(path)
    with pytest.raises(VersionMismatch, match=r"format 7.*a newer one than format 2"):
        await fill(url)
    assert bytes_beside(path) == before


async def test_another_programs_database_is_refused_and_left_alone(path: Path, url: str) -> None:
    with_sqlite(path, "CREATE TABLE theirs (x)")
    path.chmod(0o600)
    before = path.read_bytes()
    with pytest.raises(Corrupt, match="no store of coordstore"):
        await fill(url)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"\0" * 8192, b"just text\n" * 900])
async def test_what_is_no_database_is_corrupt_and_never_reset(path: Path, url: str, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(Corrupt):
        await fill(url)
    assert path.read_bytes() == content


async def test_a_log_without_its_database_is_not_thrown_away(path: Path, url: str) -> None:
    path.with_name("store.db-wal").write_bytes(b"latest changes")
    path.with_name("store.db-wal").chmod(0o600)
    with pytest.raises(Corrupt, match=r"store\.db-wal"):
        await fill(url)
    assert path.with_name("store.db-wal").read_bytes() == b"latest changes"


async def test_what_a_crash_left_of_a_creation_is_in_nobodys_way(path: Path, url: str) -> None:
    path.with_name("store.db-new").write_bytes(b"half")
    path.with_name("store.db-new-journal").write_bytes(b"half")
    await fill(url)
    assert {found.name for found in path.parent.iterdir()} == {"store.db", "store.db-lock", "store.db-leases"}


@pytest.mark.parametrize("seed", range(4))
async def test_a_flipped_bit_gives_the_right_value_or_corrupt(path: Path, url: str, seed: int) -> None:
    await fill(url)
    whole = path.read_bytes()
    chance = random.Random(seed)
    for place in [*chance.sample(range(len(whole)), 60), whole.index(b"alpha") + 2, whole.index(b"beta")]:
        broken = bytearray(whole)
        broken[place] ^= 1 << chance.randrange(8)
        path.write_bytes(broken)
        try:
            async with open_store(url) as store:
                entry = await store.get("a")
                records = await store.read("s")
        except (Corrupt, VersionMismatch):
            continue
        assert entry is None or (entry.value, entry.revision, entry.create_revision) == (b"alpha", 1, 1)
        assert [record.data for record in records] in ([b"one"], [])


async def test_an_identity_that_is_none_is_damage(path: Path, url: str) -> None:
    await fill(url)
    with_sqlite(path, "UPDATE meta SET store_id = 'x' || substr(store_id, 2)")
    with pytest.raises(Corrupt, match="has lost its identity"):
        async with open_store(url):
            pass


async def test_damage_of_one_value_leaves_the_others_readable(path: Path, url: str) -> None:
    await fill(url)
    with_sqlite(path, "UPDATE entries SET value = x'00' WHERE key = 'a'")
    async with open_store(url) as store:
        with pytest.raises(Corrupt, match="'a'"):
            await store.get("a")
        assert await store.get("b/c") is not None
        assert len(await store.read("s")) == 1


@pytest.mark.parametrize("how", ["removed", "replaced"])
async def test_a_file_exchanged_under_a_handle_is_noticed(path: Path, url: str, how: str) -> None:
    other = path.with_name("other.db")
    await fill(f"sqlite:{other}")
    async with open_store(url) as store:
        await store.put("a", b"1")
        path.unlink()
        if how == "replaced":
            shutil.copy(other, path)
        for attempt in (store.put("a", b"2"), store.get("a"), store.delete_prefix("")):
            with pytest.raises(StoreReplaced, match=how):
                await attempt
        with pytest.raises(StoreReplaced):
            await anext(store.watch())
    if how == "replaced":
        assert path.read_bytes() == other.read_bytes()


async def test_an_older_state_of_the_store_is_noticed(path: Path, url: str) -> None:
    async with open_store(url) as store:
        await store.put("a", b"1")
        await store.put("a", b"2")
        with_sqlite(path, "UPDATE meta SET revision = 1")
        for attempt in (store.get("a"), store.put("a", b"3")):
            with pytest.raises(StoreReplaced, match="from revision 2 to 1"):
                await attempt


@pytest.mark.req("S3")
async def test_sqlite3_shows_everything_as_text(path: Path, url: str) -> None:
    await fill(url)
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT key, value FROM entries_text").fetchall() == [("a", "alpha"), ("b/c", "beta")]
        assert database.execute("SELECT stream, sequence, data FROM records_text").fetchall() == [("s", 1, "one")]
        assert database.execute("SELECT key, deleted FROM changes_text").fetchall() == [("a", 0), ("b/c", 0)]
        assert database.execute("SELECT count(*) FROM about").fetchone()[0] > 2


@pytest.mark.parametrize("options", ["?durability=none", "?lock_wait=soon", "?lock_wait=-1", "?other=1"])
async def test_wrong_options_are_refused_before_anything_is_made(path: Path, url: str, options: str) -> None:
    with pytest.raises(InvalidArgument):
        await fill(url + options)
    assert not path.exists()


async def test_a_store_that_works_for_processes_says_so(url: str) -> None:
    async with open_store(f"{url}?durability=process") as store:
        assert (await store.info()).durability == "process"
        await store.put("a", b"1")
    async with open_store(url) as store:
        info = await store.info()
        assert (info.durability, info.scheme, info.url) == ("full", "sqlite", url)
        assert info.abilities == {"persistent", "processes"}


async def test_nothing_can_be_made_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CoordError, match="choose another path"):
        await fill(f"sqlite:{tmp_path}/file/store.db")
