"""Trees merged without git are those that git makes, whatever moved where; packs are read as git reads them."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coordstore_orchestrator.git import packs
from coordstore_orchestrator.git.database import TREE, Database, Entry, Unclear, tree_text
from coordstore_orchestrator.git.objects import write_loose
from coordstore_orchestrator.merge import threeway
from coordstore_orchestrator.merge.gate import changes
from coordstore_orchestrator.merge.threeway import fork_point, merge_trees

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from coordstore_orchestrator.merge.rules import Change
    from tests.git.conftest import Repo

EXAMPLES = int(os.environ.get("COORD_MERGES", "60"))
FOLDERS = ["", "a/", "a/in/", "b/", "c/", "a-b/"]
NAMES = ["one", "two", "three", "in"]
Tree = dict[str, str]
paths = st.builds(str.__add__, st.sampled_from(FOLDERS), st.sampled_from(NAMES))
texts = st.sampled_from([f"{word}\n" * 12 for word in ("x", "y", "z")])
bases = st.dictionaries(paths, texts, min_size=4, max_size=14)
deeds = st.lists(
    st.one_of(
        st.tuples(st.just("write"), paths, texts),
        st.tuples(st.just("delete"), paths, st.just("")),
        st.tuples(st.just("move"), paths, paths),
        st.tuples(st.just("folder"), st.sampled_from(FOLDERS[1:]), st.sampled_from(FOLDERS)),
    ),
    max_size=4,
)


def put(tree: Tree, path: str, text: str) -> None:
    """Write a file; what stands in its way as a file or folder goes."""
    for other in list(tree):
        if other.startswith(f"{path}/") or path.startswith(f"{other}/"):
            del tree[other]
    tree[path] = text


def done(base: Tree, changes: list[tuple[str, str, str]]) -> Tree:
    tree: Tree = {}
    for path, text in base.items():
        put(tree, path, text)
    for what, path, other in changes:
        if what == "write":
            put(tree, path, other)
        elif what == "delete":
            tree.pop(path, None)
        elif what == "move" and path in tree:
            put(tree, other, tree.pop(path))
        elif what == "folder" and not other.startswith(path):
            moved = {name: tree.pop(name) for name in list(tree) if name.startswith(path)}
            for name, text in moved.items():
                put(tree, other + name.removeprefix(path), text)
    return tree


def commits(repo: Repo, trees: Mapping[str, Tree]) -> dict[str, str]:
    """Commit trees in one process: the first is the parent of the others."""
    lines, first = [], next(iter(trees))
    for number, (name, tree) in enumerate(trees.items(), 1):
        lines.append(f"commit refs/heads/{name}\nmark :{number}\ncommitter C <c@x> 1700000000 +0000\n")
        lines.append(f"data {len(name)}\n{name}\n")
        lines.append("" if name == first else "from :1\n")
        lines.append("deleteall\n")
        lines += [f"M 100644 inline {path}\ndata {len(text)}\n{text}\n" for path, text in tree.items()]
    argv = ["git", "-c", "fastimport.unpackLimit=0", "fast-import", "--quiet", "--force"]
    subprocess.run(argv, cwd=repo.path, input="".join(lines).encode(), check=True, capture_output=True)
    listed = repo.git("for-each-ref", "--format=%(refname:short) %(objectname)").splitlines()
    return dict(line.split(" ") for line in listed)


def database(repo: Repo) -> Database:
    (repo.path / ".git/objects/info").mkdir(exist_ok=True)
    (repo.path / ".git/objects/info/alternates").touch()
    return Database(repo.path / ".git")


def in_place(repo: Repo, oids: Mapping[str, str]) -> str:
    objects = database(repo)
    base = fork_point(objects, oids["base"], oids["ours"], oids["theirs"])
    trees = [objects.commit(oid).tree for oid in (base, oids["ours"], oids["theirs"])]
    merged, _ = merge_trees(objects, repo.path / ".git/objects", trees[0], trees[1], trees[2])
    assert merged is not None
    return merged


def by_git(repo: Repo, oids: Mapping[str, str]) -> str | None:
    argv = ["git", "merge-tree", "--write-tree", oids["ours"], oids["theirs"]]
    found = subprocess.run(argv, cwd=repo.path, capture_output=True, text=True, check=False)
    return found.stdout.strip() if found.returncode == 0 else None


@pytest.mark.req("G1")
@pytest.mark.timeout(600)
def test_what_is_merged_in_place_is_what_git_makes_of_it(make_repo: Callable[..., Repo], tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "repo")
    seen: Counter[str] = Counter()

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(bases, deeds, deeds)
    def compare(base: Tree, ours: list[tuple[str, str, str]], theirs: list[tuple[str, str, str]]) -> None:
        oids = commits(repo, {"base": done(base, []), "ours": done(base, ours), "theirs": done(base, theirs)})
        try:
            merged = in_place(repo, oids)
        except Unclear:
            seen["git's"] += 1
            return
        seen["in place"] += 1
        assert merged == by_git(repo, oids)

    compare()
    assert min(seen["in place"], seen["git's"]) > EXAMPLES // 20, seen


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ([("folder", "a/", "b/")], [("write", "a/new", "n\n")]),
        ([("move", "a/one", "c/one")], [("write", "a/one", "n\n")]),
        ([("move", "a/one", "c/one")], [("move", "a/one", "c/two")]),
        ([("write", "b", "a file\n")], [("write", "b/new", "n\n")]),
        ([("write", "a/one", "1\n")], [("write", "a/one", "1\n")]),
        ([("delete", "a/one", "")], [("delete", "a/one", "")]),
    ],
)
def test_what_both_touched_is_left_to_git(
    make_repo: Callable[..., Repo], tmp_path: Path, ours: Any, theirs: Any
) -> None:
    repo = make_repo(tmp_path / "repo")
    base = {"a/one": "1\n" * 9, "a/two": "2\n" * 9, "top": "t\n"}
    oids = commits(repo, {"base": base, "ours": done(base, ours), "theirs": done(base, theirs)})
    with pytest.raises(Unclear):
        in_place(repo, oids)


def test_a_planted_bug_is_caught(
    make_repo: Callable[..., Repo], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taking the other side's entry, whatever ours did to it, is what the comparison above must see."""

    def theirs_wins(*args: Any) -> tuple[Entry | None, list[str]]:
        return args[4], []

    monkeypatch.setattr(threeway, "_both", theirs_wins)
    repo = make_repo(tmp_path / "repo")
    base = {"a/one": "1\n", "a/two": "2\n"}
    ours, theirs = {**base, "a/one": "ours\n"}, {**base, "a/two": "theirs\n"}
    oids = commits(repo, {"base": base, "ours": ours, "theirs": theirs})
    assert in_place(repo, oids) != by_git(repo, oids)


