"""The pure engine: deciding changes nothing, evolving cannot fail, and the commits alone rebuild the state."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordstore import engine
from coordstore.errors import Conflict, Fenced, LeaseLost, Trimmed
from coordstore.model import Append, Change, Check, Delete, Entry, Put, Transaction
from coordstore.names import under

pytestmark = pytest.mark.req("S5", "S7")

NAMES = st.sampled_from(["a", "a/b", "a1", "b"])
PUTS = st.builds(Put, NAMES, st.binary(max_size=2), st.none() | st.sampled_from([1, 2]))
WRITES = st.lists(PUTS | st.builds(Delete, NAMES), max_size=3, unique_by=lambda write: write.key)
STEPS = st.lists(
    st.tuples(st.just("transact"), WRITES, st.lists(st.builds(Append, NAMES, st.binary(max_size=2)), max_size=3))
    | st.tuples(st.just("trim"), NAMES, st.integers(0, 5))
    | st.tuples(st.just("drop"), NAMES)
    | st.tuples(st.just("end"), st.sampled_from([1, 2]))
    | st.tuples(st.just("delete"), NAMES),
    max_size=25,
)


def _decided(state: engine.State, step: tuple[object, ...]) -> list[engine.Commit]:
    match step:
        case ("transact", list(writes), list(appends)):
            return [engine.decide(state, Transaction.of(writes, (), appends), {1, 2})]
        case ("trim", str(name), int(upto)):
            return [engine.decide_trim(state, name, upto)]
        case ("drop", str(name)):
            return [engine.decide_drop(state, name)]
        case ("end", int(lease)):
            return engine.decide_end_leases(state, [lease])
        case ("delete", str(name)):
            return [engine.decide_delete_prefix(state, name)]
    raise AssertionError(step)


def _shown(state: engine.State) -> object:
    streams = state.spans("")
    records = {name: state.read(name, first - 1, None) for name, (first, _) in streams.items()}
    leased = {lease: state.leased(lease) for lease in state.leases()}
    return state.revision, state.list("", None, None, keys_only=False), streams, records, leased


@given(STEPS)
def test_commits_rebuild_the_state_and_deciding_changes_nothing(steps: list[tuple[object, ...]]) -> None:
    state, log = engine.State(), []
    for step in steps:
        before = _shown(state)
        commits = _decided(state, step)
        assert _shown(state) == before
        for commit in commits:
            assert commit.revision in (state.revision, state.revision + 1)
            state.evolve(commit)
            log.append(commit)
    again = engine.State()
    for commit in log:
        again.evolve(commit)
    assert _shown(again) == _shown(state)


@given(STEPS, st.integers(0, 30))
def test_history_above_the_floor_is_whole(steps: list[tuple[object, ...]], keep: int) -> None:
    state = engine.State()
    entries: dict[str, object] = {}
    for step in steps:
        for commit in _decided(state, step):
            state.evolve(commit)
    floor = state.compact(keep)
    assert floor == max(0, state.revision - keep)
    assert [commit.revision for commit in state.history] == list(range(floor + 1, state.revision + 1))
    if floor == 0:
        for _, changes in state.changes("", 0, 1000)[0]:
            for change in changes:
                entries.pop(change.key, None)
                entries |= {change.key: change.entry} if change.entry else {}
        assert sorted(entries) == state.keys("")


KEYS = [f"{folder}/{n}" for folder in ("a", "a/b", "a1") for n in range(30)] + ["a", "a/b", "a1"]
LOOKS = st.tuples(
    st.sampled_from(["", "a", "a/", "a/b", "a1", "b"]),
    st.none() | st.integers(1, 40),
    st.none() | st.sampled_from(KEYS),
)


@given(
    st.lists(
        st.tuples(st.lists(st.sampled_from(KEYS), max_size=12, unique=True), st.lists(LOOKS, max_size=2)), max_size=12
    )
)
def test_keys_are_in_order_however_many_came_and_went(
    rounds: list[tuple[list[str], list[tuple[str, int | None, str | None]]]],
) -> None:
    state = engine.State()
    here: set[str] = set()
    for number, (keys, looks) in enumerate(rounds, 1):
        state.change(
            [Change(key, None if key in here else Entry(key, b"", number, number, None)) for key in keys], number
        )
        here ^= set(keys)
        for prefix, limit, after in looks:
            covered = sorted(key for key in here if under(prefix, key) and (after is None or key > after))
            found = state.list(prefix, limit, after, keys_only=True)
            assert [entry.key for entry in found.entries] == covered[:limit]
            assert found.more is (limit is not None and len(covered) > limit)
            name = prefix.rstrip("/") or "b"
            assert state.has_below(name) is any(key.startswith(f"{name}/") for key in here)


def test_what_came_and_went_is_not_kept_for_ever() -> None:
    state = engine.State()
    for n in range(1, 40_000):
        state.change([Change(f"k/{n}", Entry(f"k/{n}", b"", n, n, None))], n)
        state.change([Change(f"k/{n}", None)], n)
    size = sum(sys.getsizeof(part) for part in vars(state).values())
    assert size < 400_000, "nobody asked for the order, and every key that there ever was is still there"


def test_refusals_come_in_order_fence_checks_lease() -> None:
    state = engine.State()
    txn = Transaction.of([Put("a", b"", 7)], [Check("b", revision=3)], (), ("lock", 1))
    with pytest.raises(Fenced, match="lock"):
        engine.decide(state, txn, ())
    with pytest.raises(Conflict, match="b is absent, expected revision 3"):
        engine.decide(state, Transaction.of([Put("a", b"", 7)], [Check("b", revision=3)]), ())
    with pytest.raises(LeaseLost, match="7"):
        engine.decide(state, Transaction.of([Put("a", b"", 7)]), ())


def test_pages_of_changes_and_records_split_no_revision() -> None:
    state = engine.State()
    for _ in range(5):
        appends = [Append(name, b"") for name in ("a", "b", "a")]
        state.evolve(engine.decide(state, Transaction.of([Put("k", b""), Put("l", b"")], (), appends), ()))
    batches, upto = state.changes("", 0, 2)
    assert ([revision for revision, _ in batches], upto) == ([1, 2], 2)
    records, upto = state.records("", 0, 4)
    assert ([record.revision for record in records], upto) == ([1, 1, 1, 2, 2, 2], 2)
    records, upto = state.records("b", 2, 100)
    assert ([record.revision for record in records], upto) == ([3, 4, 5], 5)


def test_a_place_that_was_trimmed_is_told_with_what_to_do() -> None:
    state = engine.State()
    state.evolve(engine.decide(state, Transaction.of((), (), [Append("s", b"")] * 3), ()))
    state.evolve(engine.decide_trim(state, "s", 2))
    with pytest.raises(Trimmed, match=r"begins at 3 now; read on with after=2"):
        state.read("s", 0, None)
    assert state.revision_of("s", 3) == 1
    assert state.revision_of("s", 2) is None
