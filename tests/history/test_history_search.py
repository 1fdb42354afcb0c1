"""The search of tier B gives the verdicts of brute force, keeps its bounds, and says how far it came."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordstore.errors import InvalidArgument
from coordstore.testing.history import Bounds, Shape, check
from coordstore.testing.history.faulty import virtual_run
from coordstore.testing.history.models import Effect, Fencing, FencingStep, Holder, Keys, KeysStep, Need, Task
from coordstore.testing.history.search import linearize

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = [pytest.mark.req("S4", "S5")]
TINY = Fraction(1, 1000)


class Op(NamedTuple):
    """An operation on one key, in words of its own: neither the checker's records nor its steps."""

    kind: str  # put, get, cas, delete
    call: int
    ret: int | None
    value: str | None = None  # written, or read
    revision: int | None = None  # returned, or read; 0: absent
    expect: int | None = None  # of a cas
    refused: bool = False  # a cas that saw `revision`
    found: bool | None = None  # of a delete


# --- brute force ----------------------------------------------------------------------------------------


def possible(ops: Sequence[Op]) -> bool:
    """Try every order of every subset that holds all finished operations."""
    finished = [op for op in ops if op.ret is not None]
    unfinished = [op for op in ops if op.ret is None]
    subsets = itertools.chain.from_iterable(
        itertools.combinations(unfinished, size) for size in range(len(unfinished) + 1)
    )
    return any(
        in_time(order) and true_for_a_store(order)
        for extra in subsets
        for order in itertools.permutations([*finished, *extra])
    )


def in_time(order: Sequence[Op]) -> bool:
    return not any(
        later.ret is not None and later.ret < earlier.call for earlier, later in itertools.combinations(order, 2)
    )


def true_for_a_store(order: Sequence[Op]) -> bool:
    """Run a key that has revisions through an order."""
    key = Key(None, Fraction(0), Fraction(0))
    for at, op in enumerate(order):
        after = key.write(op, order[at + 1 :]) if writes(op) else key if key.agrees(op) else None
        if after is None:
            return False
        key = after
    return True


def writes(op: Op) -> bool:
    return op.kind != "get" and not op.refused


class Key(NamedTuple):
    """A key as a store has it: nothing about it is unknown."""

    value: str | None
    revision: Fraction
    last: Fraction

    def agrees(self, op: Op) -> bool:
        """Tell whether a get, or a cas that was refused, saw this."""
        if op.kind == "get":
            return self.value == op.value and self.revision == op.revision
        return self.revision == op.revision and self.revision != op.expect

    def write(self, op: Op, rest: Sequence[Op]) -> Key | None:
        if op.kind == "delete":
            if op.found not in (None, self.value is not None):
                return None
            return Key(None, Fraction(0), self.last + TINY) if self.value is not None else self
        if op.kind == "cas" and self.revision != op.expect:
            return None
        revision = Fraction(op.revision) if op.revision is not None else revision_seen(rest, self.last)
        return Key(op.value, revision, revision) if revision > self.last else None


def revision_seen(rest: Sequence[Op], last: Fraction) -> Fraction:
    """Return the revision of a write that told none: what is seen of it before the next change, else any that fits."""
    for op in rest:
        if op.kind == "get" or op.refused:
            return Fraction(op.revision or 0)
        if op.kind == "cas" and op.expect:
            return Fraction(op.expect)
        break
    return last + TINY


# --- random histories -----------------------------------------------------------------------------------


