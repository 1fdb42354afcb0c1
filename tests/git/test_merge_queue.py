"""What lands of many branches: validated together, the culprits found, the rest kept."""

from __future__ import annotations

import asyncio
import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from coordstore.errors import Conflict, Fenced
from coordstore.session import State
from coordstore_orchestrator.git.remote import RemoteLacks, RemoteUnreachable
from coordstore_orchestrator.merge.conflicts import as_hint, as_record
from coordstore_orchestrator.merge.final import FinalValidation
from coordstore_orchestrator.merge.integrate import Conflict as MergeConflict
from coordstore_orchestrator.merge.search import Failure
from coordstore_orchestrator.monitor.decide import Assign, Integrate, decide
from tests.git.queue import Queue, import_branches, import_files

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from coordstore.session import SessionView

BRANCHES = 30
FILES = 5_000
ALONE = {"t3", "t14", "t27"}
TOGETHER = {"t9", "t20"}
CHECK = 'test ! -e break && ! { test -e half-t9 && test -e half-t20; } || { echo "broken here"; exit 1; }'


def work(number: int) -> dict[str, str]:
    task = f"t{number}"
    files = {f"package{number}/module{number}.py": f"changed = {number}\n", f"new/{task}.py": f"{number}\n"}
    if task in ALONE:
        files["break"] = "x\n"
    return files | ({f"half-{task}": "x\n"} if task in TOGETHER else {})


@pytest.mark.req("G2", "G1")
@pytest.mark.timeout(300)
async def test_of_thirty_branches_the_five_that_break_are_left_out(
    tmp_path: Path, make_repo: Callable[..., Any], make_world: Any
) -> None:
    """Three break alone (with the same file, so that each has to be found), two only together."""
    repo = make_repo(tmp_path / "user")
    import_files(repo.path, {f"package{n // 50}/module{n % 50}.py": f"{n}\n" for n in range(FILES)})
    assert len(repo.git("ls-files").split("\n")) == FILES
    before = repo.fingerprint()
    world = await make_world(tmp_path, repo).open()
    commits = import_branches(world.session.agents_path, world.base, {f"t{n}.1": work(n) for n in range(BRANCHES)})
    async with Queue(world).open({f"t{n}": {} for n in range(BRANCHES)}) as queue:
        for number in range(BRANCHES):
            await queue.complete(f"t{number}", commits[f"t{number}.1"])
        merged = await queue.merge(*commits)
        assert all(merged.merged(task).get("merged") for task in merged.tasks if task not in ALONE)
        async with queue.validator(tmp_path / "state", [CHECK], os.environ, 4) as validator:
            view = await queue.land(validator, 4)
            assert validator.count <= 5 * math.ceil(math.log2(BRANCHES)) + 2 * 5 + 1
    assert left_out(view) == ALONE | TOGETHER
    names = repo.at(world.integration.path).git("ls-tree", "-r", "--name-only", view.tip or "").split("\n")
    assert {name for name in names if name.startswith("new/")} == {
        f"new/t{n}.py" for n in range(BRANCHES) if f"t{n}" not in ALONE | TOGETHER
    }
    assert "fails only with it and t20 together" in str(view.left_out("t9"))
    log = Path(view.merged("t3")["log"])
    assert "broken here" in "".join(file.read_text() for file in log.iterdir())
    assert not list((tmp_path / "state/validate").iterdir())
    assert repo.fingerprint() == before


def left_out(view: SessionView) -> set[str]:
    return {task for task in view.tasks if not view.merged(task).get("merged")}


# What is left out stays out -------------------------------------------------------------------------------------------


async def validated(queue: Queue, failing: str) -> SessionView:
    """Validate by a look at the files of a commit, without checking it out; `failing` may not be among them."""
    world = queue.world

    async def validate(commit: str) -> Failure | None:
        names = await asyncio.to_thread(names_of, world, commit)
        return Failure(f"{failing} is there") if failing in names else None

    final = FinalValidation(queue.session, queue.leadership, world.integration, world.base, validate)
    return await final.run(await queue.session.view())


def names_of(world: Any, commit: str | None) -> set[str]:
    return set(world.repo.at(world.integration.path).git("ls-tree", "-r", "--name-only", str(commit)).split("\n"))


