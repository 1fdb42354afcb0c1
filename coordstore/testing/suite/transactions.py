"""Conformance, transactions: all or nothing, checks, and the revision as the order of everything."""
# ruff: noqa: D102  (the names of the tests are their sentences)

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from coordstore.errors import Conflict, Fenced
from coordstore.model import Append, Check, Delete, Put
from coordstore.testing.suite.topic import Topic, keys_of, put_all, together

if TYPE_CHECKING:
    from coordstore.store import CoordStore

__all__ = ["TransactionTests"]


async def _increment(store: CoordStore, key: str, tries: int = 1000) -> int:
    """Add one to a counter by compare-and-set; return the revision of it."""
    for _ in range(tries):
        entry = await store.get(key)
        value, revision = (int(entry.value), entry.revision) if entry else (0, 0)
        try:
            return await store.put(key, b"%d" % (value + 1), expect=revision)
        except Conflict:
            continue
    msg = f"{tries} conflicts in a row: somebody should have won"
    raise AssertionError(msg)


class TransactionTests(Topic):
    """The one write primitive."""

    async def test_all_of_a_transaction_happens_at_one_revision(self, store: CoordStore) -> None:
        await put_all(store, "gone")
        revision = await store.transact(
            [Put("a", b"1"), Delete("gone"), Put("b", b"2")], appends=[Append("s", b"x"), Append("t", b"y")]
        )
        listing = await store.list()
        assert [(e.key, e.revision, e.create_revision) for e in listing.entries] == [
            ("a", revision, revision),
            ("b", revision, revision),
        ]
        assert [r.revision for s in "st" for r in await store.read(s)] == [revision, revision]
        assert listing.revision == revision

    async def test_a_failed_check_leaves_nothing_of_a_transaction(self, store: CoordStore) -> None:
        await put_all(store, "here", "kept")
        before, heads = await store.list(), await store.heads()
        with pytest.raises(Conflict):
            await store.transact(
                [Put("a", b"1"), Delete("kept"), Put("here", b"new")],
                checks=[Check("here", revision=before.revision), Check("absent", revision=before.revision)],
                appends=[Append("s", b"x")],
            )
        assert (await store.list(), await store.heads()) == (before, heads)

    async def test_checks_compare_revision_create_revision_or_both(self, store: CoordStore) -> None:
        created, revision = await store.put("a", b"1"), await store.put("a", b"2")
        for check in (
            Check("a", revision=revision),
            Check("a", create_revision=created),
            Check("a", revision=revision, create_revision=created),
        ):
            assert await store.transact([Put("done", b"")], checks=[check])
        for check in (
            Check("a", revision=created),
            Check("a", create_revision=revision),
            Check("a", revision=revision, create_revision=revision),
            Check("a", revision=created, create_revision=created),
        ):
            with pytest.raises(Conflict):
                await store.transact([Put("done", b"")], checks=[check])

    async def test_0_in_a_check_means_absent(self, store: CoordStore) -> None:
        await store.put("a", b"1")
        await store.transact([Put("b", b"")], checks=[Check("x", revision=0), Check("y", create_revision=0)])
        for check in (Check("a", revision=0), Check("a", create_revision=0)):
            with pytest.raises(Conflict):
                await store.transact([Put("c", b"")], checks=[check])

    async def test_a_conflict_tells_what_was_seen_of_every_check_that_failed(self, store: CoordStore) -> None:
        revision = await store.put("a", b"1")
        good = await store.put("good", b"1")
        with pytest.raises(Conflict) as caught:
            await store.transact(
                [Put("b", b"")],
                checks=[Check("a", revision=0), Check("good", revision=good), Check("x", create_revision=7)],
            )
        assert caught.value.revisions == {"a": revision, "x": 0}

    async def test_checks_see_the_keys_before_the_transaction(self, store: CoordStore) -> None:
        revision = await store.transact([Put("a", b"1")], checks=[Check("a", revision=0)])
        await store.transact([Delete("a")], checks=[Check("a", revision=revision)])
        assert await store.get("a") is None

    async def test_the_fence_is_compared_before_the_checks(self, store: CoordStore) -> None:
        await store.put("a", b"1")
        with pytest.raises(Fenced):
            await store.transact([Put("b", b"")], checks=[Check("a", revision=0)], fence=("holder", 1))

    async def test_revisions_strictly_increase_whatever_is_changed(self, store: CoordStore, other: CoordStore) -> None:
        seen = [await store.put("a", b"1"), await other.put("a", b"1"), await store.create("b/c", b"")]
        seen.append(await other.transact([Delete("a")]))
        await store.append("s", [b"1"])
        seen.append((await store.read("s"))[0].revision)
        await other.delete_prefix("b")
        seen.append((await store.list()).revision)
        seen.append(await store.transact(appends=[Append("s", b"2")]))
        assert seen == sorted(set(seen))

    async def test_concurrent_transactions_take_revisions_of_their_own(
        self, store: CoordStore, other: CoordStore
    ) -> None:
        revisions = await together(*((store, other)[n % 2].put(f"a/{n}", b"") for n in range(60)))
        assert len(set(map(str, revisions))) == 60
        entries = (await store.list("a")).entries
        assert {e.revision for e in entries} == set(revisions)

    @pytest.mark.parametrize("writes", [[], [Delete("absent")], [Delete("absent"), Delete("absent/too")]])
    async def test_a_transaction_that_changes_nothing_takes_no_revision(
        self, store: CoordStore, writes: list[Delete]
    ) -> None:
        revision = await store.put("a", b"1")
        assert await store.transact(writes) == revision
        assert (await store.list()).revision == revision

    async def test_a_transaction_of_checks_only_compares_and_takes_no_revision(self, store: CoordStore) -> None:
        revision = await store.put("a", b"1")
        assert await store.transact(checks=[Check("a", revision=revision)]) == revision
        with pytest.raises(Conflict):
            await store.transact(checks=[Check("a", revision=0)])

    async def test_a_put_and_a_delete_of_an_absent_key_take_one_revision(self, store: CoordStore) -> None:
        revision = await store.transact([Put("a", b""), Delete("absent")])
        assert (await store.list()).revision == revision

    async def test_records_take_their_sequences_in_the_order_of_the_appends(self, store: CoordStore) -> None:
        await store.append("s", [b"1"])
        await store.transact(appends=[Append("s", b"2"), Append("t", b"1"), Append("s", b"3")])
        assert [(r.sequence, r.data) for r in await store.read("s")] == [(1, b"1"), (2, b"2"), (3, b"3")]
        assert [(r.sequence, r.data) for r in await store.read("t")] == [(1, b"1")]

    async def test_keys_and_streams_are_separate_name_spaces(self, store: CoordStore) -> None:
        await store.transact([Put("a", b"key")], appends=[Append("a", b"record")])
        await store.delete("a")
        assert await store.heads() == {"a": 1}
        await store.put("a", b"key")
        await store.drop("a")
        assert keys_of(await store.list()) == ["a"]

    # --- races ------------------------------------------------------------------------------------------

    async def test_no_increment_by_compare_and_set_is_lost(self, store: CoordStore, other: CoordStore) -> None:
        async def work(handle: CoordStore) -> list[int]:
            return [await _increment(handle, "counter") for _ in range(5)]

        results = await together(*(work((store, other)[n % 2]) for n in range(6)))
        revisions = [revision for result in results if isinstance(result, list) for revision in result]
        entry = await store.get("counter")
        assert entry is not None
        assert (int(entry.value), len(set(revisions))) == (30, 30)
        assert entry.revision == max(revisions)

    async def test_of_two_that_each_check_what_the_other_writes_one_conflicts(
        self, store: CoordStore, other: CoordStore
    ) -> None:
        for turn in range(10):
            left, right = f"{turn}/left", f"{turn}/right"
            results = await together(
                store.transact([Put(left, b"")], checks=[Check(right, revision=0)]),
                other.transact([Put(right, b"")], checks=[Check(left, revision=0)]),
            )
            assert sum(isinstance(result, Conflict) for result in results) == 1

    async def test_concurrent_transfers_keep_the_sum(self, store: CoordStore, other: CoordStore) -> None:
        accounts = [f"account/{n}" for n in range(4)]
        await store.transact([Put(key, b"100") for key in accounts])

        async def transfer(handle: CoordStore, source: str, target: str) -> int:
            taken, given = await handle.get(source), await handle.get(target)
            assert taken is not None
            assert given is not None
            return await handle.transact(
                [Put(source, b"%d" % (int(taken.value) - 7)), Put(target, b"%d" % (int(given.value) + 7))],
                checks=[Check(source, revision=taken.revision), Check(target, revision=given.revision)],
            )

        moves = [(accounts[n % 4], accounts[(n + 1 + n // 4) % 4]) for n in range(24) if (1 + n // 4) % 4]
        results = await together(*(transfer((store, other)[n % 2], *move) for n, move in enumerate(moves)))
        applied = [result for result in results if isinstance(result, int)]
        assert applied
        assert sum(int(entry.value) for entry in (await store.list("account")).entries) == 400