def some_history(rng: random.Random) -> list[Op]:
    """Let a true key make a history, then perhaps falsify it."""
    value: str | None = None
    revision = last = 0
    ops: list[Op] = []
    for number in range(rng.randrange(2, 6)):
        call = number * 4 - rng.randrange(10)
        ret = None if rng.random() < 0.2 else number * 4 + rng.randrange(10)
        kind = rng.choice(["put", "put", "get", "get", "cas", "delete"])
        if kind == "get":
            ops.append(Op("get", call, number * 4 + 9 if ret is None else ret, value, revision))
            continue
        if kind == "delete":
            ops.append(Op("delete", call, ret, found=None if ret is None else value is not None))
            if ret is not None or rng.random() < 0.5:
                last += 10 if revision else 0
                value, revision = None, 0
            continue
        expect = rng.choice([revision, revision, 0, last]) if kind == "cas" else None
        if expect not in (None, revision):
            ops.append(Op("cas", call, number * 4 + 9 if ret is None else ret, None, revision, expect, refused=True))
            continue
        applied = ret is not None or rng.random() < 0.5
        if applied:
            value, revision, last = f"v{number}", last + 10, last + 10
        ops.append(Op(kind, call, ret, f"v{number}", revision if ret is not None else None, expect))
    return [falsified(op, rng) if rng.random() < 0.12 else op for op in ops]


def falsified(op: Op, rng: random.Random) -> Op:
    if op.kind == "get":
        return op._replace(value=f"v{rng.randrange(4)}", revision=rng.choice([10, 20, 30]))
    if op.kind == "delete" and op.found is not None:
        return op._replace(found=not op.found)
    return op._replace(revision=op.revision and rng.choice([10, 20, 30]))


def tasks(ops: Sequence[Op]) -> list[Task[KeysStep]]:
    """Say a history in the checker's words."""
    return [
        Task(str(number), step(op), op.call, op.ret, op.kind == "get" or op.refused) for number, op in enumerate(ops)
    ]


def step(op: Op) -> KeysStep:
    if op.kind == "get":
        return KeysStep((Need(0, op.value, op.revision),))
    if op.refused:
        return KeysStep((Need(0, None, op.revision if op.revision != op.expect else -1),))
    if op.kind == "delete":
        needs = () if op.found is None else (Need(0, None, None if op.found else 0),)
        return KeysStep(needs, (Effect(0, None),))
    needs = (Need(0, None, op.expect),) if op.kind == "cas" else ()
    return KeysStep(needs, (Effect(0, op.value),), op.revision)


@settings(max_examples=300)
@given(st.integers(0, 10**9))
def test_the_verdict_is_that_of_brute_force(seed: int) -> None:
    ops = some_history(random.Random(seed))
    assert linearize(Keys(1), tasks(ops), 10).ok == possible(ops)


def test_both_verdicts_are_common_among_the_histories_compared() -> None:
    verdicts = [linearize(Keys(1), tasks(some_history(random.Random(seed))), 10).ok for seed in range(1000)]
    assert 200 < sum(verdicts) < 900


@settings(max_examples=100)
@given(st.integers(0, 10**9))
def test_two_keys_together_are_as_strict_as_each_alone(seed: int) -> None:
    rng = random.Random(seed)
    first, second = tasks(some_history(rng)), [bare(each) for each in tasks(some_history(rng))]
    alone = linearize(Keys(1), first, 10).ok and linearize(Keys(1), second, 10).ok
    assert linearize(Keys(2), [*first, *(moved(each) for each in second)], 10).ok == alone


def bare(task: Task[KeysStep]) -> Task[KeysStep]:
    """Leave the revisions out, so that nothing but time ties a key to another."""
    needs = tuple(need if need.revision == 0 else need._replace(revision=None) for need in task.step.needs)
    return replace(task, step=KeysStep(needs, task.step.effects))


def moved(task: Task[KeysStep]) -> Task[KeysStep]:
    """Say it of a second key."""
    needs = tuple(need._replace(key=1) for need in task.step.needs)
    effects = tuple(effect._replace(key=1) for effect in task.step.effects)
    return replace(task, name=f"second {task.name}", step=KeysStep(needs, effects))


# --- what the search says -------------------------------------------------------------------------------