@pytest.mark.req("G2")
async def test_work_that_began_on_a_culprit_does_not_bring_it_back(world: Any) -> None:
    async with Queue(world).open({"bad": {}, "later": {}}) as queue:
        bad = await world.work("bad.1", bad="x\n", **{"src/b.py": "b\nbad\n"})
        await queue.complete("bad", bad)
        tip = (await queue.merge("bad.1")).tip
        later = await world.work("later.1", tip, later="y\n")
        await queue.complete("later", later, base=tip)
        await queue.merge("later.1")
        view = await validated(queue, "bad")
    assert left_out(view) == {"bad"}
    assert names_of(world, view.tip) - names_of(world, world.base) == {"later"}
    repo = world.repo.at(world.integration.path)
    assert bad not in repo.git("rev-list", view.tip or "").split("\n"), "a later merge of bad would do nothing"
    assert repo.git("show", "-s", "--format=%P", view.tip or "") == world.base
    repo.git("fsck", "--strict")


@pytest.mark.req("G2")
async def test_work_that_cannot_be_merged_without_a_culprit_is_left_out_with_it(world: Any) -> None:
    async with Queue(world).open({"bad": {}, "built-on-it": {}, "free": {}}) as queue:
        await queue.complete("bad", await world.work("bad.1", bad="x\n"))
        tip = (await queue.merge("bad.1")).tip
        await queue.complete("built-on-it", await world.work("built-on-it.1", tip, bad="changed\n"), base=tip)
        await queue.complete("free", await world.work("free.1", free="f\n"))
        await queue.merge("built-on-it.1", "free.1")
        view = await validated(queue, "bad")
    assert names_of(world, view.tip) - names_of(world, world.base) == {"free"}
    assert "cannot be merged then, in bad" in str(view.left_out("built-on-it"))


