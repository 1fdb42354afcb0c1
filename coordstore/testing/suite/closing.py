"""Conformance, closing: a closed handle says so, hangs nobody, and leaves the store to the others."""
# ruff: noqa: D102  (the names of the tests are their sentences)

from __future__ import annotations

import asyncio
import os
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from coordstore.errors import CoordError, ForkRefused, StoreClosed, Unavailable
from coordstore.model import Append, Put
from coordstore.testing.suite.topic import OpenStore, Topic, keys_of, together

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from coordstore.store import CoordStore

__all__ = ["ClosingTests"]


def _operations(store: CoordStore) -> dict[str, Callable[[], Awaitable[object]]]:
    return {
        "info": store.info,
        "get": lambda: store.get("a"),
        "list": store.list,
        "transact": lambda: store.transact([Put("a", b"2")], appends=[Append("s", b"2")]),
        "transact nothing": store.transact,
        "transact resolvable": lambda: store.transact([Put("a", b"2")], resolvable=True),
        "put": lambda: store.put("a", b"2"),
        "create": lambda: store.create("b", b""),
        "delete": lambda: store.delete("a"),
        "delete_prefix": lambda: store.delete_prefix("a"),
        "watch": lambda: anext(store.watch()),
        "append": lambda: store.append("s", [b"2"]),
        "read": lambda: store.read("s"),
        "follow": lambda: anext(store.follow()),
        "heads": store.heads,
        "trim": lambda: store.trim("s", 1),
        "drop": lambda: store.drop("s"),
        "grant": lambda: store.grant(60),
        "leases": store.leases,
        "resolve": lambda: store.resolve('["@ops/0/1", "mark", 1]'),
        "compact": store.compact,
    }


class ClosingTests(Topic):
    """Closed and forked handles."""

    async def test_every_operation_on_a_closed_handle_is_store_closed(
        self, store: CoordStore, open_store: OpenStore
    ) -> None:
        await store.transact([Put("a", b"1")], appends=[Append("s", b"1")])
        async with open_store() as closed:
            lease = await closed.grant(60)
        before = await store.list(), await store.heads(), [told.id for told in await store.leases()]
        for name, operation in {**_operations(closed), "renew": lease.renew, "revoke": lease.revoke}.items():
            with pytest.raises(StoreClosed) as caught:
                await self.soon(operation())
            assert isinstance(caught.value, Unavailable), name
        assert (await store.list(), await store.heads(), [told.id for told in await store.leases()]) == before

    async def test_closing_again_does_nothing(self, open_store: OpenStore) -> None:
        async with open_store() as store:
            await store.aclose()
            await store.aclose()

    async def test_closing_at_once_from_many_sides_closes(self, open_store: OpenStore) -> None:
        async with open_store() as store:
            await store.transact([Put("a", b"1")], resolvable=True)
            await self.soon(asyncio.gather(*(store.aclose() for _ in range(5))))
            with pytest.raises(StoreClosed):
                await store.get("a")

    @pytest.mark.parametrize("turns", range(6))
    async def test_a_cancelled_close_closes_all_the_same(self, open_store: OpenStore, turns: int) -> None:
        async with open_store() as store:
            await store.transact([Put("a", b"1")], resolvable=True)
            closing = asyncio.ensure_future(store.aclose())
            for _ in range(turns + 1):
                await asyncio.sleep(0)
            closing.cancel()
            await self.soon(asyncio.wait([closing]))
            with pytest.raises(StoreClosed):
                await store.get("a")

    async def test_closing_one_handle_leaves_the_others_and_the_data(
        self, store: CoordStore, open_store: OpenStore
    ) -> None:
        async with self.feed(store.watch()) as feed:
            await feed.next()
            async with open_store() as other:
                await other.put("a", b"1")
            assert (await feed.next()).changes[0].key == "a"
            await self.soon(store.put("b", b"2"))
            assert (await feed.next()).changes[0].key == "b"
        assert keys_of(await store.list()) == ["a", "b"]

    async def test_what_is_under_way_at_a_close_ends_with_a_result_or_an_error(
        self, store: CoordStore, open_store: OpenStore
    ) -> None:
        async with open_store() as closing:
            work = asyncio.gather(
                together(*(closing.put(f"a/{n:02}", b"") for n in range(30))),
                together(*(closing.append("s", [b"%d" % n]) for n in range(30))),
            )
            await asyncio.sleep(0)
            await self.soon(closing.aclose())
            puts, appends = await self.soon(work)
        acknowledged = {f"a/{n:02}" for n, result in enumerate(puts) if not isinstance(result, CoordError)}
        assert acknowledged <= set(keys_of(await store.list("a")))
        sequences = [result for result in appends if not isinstance(result, CoordError)]
        assert set(sequences) <= {record.sequence for record in await store.read("s")}

    async def test_statistics_and_repr_of_a_closed_handle_still_tell(self, open_store: OpenStore) -> None:
        async with open_store() as store:
            await store.put("a", b"1")
        assert store.statistics()
        assert "closed" in repr(store)

    async def test_a_handle_carried_into_a_forked_child_refuses_there_and_works_on_here(
        self, store: CoordStore
    ) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of forks beside threads
            child = os.fork()
        if child == 0:
            os._exit(0 if _refuses(store) else 1)
        _, status = await asyncio.to_thread(os.waitpid, child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        await self.soon(store.put("a", b"1"))


def _refuses(store: CoordStore) -> bool:
    """Tell whether the handle refuses a read and a write, without running an event loop."""
    for work in (store.get("a"), store.put("a", b"from the child")):
        coroutine: Any = work
        try:
            coroutine.send(None)
        except ForkRefused:
            continue
        except BaseException:  # noqa: BLE001  (in the child only the verdict counts)
            return False
        return False
    return True