def test_it_says_how_far_it_came_and_where_it_stuck() -> None:
    story = [
        Task("put", KeysStep((), (Effect(0, "a"),), 10), 0, 1),
        Task("get", KeysStep((Need(0, "a", 10),)), 2, 3, pure=True),
        Task("wrong", KeysStep((Need(0, "b", 20),)), 4, 5, pure=True),
    ]
    found = linearize(Keys(1), story, 10)
    assert not found.ok
    assert found.longest == ("put", "get")
    assert found.stuck == ("wrong",)
    assert linearize(Keys(1), story[:2], 10).longest == ("put", "get")


def test_no_time_is_no_answer() -> None:
    ticking = itertools.count()
    story = [Task(str(number), KeysStep((), (Effect(0, str(number)),)), 0, 1) for number in range(12)]
    story.append(Task("never", KeysStep((Need(0, "nobody's"),)), 2, 3, pure=True))
    found = linearize(Keys(1), story, 0, now=lambda: float(next(ticking)))
    assert found.exceeded
    assert not found.ok


async def test_what_exceeds_its_bounds_fails_the_check() -> None:
    history = await virtual_run(Shape(seed=1, operations=300))
    assert check(history).ok
    for bounds in (Bounds(per_key=3), Bounds(together=5), Bounds(clients=4), Bounds(seconds=-1)):
        assert set(check(history, bounds).rules) == {"tier B exceeded"}


def test_a_leased_key_may_vanish_and_a_plain_one_may_not() -> None:
    for leased in (True, False):
        story = [
            Task("put", KeysStep((), (Effect(0, "a", leased),), 10), 0, 1),
            Task("gone", KeysStep((Need(0, None, 0),)), 2, 3, pure=True),
            Task("anew", KeysStep((Need(0, None, 0),), (Effect(0, "b"),), 20), 4, 5),
            Task("seen", KeysStep((Need(0, "b", 20, 20),)), 6, 7, pure=True),
        ]
        assert linearize(Keys(1), story, 10).ok is leased


# --- leases ---------------------------------------------------------------------------------------------

CLAIM = FencingStep("claim", 10, until=100, ret=1)


@pytest.mark.req("S9")
@pytest.mark.parametrize(
    ("step", "allowed"),
    [
        (FencingStep("claim", 20, 300, ret=99), False),  # inside another's term
        (FencingStep("claim", 20, 300, ret=100), True),
        (FencingStep("claim", 10, 300, ret=100), False),  # a token twice
        (FencingStep("renew", 10, 200, ret=50), True),
        (FencingStep("renew", 5, 200, ret=50), False),
        (FencingStep("lost", 10, ret=50), False),  # lost within the term
        (FencingStep("lost", 10, ret=100), True),
        (FencingStep("write", 10, ret=500), True),  # over, but nobody has ended it yet
        (FencingStep("write", 5, ret=5), False),  # a zombie
        (FencingStep("fenced", 10, ret=50), False),  # the true holder
        (FencingStep("fenced", 5, ret=50), True),
    ],
)
def test_leases_and_tokens(step: FencingStep, allowed: bool) -> None:
    model = Fencing()
    held = model.apply(model.initial(), CLAIM)
    assert held == Holder(10, 10, 100)
    assert (model.apply(held, step) is not None) is allowed


@pytest.mark.req("S9")
def test_who_was_fenced_holds_nothing_more() -> None:
    model = Fencing(skew=5)
    over = model.apply(Holder(10, 10, 100), FencingStep("fenced", 10, ret=95))
    assert over is not None
    assert model.apply(over, FencingStep("write", 10, ret=96)) is None
    free = model.apply(Holder(10, 10, 100), FencingStep("release", 10, ret=2))
    assert free is not None
    assert model.apply(free, FencingStep("claim", 20, 200, ret=3)) == Holder(20, 20, 200)
    with pytest.raises(InvalidArgument, match="no operation"):
        model.apply(over, FencingStep("wait", 1))