@pytest.mark.req("G2", "M12")
async def test_cut_off_between_the_record_and_the_tip_it_goes_on_from_the_record(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Queue(world).open({"a": {}, "bad": {}, "c": {}}) as queue:
        for task in ("a", "bad", "c"):
            await queue.complete(task, await world.work(f"{task}.1", **{task: "x\n"}))
        before = (await queue.merge("a.1", "bad.1", "c.1")).tip
        put = queue.session.store.put
        monkeypatch.setattr(queue.session.store, "put", None)
        with pytest.raises(TypeError):
            await validated(queue, "bad")
        monkeypatch.setattr(queue.session.store, "put", put)
        cut = await queue.session.view()
        assert (cut.tip, left_out(cut)) == (before, {"bad"})
        view = await validated(queue, "bad")
    assert names_of(world, view.tip) - names_of(world, world.base) == {"a", "c"}


# Conflicts -----------------------------------------------------------------------------------------------------------


@pytest.mark.req("G1", "M9")
async def test_a_conflict_is_told_by_file_and_hunk_and_both_sides_are_kept(world: Any) -> None:
    async with Queue(world).open({"one": {}, "two": {}, "three": {}}) as queue:
        first = await world.work("one.1", **{"src/a.py": "ONE\ntwo\nthree\n"})
        second = await world.work("two.1", **{"src/a.py": "1\ntwo\nthree\n", "more": "x\n"})
        await queue.complete("one", first)
        await queue.complete("two", second)
        await queue.complete("three", await world.work("three.1", three="3\n"))
        view = await queue.merge("one.1", "two.1", "three.1")
    record = view.merged("two")
    assert record["refused"] == "conflicts with what was merged before it, in src/a.py"
    assert (record["files"], record["work"]) == (["src/a.py"], second)
    (conflict,) = record["conflicts"]
    assert (conflict["path"], conflict["kind"]) == ("src/a.py", "contents")
    assert "ONE" in conflict["hunks"][0]
    assert "\n1\n" in conflict["hunks"][0]
    assert view.left_out("two") == record["refused"]
    assert names_of(world, view.tip) - names_of(world, world.base) == {"three"}, "the others go on"
    assert await world.session.branch("two.1") == second
    assert world.repo.at(world.integration.path).git("show", f"{view.tip}:src/a.py") == "ONE\ntwo\nthree"


@pytest.mark.req("G1", "T3")
async def test_work_that_conflicts_goes_back_so_often_and_no_more(world: Any) -> None:
    async with Queue(world).open({"one": {}, "two": {}}) as queue:
        await queue.complete("one", await world.work("one.1", **{"src/a.py": "ONE\ntwo\nthree\n"}))
        tip = (await queue.merge("one.1")).tip
        records = []
        for number in (1, 2):
            work = await world.work(f"two.{number}", **{"src/a.py": f"{number}\ntwo\nthree\n"})
            await queue.complete("two", work)
            merger = queue.merger(hand_back=1)
            await merger.integrate(await queue.session.view(), Integrate("two", f"two.{number}"))
            view = await queue.session.view()
            records.append(view.merged("two"))
            assert view.tip == tip
            assert [action.task for action in decide(view) if isinstance(action, Assign)] == ["two"] * (number == 1)
    assert [(record["agent"], record.get("returned")) for record in records] == [("two.1", True), ("two.2", None)]
    hint = as_hint(records[0])
    assert "(two.1) conflicts with what was merged before it, in src/a.py" in hint
    assert "<<<<<<<" in hint
    assert f"git show {records[0]['work']}" in hint


@pytest.mark.req("G1", "W9")
async def test_a_remote_that_does_not_answer_says_nothing_about_the_work(world: Any) -> None:
    """One that answers, and has no such work, does; whatever waits is asked for with the first."""
    asked: list[set[str]] = []

    class Answers:
        error: type[RemoteUnreachable] | None = RemoteUnreachable

        async def fetch_branch(self, into: Path, agent: str, oid: str, others: Mapping[str, str] | None = None) -> None:
            asked.append({agent, *(others or {})})
            if self.error is not None and oid == absent:
                raise self.error(oid)

        async def publish(self, source: Path, *oids: str) -> None:
            pass

    absent = "1" * len(world.base)
    async with Queue(world).open({"gone": {}, "here": {}}) as queue:
        await queue.complete("gone", absent)
        await queue.complete("here", await world.work("here.1", here="x\n"))
        exchange = Answers()
        merger = queue.merger(exchange=exchange)
        with pytest.raises(RemoteUnreachable):
            await merger.integrate(await queue.session.view(), Integrate("gone", "gone.1"))
        assert not (await queue.session.view()).merged("gone")
        exchange.error = RemoteLacks
        for task in ("gone", "here"):
            await merger.integrate(await queue.session.view(), Integrate(task, f"{task}.1"))
        view = await queue.session.view()
    assert asked == [{"gone.1", "here.1"}, {"gone.1", "here.1"}, {"here.1"}]
    assert "a commit that this session does not have" in str(view.left_out("gone"))
    assert view.merged("here")["merged"]


@pytest.mark.req("G1", "W9")
async def test_what_waits_to_be_merged_goes_to_other_hosts_at_once(world: Any) -> None:
    """With one fetch and one push; each is recorded in its turn, on the tip that was published, or not at all."""
    published: list[set[str]] = []

    class Counts:
        async def fetch_branch(self, into: Path, agent: str, oid: str, others: Mapping[str, str] | None = None) -> None:
            """All is here."""

        async def publish(self, source: Path, *oids: str) -> None:
            published.append(set(oids))

    tasks = ("a", "b", "clash", "c", "odd")
    async with Queue(world).open({task: {} for task in tasks}) as queue:
        for task in tasks[:4]:
            name = "b" if task == "clash" else task
            await queue.complete(task, await world.work(f"{task}.1", **{name: f"{task}\n"}))
        merger = queue.merger(exchange=Counts())
        tips = []
        for task in tasks[:4]:
            await merger.integrate(await queue.session.view(), Integrate(task, f"{task}.1"))
            tips.append((await queue.session.view()).tip)
        view = await queue.session.view()
        assert [bool(view.merged(task)["merged"]) for task in tasks[:4]] == [True, True, False, True]
        assert tips[1] == tips[2]
        assert published == [{*tips}]
        # One that nobody had seen is on its own again.
        await queue.complete("odd", await world.work("odd.1", odd="odd\n"))
        await merger.integrate(await queue.session.view(), Integrate("odd", "odd.1"))
        assert published[1:] == [{(await queue.session.view()).tip}]


@pytest.mark.req("G1", "W9")
async def test_work_that_a_review_holds_is_not_brought_to_other_hosts(world: Any) -> None:
    published: list[set[str]] = []

    class Counts:
        async def fetch_branch(self, into: Path, agent: str, oid: str, others: Mapping[str, str] | None = None) -> None:
            """All is here."""

        async def publish(self, source: Path, *oids: str) -> None:
            published.append(set(oids))

    async with Queue(world).open({"a": {}, "b": {}}, changes={"reviewer": "person"}) as queue:
        for task in ("a", "b"):
            await queue.complete(task, await world.work(f"{task}.1", **{task: f"{task}\n"}))
        await queue.merger(exchange=Counts()).integrate(await queue.session.view(), Integrate("a", "a.1"))
        assert published == [{(await queue.session.view()).tip}]


@pytest.mark.req("G1", "W9")
async def test_what_was_tried_ahead_counts_only_where_it_was_tried(world: Any) -> None:
    """Work that was sent back by a person's hand in between leaves the one behind it to be merged onto another tip."""

    class Here:
        async def fetch_branch(self, into: Path, agent: str, oid: str, others: Mapping[str, str] | None = None) -> None:
            """All is here."""

        async def publish(self, source: Path, *oids: str) -> None:
            """Everybody is here."""

    async with Queue(world).open({"a": {}, "b": {}, "c": {}}) as queue:
        for task in ("a", "b", "c"):
            await queue.complete(task, await world.work(f"{task}.1", **{task: f"{task}\n"}))
        merger = queue.merger(exchange=Here())
        await merger.integrate(await queue.session.view(), Integrate("a", "a.1"))
        await merger.turn_down(await queue.session.view(), Integrate("b", "b.1"), "not wanted", again=False)
        await merger.integrate(await queue.session.view(), Integrate("c", "c.1"))
        view = await queue.session.view()
        assert view.merged("c")["merged"]
        assert not view.merged("b")["merged"]
        assert view.tip is not None
        names = world.repo.at(world.integration.path).git("ls-tree", "--name-only", view.tip).split()
        assert {"a", "b", "c"} & {*names} == {"a", "c"}


@pytest.mark.req("G1")
async def test_names_of_two_branches_that_are_one_file_elsewhere_conflict(world: Any) -> None:
    async with Queue(world).open({"one": {}, "two": {}}) as queue:
        await queue.complete("one", await world.work("one.1", **{"docs/Read.md": "1\n"}))
        await queue.complete("two", await world.work("two.1", **{"docs/READ.md": "2\n"}))
        view = await queue.merge("one.1", "two.1")
    assert "one file where case does not count" in str(view.left_out("two"))


@pytest.mark.req("G1")
async def test_a_file_that_one_moves_and_another_changes_is_both(world: Any) -> None:
    async with Queue(world).open({"move": {}, "change": {}}) as queue:
        tree = await world.add("move.1")
        tree.git("mv", "src/a.py", "src/moved.py")
        tree.commit("move")
        await queue.complete("move", await world.session.head("move.1", tree.path, world.base))
        await queue.complete("change", await world.work("change.1", **{"src/a.py": "one\nTWO\nthree\n"}))
        view = await queue.merge("move.1", "change.1")
    assert left_out(view) == set()
    show = world.repo.at(world.integration.path).git
    assert show("show", f"{view.tip}:src/moved.py") == "one\nTWO\nthree"
    assert "src/a.py" not in names_of(world, view.tip)


@pytest.mark.req("G1")
async def test_two_versions_of_a_binary_file_conflict_and_neither_is_mangled(world: Any) -> None:
    async with Queue(world).open({"one": {}, "two": {}, "three": {}}) as queue:
        for task in ("one", "two", "three"):
            tree = await world.add(f"{task}.1")
            tree.write("image" if task != "three" else "other", b"\0" + task.encode() * 100)
            tree.commit(task)
            await queue.complete(task, await world.session.head(f"{task}.1", tree.path, world.base))
        view = await queue.merge("one.1", "two.1", "three.1")
    assert left_out(view) == {"two"}
    assert [(each["path"], each["kind"]) for each in view.merged("two")["conflicts"]] == [("image", "binary")]
    show = world.repo.at(world.integration.path).git
    assert show("show", f"{view.tip}:image") == "\0" + "one" * 100
    assert "other" in names_of(world, view.tip)


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 3\n".format("a" * 64)


@pytest.mark.req("G1")
async def test_what_belongs_through_a_filter_is_refused_and_pointers_may_move(
    tmp_path: Path, make_repo: Callable[..., Any], make_world: Any
) -> None:
    repo = make_repo(tmp_path / "user")
    repo.write(".gitattributes", "[attr]big filter=lfs diff=lfs\n*.bin big\nplain.bin -filter\n")
    repo.write("secret/.gitattributes", "* filter=git-crypt\n.gitattributes !filter\n")
    repo.commit("begin", **{"old.bin": POINTER})
    world = await make_world(tmp_path, repo).open()
    async with Queue(world).open({"moves": {}, "adds": {}, "leaks": {}, "free": {}}) as queue:
        tree = await world.add("moves.1")
        tree.git("mv", "old.bin", "new.bin")
        tree.commit("moves")
        await queue.complete("moves", await world.session.head("moves.1", tree.path, world.base))
        await queue.complete("adds", await world.work("adds.1", **{"deep/more.bin": "raw\n"}))
        await queue.complete("leaks", await world.work("leaks.1", **{"secret/key": "k\n"}))
        await queue.complete("free", await world.work("free.1", **{"a.txt": "x\n", "plain.bin": "x\n"}))
        view = await queue.merge("moves.1", "adds.1", "leaks.1", "free.1")
    assert left_out(view) == {"adds", "leaks"}
    assert "'deep/more.bin' belongs through the filter 'lfs'" in str(view.left_out("adds"))
    assert "'secret/key' belongs through the filter 'git-crypt'" in str(view.left_out("leaks"))
    assert {"new.bin", "a.txt", "plain.bin"} <= names_of(world, view.tip)


def test_a_conflict_of_any_size_fits_into_a_record() -> None:
    many = [MergeConflict(f"f{number}", "contents", "m" * 5000, ("h" * 4000,) * 10) for number in range(1000)]
    assert len(json.dumps(as_record(many))) < 60_000
    assert as_record(many)[0]["hunks"]


# Fencing -------------------------------------------------------------------------------------------------------------


@pytest.mark.req("S9", "T3", "G1")
async def test_an_attempt_that_was_replaced_cannot_be_merged(world: Any) -> None:
    """The decision to merge t.1 was made on a view in which it was the latest."""
    async with Queue(world).open({"t": {}}) as queue:
        await queue.complete("t", await world.work("t.1", old="x\n"))
        stale = await queue.session.view()
        await queue.complete("t", await world.work("t.2", new="y\n"))
        with pytest.raises(Conflict):
            await queue.merger().integrate(stale, Integrate("t", "t.1"))
        assert (await queue.session.view()).tip is None
        view = await queue.merge("t.2")
    assert names_of(world, view.tip) - names_of(world, world.base) == {"new"}


@pytest.mark.req("S9", "G1")
async def test_a_holder_that_lost_its_claim_reports_nothing_and_what_it_commits_later_is_not_merged(world: Any) -> None:
    async with Queue(world).open({"t": {}}) as queue:
        agent = await queue.assign("t")
        zombie = await queue.session.claim(agent, (), {"host": "h", "pid": 1}, queue.lease)
        tree = await world.add(agent)
        attempt = (await queue.session.view()).attempt(agent)
        assert attempt is not None
        await queue.session.drop_claim(attempt)
        lost = (await queue.session.view()).attempt(agent)
        assert lost is not None
        await queue.session.end(lost, State.FAILED, {"code": "lost", "reason": "lost"})
        await queue.complete("t", await world.work("t.2", new="y\n"))
        late = tree.commit("too late", late="z\n")
        with pytest.raises(Fenced):
            await zombie.finish(State.COMPLETED, {"code": "completed", "commit": late})
        stale = await queue.session.view()
        assert await queue.merger().integrate(stale, Integrate("t", agent)) == 0, "it is not even completed"
        moved = world.repo.at(world.session.agents_path)
        moved.git("update-ref", "refs/heads/t.2", late)
        view = await queue.merge("t.2")
    assert names_of(world, view.tip) - names_of(world, world.base) == {"new"}


@pytest.mark.req("S9", "G1", "M12")
async def test_a_leader_that_was_replaced_merges_nothing(world: Any) -> None:
    async with Queue(world).open({"t": {}}) as queue:
        await queue.complete("t", await world.work("t.1", new="y\n"))
        view = await queue.session.view()
        await queue.session.store.delete(queue.session.keys.leader)
        await queue.session.store.create(queue.session.keys.leader, b"{}", queue.lease)
        with pytest.raises(Fenced):
            await queue.merger().integrate(view, Integrate("t", "t.1"))
        assert (await queue.session.view()).tip is None