def test_a_history_with_a_merge_or_an_older_root_is_left_to_git(repo: Repo) -> None:
    root = repo.git("rev-parse", "HEAD")
    repo.commit("ours", ours="1\n")
    ours = repo.git("rev-parse", "HEAD")
    repo.git("checkout", "-q", "-b", "work", root)
    repo.commit("work", work="1\n")
    work = repo.git("rev-parse", "HEAD")
    assert fork_point(database(repo), root, ours, work) == root
    assert fork_point(database(repo), root, ours, ours) == ours
    with pytest.raises(Unclear):  # our history does not descend from that root
        fork_point(database(repo), work, ours, work)
    repo.git("merge", "-q", "--no-ff", "-m", "m", ours)
    with pytest.raises(Unclear):
        fork_point(database(repo), root, ours, repo.git("rev-parse", "HEAD"))


def test_work_that_stands_on_merged_work_has_that_as_its_base(repo: Repo) -> None:
    """With the root as base, a file that was added and then removed would come back."""
    root = repo.git("rev-parse", "HEAD")
    repo.commit("first", extra="1\n")
    first = repo.git("rev-parse", "HEAD")
    repo.git("rm", "-q", "extra")
    repo.git("commit", "-q", "-m", "second")
    second = repo.git("rev-parse", "HEAD")
    repo.git("checkout", "-q", "-b", "tip", root)
    repo.git("merge", "-q", "--no-ff", "-m", "m", first)
    oids = {"base": root, "ours": repo.git("rev-parse", "HEAD"), "theirs": second}
    assert fork_point(database(repo), root, oids["ours"], second) == first
    assert in_place(repo, oids) == by_git(repo, oids) == repo.git("rev-parse", f"{root}^{{tree}}")


