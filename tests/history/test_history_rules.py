"""Each rule by itself: a true history, falsified in one place, breaks that rule; deletes find their places."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordstore.errors import CoordError, OutcomeUnknown
from coordstore.model import Check, Delete, Put
from coordstore.testing import Clock, MemoryStore
from coordstore.testing.history import History, Recorder, RecordingStore, Shape, Ticks, check, final_phase
from coordstore.testing.history.matching import Matching
from coordstore.testing.history.replay import END, complement, earliest, first_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from coordstore.model import Committed, Transaction
    from coordstore.testing.history import Operation

SECOND = 10**9


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    """A short true history: two clients, a lease that ends by its time, fenced writes, a stream, deletes."""
    clock = Clock()
    async with MemoryStore(clock=clock) as store:
        recorder = Recorder(now_ns=Ticks(clock))
        one, two = RecordingStore(store, recorder, "one"), RecordingStore(store, recorder, "two")
        await one.put("a", b"1")  # one:1
        await two.put("b", b"2")  # two:1
        await one.delete("a")  # one:2
        await two.append("s", [b"3", b"4"])  # two:2
        await one.read("s")  # one:3
        lease = await one.grant(10)  # one:4
        token = await one.create("holder", b"5", lease)  # one:5
        await one.put("guarded", b"6", fence=("holder", token))  # one:6
        await clock.advance(11)
        assert await two.get("holder") is None  # two:3
        with pytest.raises(CoordError):
            await one.put("guarded", b"7", fence=("holder", token))  # one:7
        with pytest.raises(CoordError):
            await two.put("held", b"8", lease=lease.id)  # two:4
        second = await two.grant(10)  # two:5
        await two.create("holder", b"9", second)  # two:6
        await two.transact([Put("x", b"10"), Put("y", b"10")])  # two:7
        await one.delete_prefix("x")  # one:8
        await final_phase(store, recorder, Shape())
        yield recorder


LOST = "lost on its way, or on its way back"


class Doubtful(MemoryStore):
    """Loses the answers to its first transactions, the first of which it did not even apply."""

    def __init__(self, lost: int) -> None:
        super().__init__()
        self.lost = self.left = lost

    async def do_transact(self, txn: Transaction) -> Committed:
        self.left -= 1
        if self.left == self.lost - 1:
            raise OutcomeUnknown(LOST)
        done = await super().do_transact(txn)
        if self.left >= 0:
            raise OutcomeUnknown(LOST)
        return done


async def test_the_last_transaction_is_repeated_until_its_outcome_is_known() -> None:
    recorder = Recorder()
    async with Doubtful(3) as store:
        await final_phase(store, recorder, Shape())
        assert await store.heads("") == {f"{Shape().root}/end": 3}
    assert not check(History(recorder.operations)).violations


def calls_of(recorder: Recorder) -> dict[str, Operation]:
    return {each.op_id: each for each in recorder.operations}


def test_the_true_history_is_clean(recorder: Recorder) -> None:
    verdict = check(History(recorder.operations))
    assert verdict.ok, str(verdict)


async def test_a_deletion_is_of_the_transaction_that_returned_its_revision_and_did_something() -> None:
    """A delete that went on all the time, and can be any of two deletions, takes the other one."""
    recorder = Recorder()
    async with MemoryStore() as store:
        one, two = RecordingStore(store, recorder, "one"), RecordingStore(store, recorder, "two")
        held = await one.put("k", b"1")
        await one.transact([Delete("k")], checks=[Check("k", revision=held)])
        await one.put("k", b"2", lease=(await one.grant(10)).id)
        assert await two.delete("k")
        await final_phase(store, recorder, Shape())
    calls_of(recorder)["two:1"].call_ns = 0
    verdict = check(History(recorder.operations))
    assert verdict.ok, str(verdict)


def written_late(calls: dict[str, Operation]) -> None:
    """A write that began after a later one had ended."""
    calls["one:1"].call_ns = (calls["two:1"].ret_ns or 0) + 1
    calls["one:1"].ret_ns = calls["one:1"].call_ns + 1
    for later in ("one:2", "two:2", "one:3"):
        calls[later].call_ns += 10
        calls[later].ret_ns = (calls[later].ret_ns or 0) + 10


def refused(calls: dict[str, Operation]) -> None:
    calls["one:1"].outcome, calls["one:1"].error, calls["one:1"].rev = "failed", "Unavailable", None


def wrong_revision(calls: dict[str, Operation]) -> None:
    calls["one:1"].rev = 2


def wrong_count(calls: dict[str, Operation]) -> None:
    calls["one:8"].value = 2


def no_delete(calls: dict[str, Operation]) -> None:
    calls["one:2"].value = False


def no_such_write(calls: dict[str, Operation]) -> None:
    calls["two:7"].args["writes"].pop()


def other_sequence(calls: dict[str, Operation]) -> None:
    calls["two:2"].value = 3


def read_of_the_future(calls: dict[str, Operation]) -> None:
    calls["one:3"].call_ns, calls["one:3"].ret_ns = 0, 1


def wrong_value(calls: dict[str, Operation]) -> None:
    calls["one:3"].value[0][2] = "5"


def ends_early(calls: dict[str, Operation]) -> None:
    for name in ("one:4", "one:5", "one:6"):
        calls[name].call_ns += 5 * SECOND
        calls[name].ret_ns = (calls[name].ret_ns or 0) + 5 * SECOND


def granted_twice(calls: dict[str, Operation]) -> None:
    calls["two:5"].value = calls["one:4"].value


def put_on_ended(calls: dict[str, Operation]) -> None:
    calls["two:6"].args["writes"][0][2] = calls["one:4"].value


def accepted_zombie(calls: dict[str, Operation]) -> None:
    calls["two:7"].args["fence"] = ["holder", None, calls["one:5"].rev]


def fenced_for_nothing(calls: dict[str, Operation]) -> None:
    calls["one:7"].call_ns, calls["one:7"].ret_ns = calls["one:6"].call_ns, calls["one:6"].ret_ns


RULES: list[tuple[Callable[[dict[str, Operation]], None], str]] = [
    (written_late, "real-time order"),
    (refused, "failed but applied"),
    (wrong_revision, "wrong revision"),
    (wrong_count, "lost write"),
    (no_delete, "invented delete"),
    (no_such_write, "not as asked"),
    (other_sequence, "wrong sequence"),
    (read_of_the_future, "read ahead"),
    (wrong_value, "not a slice"),
    (ends_early, "lease ended early"),
    (granted_twice, "lease id twice"),
    (put_on_ended, "lease came back"),
    (fenced_for_nothing, "not linearizable"),
    (accepted_zombie, "zombie accepted"),
    (accepted_zombie, "not linearizable"),
]


@pytest.mark.req("S9")
def test_the_search_believes_no_holder_that_never_was(recorder: Recorder) -> None:
    calls_of(recorder)["one:7"].value["current"] = 3
    assert check(History(recorder.operations), tiers="b").rules.keys() == {"not linearizable"}


@pytest.mark.req("S4", "S5", "S7", "S9")
@pytest.mark.parametrize(("falsify", "rule"), RULES, ids=lambda each: getattr(each, "__name__", each))
def test_one_falsehood_breaks_its_rule(
    recorder: Recorder, falsify: Callable[[dict[str, Operation]], None], rule: str
) -> None:
    falsify(calls_of(recorder))
    assert rule in check(History(recorder.operations)).rules


def test_a_reported_rule_names_its_operation(recorder: Recorder) -> None:
    refused(calls_of(recorder))
    verdict = check(History(recorder.operations), tiers="a")
    assert [violation.operations[0].op_id for violation in verdict.violations] == ["one:1"]


# --- matching -------------------------------------------------------------------------------------------


def test_who_has_a_choice_makes_room() -> None:
    matching = Matching({"any": [1, 2, 3], "low": [1], "some": [1, 2]})
    assert [matching.seat(name) for name in ("any", "some", "low")] == [True, True, True]
    assert matching.place_of == {"low": 1, "some": 2, "any": 3}


def test_a_place_that_must_be_filled_draws_from_one_that_need_not() -> None:
    matching = Matching({"only": [1, 2]})
    assert matching.seat("only")
    assert matching.fill(2, spare=frozenset({1}))
    assert matching.holder == {2: "only"}
    assert not matching.fill(1, spare=frozenset())


def test_those_who_are_alike_are_dealt_their_places_in_order() -> None:
    matching = Matching({"late": [1, 2], "early": [1, 2]})
    assert all([matching.seat("early"), matching.seat("late")])
    assert matching.place_of == {"late": 1, "early": 2}
    matching.sort_out(["early", "late"])
    assert matching.place_of == {"early": 1, "late": 2}
    assert matching.holder == {1: "early", 2: "late"}


@given(st.lists(st.sets(st.integers(0, 4)), max_size=5))
def test_everybody_is_seated_whenever_that_is_possible(choices: list[set[int]]) -> None:
    named = {str(number): sorted(places) for number, places in enumerate(choices)}
    matching = Matching(named)
    seated = sum([matching.seat(name) for name in named])
    best = max(
        sum(place in places for place, places in zip(order, choices, strict=False))
        for order in itertools.permutations(range(5))
    )
    assert seated == best
    assert len(set(matching.place_of.values())) == len(matching.place_of) == seated


# --- spans ----------------------------------------------------------------------------------------------


def test_spans() -> None:
    spans = [(2, 4), (6, END)]
    assert [first_in(spans, at) for at in (0, 3, 4, 9)] == [2, 3, 6, 9]
    assert first_in([(2, 4)], 4) is None
    assert complement(spans) == [(0, 2), (4, 6)]
    assert complement([]) == [(0, END)]
    assert earliest([spans, [(0, 1), (3, 7)]], 0) == 3
    assert earliest([spans, [(4, 6)]], 0) is None
    assert earliest([], 5) == 5
