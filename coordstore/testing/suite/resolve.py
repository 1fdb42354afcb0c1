"""Conformance, resolve: the fate of a transaction whose reply was lost, told for good."""
# ruff: noqa: D102  (the names of the tests are their sentences)

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from coordstore.errors import Conflict, CoordError, Fenced, InvalidArgument, OutcomeUnknown
from coordstore.model import Append, Check, Put, Resolution
from coordstore.store import CoordStore
from coordstore.testing.suite.topic import Topic, keys_of, together

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coordstore.model import Committed, Transaction

__all__ = ["ResolveTests", "losing_replies"]

LoseReplies: TypeAlias = Callable[[CoordStore, bool], AbstractContextManager["list[Transaction]"]]
"""Of (handle, landing): inside, the handle's transactions end as `OutcomeUnknown`; gives the list of them."""


@contextlib.contextmanager
def losing_replies(store: CoordStore, landing: bool) -> Iterator[list[Transaction]]:  # noqa: FBT001  (the alias's shape)
    """Make a handle's transactions end as `OutcomeUnknown`, after they landed or without.

    Args:
        store: A handle built on `StoreBase`; its `do_transact` is replaced on the instance.
        landing: Whether the transactions are applied before the reply is lost.

    Yields:
        The transactions, as they were handed to the backend.
    """
    handle: Any = store
    real, sent = handle.do_transact, []

    async def lossy(txn: Transaction) -> Committed:
        sent.append(txn)
        if landing:
            await real(txn)
        message = "the reply was lost, by the test's wish"
        raise OutcomeUnknown(message)

    handle.do_transact = lossy
    try:
        yield sent
    finally:
        del handle.do_transact


class ResolveTests(Topic):
    """Resolvable transactions.

    A backend that is not built on `StoreBase` also overrides `lose_replies`.
    """

    @pytest.fixture
    def lose_replies(self) -> LoseReplies:
        """Return what makes the transactions of a handle end as `OutcomeUnknown`."""
        return losing_replies

    @staticmethod
    async def _lost(store: CoordStore) -> str:
        """Send a resolvable transaction whose reply is lost; return its op."""
        with pytest.raises(OutcomeUnknown) as caught:
            await store.transact([Put("a", b"1")], appends=[Append("s", b"1")], resolvable=True)
        assert caught.value.op is not None
        return caught.value.op

    async def test_a_resolvable_transaction_is_one_like_any_other(self, store: CoordStore) -> None:
        for number in range(3):
            revision = await store.transact(
                [Put(f"a/{number}", b"")], checks=[Check(f"a/{number}", revision=0)], resolvable=True
            )
            entry = await store.get(f"a/{number}")
            assert entry is not None
            assert entry.revision == revision

    async def test_its_checks_and_fence_are_told_without_the_slot(self, store: CoordStore) -> None:
        revision = await store.put("a", b"1")
        for _ in range(2):
            with pytest.raises(Conflict) as caught:
                await store.transact([Put("b", b"")], checks=[Check("a", revision=0)], resolvable=True)
            assert caught.value.revisions == {"a": revision}
            with pytest.raises(Fenced):
                await store.transact([Put("b", b"")], fence=("lock", 1), resolvable=True)
        assert await store.get("b") is None
        await store.transact([Put("b", b"")], resolvable=True)

    async def test_what_landed_resolves_to_applied_with_its_revision(
        self, store: CoordStore, other: CoordStore, lose_replies: LoseReplies
    ) -> None:
        with lose_replies(store, True):
            op = await self._lost(store)
        entry = await store.get("a")
        assert entry is not None
        for handle in (store, other, store):
            assert await handle.resolve(op) == Resolution(applied=True, revision=entry.revision)
        assert await store.heads() == {"s": 1}

    async def test_what_did_not_land_resolves_to_never(
        self, store: CoordStore, other: CoordStore, lose_replies: LoseReplies
    ) -> None:
        with lose_replies(store, False):
            op = await self._lost(store)
        for handle in (other, store, other):
            fate = await handle.resolve(op)
            assert (fate.applied, fate.revision, bool(fate)) == (False, None, False)

    async def test_once_resolved_to_never_a_stalled_transaction_cannot_land(
        self, store: CoordStore, other: CoordStore, lose_replies: LoseReplies
    ) -> None:
        with lose_replies(store, False) as sent:
            op = await self._lost(store)
        assert not await other.resolve(op)
        stalled: Any = store
        with pytest.raises(CoordError):
            await stalled.do_transact(sent[0])
        assert (await store.get("a"), await store.heads()) == (None, {})
        assert not await store.resolve(op)

    async def test_a_stalled_transaction_that_lands_first_resolves_to_applied(
        self, store: CoordStore, lose_replies: LoseReplies
    ) -> None:
        with lose_replies(store, False) as sent:
            op = await self._lost(store)
        stalled: Any = store
        landed = await stalled.do_transact(sent[0])
        assert await store.resolve(op) == Resolution(applied=True, revision=landed.revision)

    async def test_later_transactions_do_not_change_the_answer(
        self, store: CoordStore, lose_replies: LoseReplies
    ) -> None:
        with lose_replies(store, True):
            landed = await self._lost(store)
        with lose_replies(store, False):
            never = await self._lost(store)
        for number in range(5):
            await store.transact([Put(f"b/{number}", b"")], resolvable=True)
        assert await store.resolve(landed)
        assert not await store.resolve(never)

    async def test_many_that_ask_at_once_get_one_answer(
        self, store: CoordStore, other: CoordStore, lose_replies: LoseReplies
    ) -> None:
        for landing in (True, False):
            with lose_replies(store, landing):
                op = await self._lost(store)
            answers = await together(*((store, other)[n % 2].resolve(op) for n in range(8)))
            assert all(answer == answers[0] for answer in answers)
            assert bool(answers[0]) is landing

    async def test_an_op_is_text_that_survives_pickling_with_its_error(
        self, store: CoordStore, lose_replies: LoseReplies
    ) -> None:
        with lose_replies(store, True), pytest.raises(OutcomeUnknown) as caught:
            await store.transact([Put("a", b"1")], resolvable=True)
        again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301  (our own)
        assert (again.op, str(again)) == (caught.value.op, str(caught.value))
        assert isinstance(again.op, str)
        assert await store.resolve(again.op)

    async def test_an_unknown_outcome_that_was_not_resolvable_has_no_op(
        self, store: CoordStore, lose_replies: LoseReplies
    ) -> None:
        with lose_replies(store, True), pytest.raises(OutcomeUnknown) as caught:
            await store.put("a", b"1")
        assert caught.value.op is None
        assert keys_of(await store.list()) == ["a"], "nothing was retried, and it did land"

    @pytest.mark.parametrize("op", ["", "nonsense", "[]", "5", "null", "{}", '["a"]', '["a","b","c"]', None, 5, b"x"])
    async def test_what_is_no_op_is_refused_and_nothing_written(self, store: CoordStore, op: Any) -> None:  # noqa: ANN401  (wrong on purpose)
        before = await store.list()
        with pytest.raises(InvalidArgument):
            await store.resolve(op)
        assert await store.list() == before

    async def test_concurrent_resolvable_transactions_do_not_disturb_each_other(
        self, store: CoordStore, other: CoordStore
    ) -> None:
        results = await together(
            *((store, other)[n % 2].transact([Put(f"a/{n}", b"")], resolvable=True) for n in range(20))
        )
        assert all(isinstance(result, int) for result in results)
        assert len((await store.list("a")).entries) == 20