@pytest.mark.parametrize("options", [[], ["--object-format=sha256"]])
def test_every_object_of_a_pack_is_read_as_git_reads_it(
    make_repo: Callable[..., Repo], tmp_path: Path, options: list[str]
) -> None:
    repo = make_repo(tmp_path / "repo", *options)
    text = [f"line {number}\n" for number in range(400)]
    for number in range(30):
        text[number * 7] = f"changed {number}\n"
        repo.commit(f"c{number}", long="".join(text), **{f"f{number}": f"{number}\n", "empty": ""})
    repo.git("tag", "-a", "-m", "a tag", "v1")
    for offsets in ("true", "false"):
        repo.git("-c", f"repack.useDeltaBaseOffset={offsets}", "repack", "-adfq", "--depth=40")
        objects = database(repo)
        listed = repo.git("cat-file", "--batch-all-objects", "--batch-check").splitlines()
        deltas = repo.git("cat-file", "--batch-all-objects", "--batch-check=%(deltabase)").splitlines()
        assert sum(set(line) != {"0"} for line in deltas) > 20
        for line in listed:
            oid, kind, size = line.split(" ")
            found = objects.read(oid)
            assert found is not None
            assert (found.kind, found.size) == (kind, int(size))
            limited = objects.read(oid, limit=max(int(size) - 1, 0))
            assert limited is not None
            assert (limited.body is None) == (int(size) > 0)


def test_a_damaged_or_large_pack_entry_is_left_to_git(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    oid = repo.git("rev-parse", "HEAD:src/a.py")
    repo.git("repack", "-adq")
    assert database(repo).read(oid) is not None
    monkeypatch.setattr(packs, "ENTRY_MAX", 3)
    assert database(repo).read(oid) is None
    monkeypatch.undo()
    (pack,) = (repo.path / ".git/objects/pack").glob("*.pack")
    data = pack.read_bytes()
    pack.chmod(0o600)
    for at in range(12, len(data) - 20):
        pack.write_bytes(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])
        found = database(repo).read(oid)
        assert found is None or found.body == b"one\ntwo\nthree\n"
    pack.write_bytes(b"PACK")
    assert database(repo).read(oid) is None


def test_a_pack_that_comes_later_is_noticed_and_one_that_goes_stays_readable(repo: Repo) -> None:
    objects, old = database(repo), repo.git("rev-parse", "HEAD:src/a.py")
    repo.git("repack", "-adq")
    assert objects.read(old) is not None
    repo.commit("more", more="more\n")
    repo.git("repack", "-dq")
    assert objects.read(repo.git("rev-parse", "HEAD:more")) is not None
    repo.git("repack", "-adq")
    assert objects.read(old) is not None


@pytest.mark.parametrize(
    "tree",
    [
        {"b": Entry("100644", "1" * 40), "a": Entry("100644", "2" * 40)},
        {"a/b": Entry("100644", "1" * 40)},
        {"": Entry("100644", "1" * 40)},
        {"a": Entry("0100644", "1" * 40)},
        {"a": Entry("100664", "1" * 40)},
    ],
)
def test_a_tree_that_git_would_not_write_is_left_to_git(repo: Repo, tree: dict[str, Entry]) -> None:
    body = b"".join(f"{entry.mode} {name}\0".encode() + bytes.fromhex(entry.oid) for name, entry in tree.items())
    oid = write_loose(repo.path / ".git/objects", "tree", body, "sha1")
    with pytest.raises(Unclear):
        database(repo).tree(oid)


def test_names_stand_in_gits_order(repo: Repo) -> None:
    for path in ("a/x", "a.b", "a-b", "a0", "A", "z/y/x"):
        repo.write(path, path)
    repo.write(os.fsdecode(b"\xff\xfe"), "bytes")
    repo.commit("names")
    objects = database(repo)
    tree = objects.tree(repo.git("rev-parse", "HEAD^{tree}"))
    assert write_loose(repo.path / ".git/objects", "tree", tree_text(tree), "sha1") == repo.git(
        "rev-parse", "HEAD^{tree}"
    )
    assert tree["a"].mode == TREE


async def test_changes_read_in_place_are_those_of_diff_tree(
    make_repo: Callable[..., Repo], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = make_repo(tmp_path / "repo")
    base = {"a/one": "1\n", "a/in/two": "2\n", "b": "3\n", "c": "4\n"}
    new = {"a/one": "1\n", "a/in": "2\n", "b/x": "3\n", "b/y": "y\n", "c": "other\n"}
    oids = commits(repo, {"base": base, "new": new})
    objects = database(repo)
    here = await changes(objects, oids["base"], oids["new"])

    def unclear(*_: object) -> list[Change]:
        raise Unclear

    monkeypatch.setattr("coordstore_orchestrator.merge.gate._changes", unclear)
    assert {change.path for change in here} == {"a/in", "a/in/two", "b", "b/x", "b/y", "c"}
    assert here == sorted(await changes(objects, oids["base"], oids["new"]), key=lambda change: change.path)
