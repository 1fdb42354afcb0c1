"""The values: what a transaction refuses before any store sees it, and what it makes of what it takes."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from coordstore import names
from coordstore.errors import InvalidArgument, TooLarge
from coordstore.model import (
    Append,
    Batch,
    Change,
    Check,
    Delete,
    Entry,
    LeaseInfo,
    Listing,
    Put,
    Record,
    Resolution,
    StoreInfo,
    Transaction,
)

pytestmark = pytest.mark.req("S5")


def test_a_transaction_holds_plain_checked_values() -> None:
    lease = LeaseInfo(7, 10, 3.5)
    txn = Transaction.of([Put("a", bytearray(b"1"), lease), Delete("b")], [Check("c", revision=0)], (), ("lock", 4))  # type: ignore[arg-type]  # a bytearray is taken
    assert txn.writes == (Put("a", b"1", 7), Delete("b"))
    assert txn.fence == Check("lock", create_revision=4)


@pytest.mark.parametrize("writes", [["a"], [None], [("a", b"")], [Append("a", b"")], [Check("a", revision=0)]])
def test_writes_are_puts_and_deletes(writes: list[object]) -> None:
    with pytest.raises(InvalidArgument, match="writes are Put and Delete"):
        Transaction.of(writes)  # type: ignore[arg-type]  # wrong on purpose


def test_checks_are_checks_and_appends_appends() -> None:
    with pytest.raises(InvalidArgument, match="checks are Check"):
        Transaction.of((), [("a", 1)])  # type: ignore[list-item]  # wrong on purpose
    with pytest.raises(InvalidArgument, match="appends are Append"):
        Transaction.of((), (), [b"a"])  # type: ignore[list-item]  # wrong on purpose


def test_what_is_refused_is_named() -> None:
    with pytest.raises(InvalidArgument, match="more than once: a, b"):
        Transaction.of([Put("a", b""), Put("b", b""), Delete("a"), Delete("b"), Delete("c")])
    with pytest.raises(TooLarge, match="at most 64 writes and appends, this one 65: split it"):
        Transaction.of((), (), [Append("s", b"")] * 65)


def test_a_put_alone_is_checked_as_in_any_transaction() -> None:
    lease = LeaseInfo(7, 10, 3.5)
    longest = "/".join(["k" * 64] * 8)[: names.KEY_MAX]
    for key, value, expect, given, fence in (
        ("a", b"1", None, None, None),
        ("a", bytearray(b"1"), 3, lease, ("lock", 4)),
        (longest, b"v" * names.VALUE_MAX, 0, 7, Check(longest, create_revision=1)),
    ):
        checks = [] if expect is None else [Check(key, revision=expect)]
        whole = Transaction.of([Put(key, value, given)], checks, (), fence)  # type: ignore[arg-type]  # a bytearray is taken
        assert Transaction.putting(key, value, expect, given, fence) == whole  # type: ignore[arg-type]  # likewise


@pytest.mark.parametrize(
    "wrong",
    [
        {"key": "A"},
        {"value": "text"},
        {"value": b"v" * (names.VALUE_MAX + 1)},
        {"expect": -1},
        {"lease": 0},
        {"fence": ("lock", 0)},
        {"fence": ("Lock", 1)},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_put_alone_is_refused_as_in_any_transaction(wrong: dict[str, Any]) -> None:
    given: dict[str, Any] = {"key": "a", "value": b"", "expect": None, "lease": None, "fence": None, **wrong}
    expect = given["expect"]
    checks = [] if expect is None else [Check(given["key"], revision=expect)]
    with pytest.raises(ValueError) as whole:  # noqa: PT011  (which one is compared)
        Transaction.of([Put(given["key"], given["value"], given["lease"])], checks, (), given["fence"])
    with pytest.raises(whole.type) as alone:
        Transaction.putting(**given)
    assert str(alone.value) == str(whole.value)


def test_a_check_holds_when_every_condition_does() -> None:
    assert Check("a", revision=0).holds(0, 0)
    assert Check("a", revision=5, create_revision=3).holds(5, 3)
    assert not Check("a", revision=5, create_revision=3).holds(5, 4)
    assert not Check("a", create_revision=3).holds(0, 0)


def test_a_resolution_is_true_when_applied() -> None:
    assert Resolution(applied=True, revision=3)
    assert not Resolution(applied=False)


def test_values_pickle_and_compare() -> None:
    entry = Entry("a", b"1", 2, 1, 7)
    for value in (
        entry,
        Listing(2, [entry], more=True),
        Batch(2, changes=[Change("a", entry)]),
        Record("s", 1, 2, b""),
        StoreInfo("id", "memory", "memory:", 2, 0, "none", 1),
        Transaction.of([Put("a", b"")]),
    ):
        assert pickle.loads(pickle.dumps(value)) == value  # noqa: S301  (our own)
