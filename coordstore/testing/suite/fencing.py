"""Conformance, fencing: the create revision is a token that only grows, and an old holder's writes are refused."""
# ruff: noqa: D102  (the names of the tests are their sentences)

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from coordstore.errors import Fenced, InvalidArgument
from coordstore.model import Append, Check, Delete, Put
from coordstore.testing.suite.topic import Advance, Topic

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from coordstore.store import CoordStore

__all__ = ["FencingTests"]


async def _state(store: CoordStore) -> object:
    return await store.list(), await store.heads()


class FencingTests(Topic):
    """Fences on transactions."""

    async def test_a_holders_writes_pass_its_fence(self, store: CoordStore) -> None:
        token = await store.create("lock", b"me")
        revision = await store.put("a", b"1", fence=("lock", token))
        assert await store.transact([Put("b", b"")], fence=Check("lock", create_revision=token)) > revision
        assert await store.append("s", [b"1"], fence=("lock", token)) == 1
        assert await store.delete("a", fence=("lock", token)) is True

    async def test_a_put_on_the_holder_key_keeps_its_token(self, store: CoordStore) -> None:
        token = await store.create("lock", b"me")
        await store.put("lock", b"still me", fence=("lock", token))
        await store.put("a", b"1", fence=("lock", token))
        entry = await store.get("lock")
        assert entry is not None
        assert entry.create_revision == token < entry.revision

    async def test_a_former_holders_writes_are_fenced_and_not_applied(
        self, store: CoordStore, other: CoordStore
    ) -> None:
        token = await store.create("lock", b"me")
        await store.put("a", b"mine")
        await store.delete("lock")
        current = await other.create("lock", b"you")
        before = await _state(store)
        writes: list[Callable[[], Awaitable[object]]] = [
            lambda: store.put("a", b"zombie", fence=("lock", token)),
            lambda: store.delete("a", fence=("lock", token)),
            lambda: store.append("s", [b"zombie"], fence=("lock", token)),
            lambda: store.transact([Put("b", b""), Delete("a")], appends=[Append("s", b"")], fence=("lock", token)),
        ]
        for write in writes:
            with pytest.raises(Fenced) as caught:
                await write()
            assert (caught.value.key, caught.value.token, caught.value.current) == ("lock", token, current)
        assert await _state(store) == before

    async def test_a_write_under_a_key_that_nobody_holds_is_fenced(self, store: CoordStore) -> None:
        token = await store.create("lock", b"me")
        await store.delete("lock")
        with pytest.raises(Fenced) as caught:
            await store.put("a", b"zombie", fence=("lock", token))
        assert caught.value.current == 0
        assert await store.get("a") is None

    async def test_an_expired_holder_is_fenced_whether_or_not_there_is_a_successor(
        self, store: CoordStore, other: CoordStore, advance: Advance
    ) -> None:
        lease = await store.grant(2)
        first, second = (
            await store.create("lock/1", b"", lease=lease),
            await store.create("lock/2", b"", lease=lease),
        )
        await self.outlive(lease, advance)
        successor = await other.create("lock/1", b"")
        assert successor > second > first
        for key, token in (("lock/1", first), ("lock/2", second)):
            with pytest.raises(Fenced):
                await store.put("a", b"zombie", fence=(key, token))
        assert await other.put("a", b"", fence=("lock/1", successor))

    async def test_tokens_strictly_increase_however_the_key_came_and_went(
        self, store: CoordStore, other: CoordStore
    ) -> None:
        tokens = []
        for turn in range(9):
            handle = (store, other)[turn % 2]
            lease = await handle.grant(3600)
            tokens.append(await handle.create("lock", b"", lease=lease))
            if turn % 3 == 0:
                await lease.revoke()
            elif turn % 3 == 1:
                await store.delete("lock")
            else:
                await other.delete_prefix("lock")
                await store.compact()
        assert tokens == sorted(set(tokens))

    async def test_a_fence_needs_a_token(self, store: CoordStore) -> None:
        for fence in (("lock", 0), Check("lock", revision=1), Check("lock", create_revision=0)):
            with pytest.raises(InvalidArgument):
                await store.put("a", b"", fence=fence)

    async def test_a_fence_may_name_a_key_that_the_transaction_writes(self, store: CoordStore) -> None:
        token = await store.create("lock", b"me")
        assert await store.delete("lock", fence=("lock", token)) is True
        with pytest.raises(Fenced):
            await store.put("lock", b"zombie", fence=("lock", token))
