"""What lies on disk: modes, what may not lie there, other formats, directories exchanged under a handle."""

from __future__ import annotations

import json
import os
import shutil
import stat
from typing import TYPE_CHECKING, Any

import pytest

from coordstore import open_store
from coordstore.errors import CoordError, Corrupt, InvalidArgument, StoreReplaced, Unavailable, VersionMismatch
from coordstore.model import Append, Put
from coordstore_file.handle import FileStore

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


def everything(path: Path) -> dict[str, bytes]:
    return {str(found.relative_to(path)): found.read_bytes() for found in path.rglob("*") if found.is_file()}


async def test_everything_is_private_whatever_the_umask(tmp_path: Path, no_umask: None) -> None:
    path = tmp_path / "new" / "deep" / "store"
    async with open_store(f"file:{path}") as store:
        await store.transact([Put("a/b", b"1")], appends=[Append("s/t", b"2")])
        await store.grant(5)
        await store.compact()
        await store.put("a/b/c", b"2")
    modes = {found: stat.S_IMODE(found.stat().st_mode) for found in (path.parent, path, *path.rglob("*"))}
    assert {mode for found, mode in modes.items() if found.is_file()} == {0o600}
    assert {mode for found, mode in modes.items() if found.is_dir()} == {0o700}


@pytest.mark.parametrize("name", ["id", "lock", "upkeep", "leases", "mark", "shown"])
async def test_a_planted_link_is_refused_and_not_followed(path: Path, url: str, tmp_path: Path, name: str) -> None:
    await fill(url)
    target = tmp_path / "target"
    target.write_bytes(b"precious")
    (path / ".coord" / name).unlink()
    (path / ".coord" / name).symlink_to(target)
    with pytest.raises(Unavailable, match="symbolic link"):
        await fill(url)
    assert target.read_bytes() == b"precious"


@pytest.mark.parametrize("name", ["", ".coord", ".coord/log", ".coord/snapshot"])
async def test_a_folder_that_is_a_link_is_refused(path: Path, url: str, tmp_path: Path, name: str) -> None:
    await fill(url)
    (path / name).rename(tmp_path / "elsewhere")
    (path / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Unavailable, match="symbolic link"):
        await fill(url)


async def test_a_directory_that_others_may_read_or_write_is_refused(path: Path, url: str) -> None:
    for mode in (0o755, 0o777, 0o710):
        path.mkdir()
        path.chmod(mode)
        with pytest.raises(Unavailable, match="chmod"):
            await fill(url)
        assert not list(path.iterdir())
        path.rmdir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
async def test_somebody_elses_directory_is_refused(path: Path, url: str) -> None:
    path.mkdir(mode=0o700)
    os.chown(path, 12345, -1)
    with pytest.raises(Unavailable, match="belongs to user 12345"):
        await fill(url)


async def test_a_directory_with_other_files_is_refused_and_left_alone(path: Path, url: str) -> None:
    path.mkdir(mode=0o700)
    (path / "precious").write_bytes(b"1")
    with pytest.raises(Unavailable, match="precious"):
        await fill(url)
    assert everything(path) == {"precious": b"1"}


async def test_a_file_is_no_directory(path: Path, url: str) -> None:
    path.write_bytes(b"")
    with pytest.raises(CoordError, match="choose another path"):
        await fill(url)


async def test_a_network_file_system_is_refused_unless_forced(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("coordstore_file.opening.refuse_network", lambda *args: asked.append(args))
    await fill(f"{url}?allow_network_fs=1")
    assert asked == []
    await fill(url)
    assert asked == [(tmp_path / "store", "file")]


async def test_a_newer_format_is_refused_by_name_and_nothing_is_written(path: Path, url: str) -> None:
    await fill(url)
    told = json.loads((path / ".coord/id").read_text())
    (path / ".coord/id").write_text(json.dumps({**told, "format": 7}))
    before = everything(path)
    with pytest.raises(VersionMismatch, match=r"format 7.*format 1"):
        await fill(url)
    assert everything(path) == before


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"{}", b'{"format": 1, "store_id": "x"}'])
async def test_a_damaged_id_is_corrupt_and_never_made_anew(path: Path, url: str, content: bytes) -> None:
    await fill(url)
    (path / ".coord/id").write_bytes(content)
    before = everything(path)
    with pytest.raises(Corrupt):
        await fill(url)
    assert everything(path) == before


@pytest.mark.parametrize("compacted", [False, True])
@pytest.mark.parametrize("name", ["id", "mark", "log", "snapshot"])
async def test_a_part_that_is_missing_is_corrupt_and_nothing_is_reset(
    path: Path, url: str, name: str, compacted: bool
) -> None:
    await fill(url)
    async with open_store(url) as store:
        if compacted:
            await store.compact()
    part = path / ".coord" / name
    if part.is_dir():
        for file in part.iterdir():
            file.unlink()
    else:
        part.unlink()
    if (name, compacted) == ("snapshot", False):
        return
    before = everything(path)
    with pytest.raises(Corrupt):
        await fill(url)
    assert everything(path) == before


async def test_what_a_crash_left_of_a_creation_is_in_nobodys_way(path: Path, url: str) -> None:
    await fill(url)
    shutil.rmtree(path)
    for name in ("log", "snapshot"):
        (path / ".coord" / name).mkdir(parents=True, mode=0o700)
    path.chmod(0o700)
    (path / ".coord").chmod(0o700)
    (path / ".coord" / "draft").write_bytes(b"half")
    await fill(url)


@pytest.mark.parametrize("how", ["removed", "replaced"])
async def test_a_directory_exchanged_under_a_handle_is_noticed(path: Path, url: str, how: str) -> None:
    other = path.with_name("other")
    await fill(f"file:{other}")
    async with open_store(url) as store:
        await store.put("a", b"1")
        assert isinstance(store, FileStore)
        await store.shown()  # else its tree may still be written while the other store comes
        path.rename(path.with_name("gone"))
        if how == "replaced":
            shutil.copytree(other, path)
        for attempt in (store.put("a", b"2"), store.get("a"), store.delete_prefix("")):
            with pytest.raises(StoreReplaced, match=how):
                await attempt
        with pytest.raises(StoreReplaced):
            await anext(store.watch())


async def test_an_older_state_of_the_store_is_noticed(path: Path, url: str) -> None:
    async with open_store(url) as store:
        await store.put("a", b"1")
        older = everything(path)
        await store.put("a", b"2")
        for name in (".coord/mark", ".coord/log/000000000001"):
            with (path / name).open("r+b") as file:
                file.truncate(0)
                file.write(older[name])
        for attempt in (store.get("a"), store.put("a", b"3")):
            with pytest.raises(StoreReplaced, match="from revision 2 to 1"):
                await attempt


@pytest.mark.parametrize("options", ["?durability=none", "?lock_wait=soon", "?lock_wait=-1", "?other=1"])
async def test_wrong_options_are_refused_before_anything_is_made(path: Path, url: str, options: str) -> None:
    with pytest.raises(InvalidArgument):
        await fill(url + options)
    assert not path.exists()


async def test_info_tells_what_it_is(path: Path, url: str) -> None:
    async with open_store(f"{url}?durability=process") as store:
        assert (await store.info()).durability == "process"
    async with open_store(url) as store:
        info = await store.info()
        assert (info.durability, info.scheme, info.url, info.format) == ("full", "file", url, 1)
        assert info.abilities == {"persistent", "processes"}
        assert info.store_id == json.loads((path / ".coord/id").read_text())["store_id"]
