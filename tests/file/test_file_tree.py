"""The tree: what cat, ls and tail show, and what becomes of a person's edits."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from coordstore import open_store
from coordstore.model import Append, Delete, Put
from coordstore_file._fs import OsFileSystem
from coordstore_file.tree import Tree

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from coordstore_file.handle import FileStore

pytestmark = pytest.mark.req("S3")


@pytest.fixture
async def store(opened: Callable[..., Any]) -> AsyncIterator[FileStore]:
    async with opened() as store:
        yield store


def tree(path: Path) -> dict[str, bytes]:
    """Return the files of the tree by name, the internal ones left out."""
    files = (found for found in path.rglob("*") if found.is_file() and ".coord" not in found.parts)
    return {str(found.relative_to(path)): found.read_bytes() for found in files}


def folders(path: Path) -> set[str]:
    return {str(f.relative_to(path)) for f in path.rglob("*") if f.is_dir() and ".coord" not in f.parts}


async def test_each_key_is_a_file_with_the_bare_value(store: FileStore, path: Path) -> None:
    await store.transact([Put("demo/agents/t1.1/status", b"running"), Put("demo/agents/t1.1/step", b"3")])
    await store.shown()
    assert len(tree(path)) == 2
    assert tree(path) == {"demo/agents/t1.1/status": b"running", "demo/agents/t1.1/step": b"3"}
    await store.put("demo/agents/t1.1/status", b"completed")
    await store.shown()
    assert tree(path)["demo/agents/t1.1/status"] == b"completed"
    cat = await asyncio.create_subprocess_exec("cat", path / "demo/agents/t1.1/status", stdout=asyncio.subprocess.PIPE)
    assert (await cat.communicate())[0] == b"completed"


async def test_the_value_of_a_key_that_is_also_a_folder_lies_in_at(store: FileStore, path: Path) -> None:
    await store.put("a", b"1")
    await store.shown()
    assert tree(path) == {"a": b"1"}
    await store.put("a/b/c", b"2")
    await store.shown()
    assert tree(path) == {"a/@": b"1", "a/b/c": b"2"}
    await store.put("a/b", b"3")
    await store.shown()
    assert tree(path) == {"a/@": b"1", "a/b/@": b"3", "a/b/c": b"2"}
    await store.delete("a/b/c")
    await store.shown()
    assert tree(path) == {"a/@": b"1", "a/b": b"3"}
    await store.delete("a/b")
    await store.shown()
    assert tree(path) == {"a": b"1"}
    await store.delete("a")
    await store.shown()
    assert tree(path) == {}
    assert not folders(path)


async def test_a_key_that_is_also_a_stream(store: FileStore, path: Path) -> None:
    await store.transact([Put("a", b"1")], appends=[Append("a", b'"x"')])
    await store.shown()
    assert "a/@" in tree(path)
    await store.drop("a")
    await store.shown()
    assert tree(path) == {"a": b"1"}


async def test_streams_are_folders_of_json_lines(store: FileStore, path: Path) -> None:
    data = [b'{"type": "step", "n": 1}', b"just text \xc3\xa9", b"\xff\x00", b"[1,\n 2]", b""]
    await store.append("demo/events/t1.1", data[:2])
    await store.append("demo/events/t1.1", data[2:])
    folder = path / "demo/events/t1.1"
    await store.shown()
    assert folder.is_dir()
    assert sum(f.read_bytes().count(b"\n") for f in folder.iterdir()) == 5
    (file,) = folder.iterdir()
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [row["sequence"] for row in rows] == [1, 2, 3, 4, 5]
    assert [row["revision"] for row in rows] == [1, 1, 2, 2, 2]
    assert rows[0]["record"] == {"type": "step", "n": 1}
    assert rows[1]["text"] == "just text é"
    assert rows[2]["base64"] == "/wA="
    assert data[0] in file.read_bytes()
    await store.compact()
    assert [record.data for record in await store.read("demo/events/t1.1")] == data


async def test_tail_f_sees_records_as_they_come(store: FileStore, path: Path) -> None:
    await store.append("s", [b'"first"'])
    await store.shown()
    assert bool(tree(path))
    (file,) = (path / "s").iterdir()
    tail = await asyncio.create_subprocess_exec("tail", "-n", "+1", "-f", file, stdout=asyncio.subprocess.PIPE)
    assert tail.stdout is not None
    try:
        async with asyncio.timeout(10):
            assert b"first" in await tail.stdout.readline()
            await store.append("s", [b'"second"'])
            assert b"second" in await tail.stdout.readline()
            # The same lines become the durable home: whoever follows the file notices nothing.
            await store.compact()
            await store.append("s", [b'"third"'])
            assert b"third" in await tail.stdout.readline()
    finally:
        tail.kill()
        await tail.wait()


async def test_after_the_close_everything_is_shown(path: Path, url: str) -> None:
    async with open_store(url) as store:
        for number in range(50):
            await store.transact([Put(f"k/{number}", b"%d" % number)], appends=[Append("s", b"%d" % number)])
        await store.transact([Delete("k/0")])
    found = tree(path)
    assert {name for name in found if name.startswith("k/")} == {f"k/{number}" for number in range(1, 50)}
    assert sum(data.count(b"\n") for name, data in found.items() if name.startswith("s/")) == 50


async def test_an_edit_by_hand_is_never_read_and_goes_at_the_next_open(
    path: Path, url: str, opened: Callable[..., Any]
) -> None:
    async with open_store(url) as store:
        await store.transact([Put("a", b"1"), Put("b/c", b"2")], appends=[Append("s", b'"x"')])
    (path / "a").write_bytes(b"edited")
    (path / "b/c").unlink()
    (path / "notes.TXT").write_bytes(b"mine")
    async with opened() as store:
        entry = await store.get("a")
        assert entry is not None
        assert entry.value == b"1"
        await store.shown()
        assert tree(path).get("a") == b"1"
        assert tree(path).get("b/c") == b"2"
    assert (path / "notes.TXT").read_bytes() == b"mine"


async def test_an_edit_in_a_large_tree_goes_in_a_moment(path: Path, url: str) -> None:
    async with open_store(url) as store:
        for part in range(10):
            await store.transact([Put(f"k/{part}/{number}", b"1") for number in range(60)])
    edited = path / "k/3/4"
    edited.write_bytes(b"edited")
    async with open_store(url), asyncio.timeout(30):
        while edited.read_bytes() != b"1":  # noqa: ASYNC110  (the file system tells nobody)
            await asyncio.sleep(0.02)


async def test_edited_lines_that_are_no_home_yet_are_written_anew_by_compaction(path: Path, url: str) -> None:
    async with open_store(url) as store:
        await store.append("s", [b'"one"', b'"two"'])
    (file,) = (path / "s").iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b"one", b"eno"))
    async with open_store(url) as store:
        assert [record.data for record in await store.read("s")] == [b'"one"', b'"two"']
        await store.compact()
        assert file.read_bytes() == whole
        assert [record.data for record in await store.read("s")] == [b'"one"', b'"two"']


@pytest.mark.parametrize("whole", [True, False])
async def test_a_tree_that_lags_is_made_up_for_by_the_next_process(
    path: Path, opened: Callable[..., Any], whole: bool, child: Any
) -> None:
    script = """
    async with opened() as store:
        await store.put("a", b"0")
        await store.transact([Put("a", b"1"), Put("b", b"2")], appends=[Append("s", b'"x"')])
        os.kill(os.getpid(), 9)
    """
    child(script).process.wait()
    if not whole and (path / ".coord/shown").exists():
        (path / ".coord/shown").write_bytes(b"torn")
    async with opened() as store:
        await store.shown()
        assert tree(path).get("a") == b"1"
        assert tree(path).get("b") == b"2"
        assert (path / "s").is_dir()


async def test_a_new_store_is_followed_from_its_first_commit_and_not_shown_anew(
    path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    anew, show_all = [], Tree.show_all

    def seen(tree: Tree) -> None:
        anew.append(tree.journal.replica.revision)
        show_all(tree)

    monkeypatch.setattr(Tree, "show_all", seen)
    async with open_store(url) as store:
        await store.append("s", [b"one"])
        await store.put("k", b"v")
    assert sorted(tree(path)) == ["k", "s/@000000000001.jsonl"]
    async with open_store(url) as store:
        await store.put("k", b"w")
    assert tree(path)["k"] == b"w"
    assert anew == [0]


async def test_the_first_look_over_gives_way_to_a_burst_that_begins_meanwhile(
    path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("coordstore_file.upkeep.Upkeep.soon", lambda upkeep: None)
        async with open_store(url) as store:
            await asyncio.gather(*(store.append("s", [b"x" * 100]) for _ in range(200)))
    write = Tree._write

    def slowly(tree: Tree, work: Any) -> None:
        time.sleep(0.001)
        write(tree, work)

    with monkeypatch.context() as patch:
        # More is committed than one round shows: only who gives way comes to an end.
        patch.setattr("coordstore_file.tree._ROUND", 1)
        patch.setattr("coordstore_file.upkeep._SLICE", 0.02)
        patch.setattr("coordstore_file.upkeep._BUSY", 50_000)
        patch.setattr(Tree, "_write", slowly)
        async with open_store(url + "?durability=process") as store:
            async with asyncio.timeout(10):
                while not store.statistics().get("shown"):
                    await asyncio.gather(*(store.append("s", [b"x" * 100]) for _ in range(8)))
            patch.undo()
    async with open_store(url) as store:
        (head,) = (await store.heads()).values()
    assert sum(len(lines.splitlines()) for lines in tree(path).values()) == head > 200


async def test_the_tree_of_two_writers_ends_at_the_last_values(path: Path, url: str) -> None:
    async with open_store(url) as one, open_store(url) as two:
        for number in range(30):
            await (one, two)[number % 2].transact(
                [Put("a", b"%d" % number), Put(f"k/{number % 3}", b"")], appends=[Append("s", b"%d" % number)]
            )
    found = tree(path)
    assert found["a"] == b"29"
    (lines,) = (data for name, data in found.items() if name.startswith("s/"))
    assert [json.loads(line)["record"] for line in lines.splitlines()] == list(range(30))


async def test_a_folder_is_not_listed_for_each_key_that_goes(
    opened: Callable[..., Any], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: list[Path] = []
    real = OsFileSystem.list

    def noting(fs: OsFileSystem, folder: Path) -> list[str]:
        listed.append(folder)
        return real(fs, folder)

    async with opened() as store:
        await store.transact([Put(f"a/b/{n}", b"") for n in range(60)])
        await store.shown()
        await store.transact([Put(f"a/b/{n}/c", b"") for n in range(60)])
        await store.transact([Delete(f"a/b/{n}/c") for n in range(60)])  # as claims of messages are: never seen
        monkeypatch.setattr(OsFileSystem, "list", noting)
        await store.shown()
        assert listed.count(path / "a" / "b") == 0, "it is known to be in use"
        for keep in (30, 0):
            await store.transact([Delete(f"a/b/{n}") for n in range(keep, keep + 30)])
            await store.shown()
            assert len(list((path / "a" / "b").glob("*"))) == keep
        assert not folders(path)
    assert listed.count(path / "a" / "b") == 1, "once, when nothing in the store is below it any more"


async def test_folders_go_with_all_that_was_in_them_whichever_is_removed_first(
    opened: Callable[..., Any], path: Path
) -> None:
    names = [f"a/{n}/b/{m}" for n in range(6) for m in range(5)]
    async with opened() as store:
        await store.transact([Put(name, b"") for name in names])
        await store.shown()
        assert len(folders(path)) == 13
        await store.transact([Delete(name) for name in names])
        await store.shown()
        assert not folders(path)
