"""Conformance, identity: what `info` says, and what a store that keeps its data gives back when it is opened again."""
# ruff: noqa: D102  (the names of the tests are their sentences)

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import pytest

from coordstore.errors import Conflict, CoordError, Fenced, InvalidKey, LeaseLost, StoreClosed, TooLarge, Trimmed
from coordstore.model import Append, Put
from coordstore.testing.suite.topic import OpenStore, Topic, put_all

if TYPE_CHECKING:
    from coordstore.store import CoordStore

__all__ = ["IdentityTests"]

ABILITIES = {"persistent", "processes", "hosts"}


class IdentityTests(Topic):
    """Identity, declared abilities, statistics and errors."""

    async def test_info_tells_identity_and_promises_as_data(self, store: CoordStore) -> None:
        info = await store.info()
        assert isinstance(info.store_id, str)
        assert len(info.store_id) >= 16
        assert info.url.startswith(info.scheme + ":")
        assert info.durability in {"full", "process", "none"}
        assert info.abilities <= ABILITIES
        assert info.format >= 1
        assert 0 <= info.floor <= info.revision

    async def test_all_handles_on_one_store_tell_the_same(self, store: CoordStore, other: CoordStore) -> None:
        await store.put("a", b"")
        mine, theirs = await store.info(), await other.info()
        assert (mine.store_id, mine.revision, mine.floor) == (theirs.store_id, theirs.revision, theirs.floor)

    async def test_the_revision_in_info_is_the_stores(self, store: CoordStore, other: CoordStore) -> None:
        for number in range(3):
            revision = await store.put("a", b"%d" % number)
            assert (await other.info()).revision == (await store.info()).revision == revision

    async def test_compaction_raises_the_floor_in_info(self, store: CoordStore) -> None:
        await put_all(store, "a", "b")
        floor = await store.compact()
        assert (await store.info()).floor == floor > 0

    # --- open again -------------------------------------------------------------------------------------

    async def test_a_persistent_store_gives_everything_back_when_opened_again(self, open_store: OpenStore) -> None:
        async with open_store() as store:
            if "persistent" not in (await store.info()).abilities:
                pytest.skip("declared: this backend has not the ability `persistent`")
            await put_all(store, *(f"a/{n}" for n in range(70)))
            await store.put("a/1", b"\0new")
            await store.delete("a/2")
            await store.append("s", [b"1", b"2", b"3"])
            await store.trim("s", 3)
            await store.append("t", [b"\xff", b""])
            lease = await store.grant(3600)
            await store.put("leased", b"", lease=lease)
            before = await store.list(), await store.heads(), await store.read("t"), await store.info()
            ids = [told.id for told in await store.leases()]
        async with open_store() as store:
            assert (await store.list(), await store.heads(), await store.read("t"), await store.info()) == before
            assert [told.id for told in await store.leases()] == ids
            assert await store.append("s", [b"4"]) == 4
            assert await store.put("b", b"") > before[0].revision

    async def test_a_watch_and_a_follow_go_on_over_a_restart(self, open_store: OpenStore) -> None:
        async with open_store() as store:
            if "persistent" not in (await store.info()).abilities:
                pytest.skip("declared: this backend has not the ability `persistent`")
            since = await store.put("a", b"1")
            revision = await store.transact([Put("a", b"2")], appends=[Append("s", b"1"), Append("s", b"2")])
        async with (
            open_store() as store,
            self.feed(store.watch("a", since=since)) as feed,
            self.feed(store.follow(after={"s": 1})) as records,
        ):
            assert (await feed.next()).revision == revision
            assert (await records.next()).sequence == 2
            later = await store.transact([Put("a", b"3")], appends=[Append("s", b"3")])
            assert (await feed.next()).revision == (await records.next()).revision == later

    async def test_a_token_is_never_given_again_over_a_restart(self, open_store: OpenStore) -> None:
        async with open_store() as store:
            if "persistent" not in (await store.info()).abilities:
                pytest.skip("declared: this backend has not the ability `persistent`")
            token = await store.create("lock", b"")
            await store.delete("lock")
            await store.compact()
        async with open_store() as store:
            assert await store.create("lock", b"") > token
            with pytest.raises(Fenced):
                await store.put("a", b"", fence=("lock", token))

    # --- statistics and errors --------------------------------------------------------------------------

    async def test_statistics_are_numbers_that_grow(self, store: CoordStore) -> None:
        before = store.statistics()
        await put_all(store, "a", "b")
        after = store.statistics()
        assert all(isinstance(number, int | float) for number in after.values())
        assert any(after[name] > before.get(name, 0) for name in after)
        after.clear()
        assert store.statistics(), "the caller got the counters themselves"

    async def test_a_handle_shows_itself_in_one_line(self, store: CoordStore) -> None:
        lease = await store.grant(3600)
        for shown in (repr(store), repr(lease)):
            assert shown
            assert "\n" not in shown

    async def test_errors_say_what_and_where_and_keep_it_over_pickling(self, store: CoordStore) -> None:
        token = await store.create("lock", b"")
        await store.append("s", [b"1", b"2"])
        await store.trim("s", 1)
        lease = await store.grant(3600)
        await lease.revoke()
        for work, kind, where in (
            (lambda: store.create("lock", b""), Conflict, "lock"),
            (lambda: store.put("a", b"", fence=("lock", token + 1)), Fenced, "lock"),
            (lambda: store.put("a", b"", lease=lease), LeaseLost, str(lease.id)),
            (lambda: store.read("s"), Trimmed, "s"),
            (lambda: store.get("No Key"), InvalidKey, "No Key"),
            (lambda: store.put("a", b"v" * 2**21), TooLarge, "2097152"),
        ):
            with pytest.raises(kind) as caught:
                await work()
            assert where in str(caught.value)
            again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301  (our own)
            assert (type(again), str(again), vars(again)) == (kind, str(caught.value), vars(caught.value))

    async def test_errors_are_also_the_built_in_they_are(self, store: CoordStore) -> None:
        kinds: list[tuple[type[CoordError], type[Exception]]] = [
            (Fenced, PermissionError),
            (LeaseLost, TimeoutError),
            (Trimmed, LookupError),
            (InvalidKey, ValueError),
            (TooLarge, ValueError),
            (StoreClosed, ConnectionError),
        ]
        assert all(issubclass(kind, built_in) for kind, built_in in kinds)
        with pytest.raises(ValueError, match="NO"):
            await store.get("NO")
