"""Conformance, limits: the same everywhere, exact to the byte, refused before anything is done."""
# ruff: noqa: D102  (the names of the tests are their sentences)

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from coordstore import names
from coordstore.errors import InvalidArgument, InvalidKey, TooLarge
from coordstore.model import Append, Check, Delete, Put
from coordstore.testing.suite.topic import Topic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from coordstore.store import CoordStore

__all__ = ["LimitTests"]

LONG_SEGMENT = "s" * 64
LONG_KEY = "/".join([LONG_SEGMENT] * 7 + ["k" * 57])
assert len(LONG_KEY) == names.KEY_MAX


class LimitTests(Topic):
    """Sizes, counts and ranges of arguments."""

    @pytest_asyncio.fixture
    async def refusing(self, store: CoordStore) -> AsyncIterator[CoordStore]:
        """Return a store with something in it, and see afterwards that nothing of it changed."""
        await store.transact([Put("a", b"1")], appends=[Append("s", b"1")])
        before = await store.list(), await store.heads()
        yield store
        assert (await store.list(), await store.heads()) == before

    # --- sizes ------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("size", [names.VALUE_MAX - 1, names.VALUE_MAX])
    async def test_a_value_up_to_the_limit_is_kept(self, store: CoordStore, size: int) -> None:
        value = b"\xff" * size
        await store.put("a", value)
        entry = await store.get("a")
        assert entry is not None
        assert entry.value == value

    async def test_a_value_over_the_limit_is_too_large(self, refusing: CoordStore) -> None:
        with pytest.raises(TooLarge):
            await refusing.put("a", b"v" * (names.VALUE_MAX + 1))

    @pytest.mark.parametrize("size", [names.RECORD_MAX - 1, names.RECORD_MAX])
    async def test_a_record_up_to_the_limit_is_kept(self, store: CoordStore, size: int) -> None:
        await store.append("s", [b"\xff" * size])
        assert (await store.read("s"))[0].data == b"\xff" * size

    async def test_a_record_over_the_limit_is_too_large(self, refusing: CoordStore) -> None:
        with pytest.raises(TooLarge):
            await refusing.append("s", [b"1", b"r" * (names.RECORD_MAX + 1)])

    @pytest.mark.parametrize("over", [-1, 0])
    async def test_a_transaction_up_to_the_limit_of_bytes_is_applied(self, store: CoordStore, over: int) -> None:
        await store.transact(*self._bytes(names.TRANSACTION_BYTES_MAX + over))
        assert len((await store.list()).entries) == 3

    async def test_a_transaction_over_the_limit_of_bytes_is_too_large(self, refusing: CoordStore) -> None:
        with pytest.raises(TooLarge):
            await refusing.transact(*self._bytes(names.TRANSACTION_BYTES_MAX + 1))

    @staticmethod
    def _bytes(size: int) -> tuple[list[Put | Delete], list[Check], list[Append]]:
        """Return writes, checks and appends of so many bytes, all names included."""
        half = (size - 6 - names.RECORD_MAX) // 2
        rest = size - 6 - names.RECORD_MAX - 2 * half
        writes: list[Put | Delete] = [Put("x", b"v" * half), Put("y", b"v" * half), Put("z", b"v" * rest), Delete("d")]
        return writes, [Check("c", revision=0)], [Append("s", b"r" * names.RECORD_MAX)]

    # --- counts -----------------------------------------------------------------------------------------

    @pytest.mark.parametrize("count", [names.TRANSACTION_WRITES_MAX - 1, names.TRANSACTION_WRITES_MAX])
    async def test_writes_and_appends_up_to_the_limit_together_are_applied(self, store: CoordStore, count: int) -> None:
        revision = await store.transact(
            [Put(f"a/{n}", b"") for n in range(count // 2)], appends=[Append("s", b"")] * (count - count // 2)
        )
        assert {entry.revision for entry in (await store.list()).entries} == {revision}
        assert await store.heads() == {"s": count - count // 2}
        await store.transact([Put(f"b/{n}", b"") for n in range(count)])
        await store.transact([Delete(f"b/{n}") for n in range(count)])
        assert len((await store.list()).entries) == count // 2

    @pytest.mark.parametrize("puts", [0, 1, 64, 65])
    async def test_one_write_or_append_more_is_too_large(self, refusing: CoordStore, puts: int) -> None:
        with pytest.raises(TooLarge):
            await refusing.transact([Put(f"a/{n}", b"") for n in range(puts)], appends=[Append("s", b"")] * (65 - puts))

    @pytest.mark.parametrize("count", [names.TRANSACTION_CHECKS_MAX - 1, names.TRANSACTION_CHECKS_MAX])
    async def test_checks_up_to_the_limit_are_compared(self, store: CoordStore, count: int) -> None:
        token = await store.create("lock", b"")
        checks = [Check(f"absent/{n}", revision=0) for n in range(count)]
        assert await store.transact([Put("a", b"")], checks=checks, fence=("lock", token))

    async def test_one_check_more_is_too_large(self, refusing: CoordStore) -> None:
        with pytest.raises(TooLarge):
            await refusing.transact([Put("b", b"")], checks=[Check(f"absent/{n}", revision=0) for n in range(65)])

    async def test_the_largest_transaction_of_all_limits_is_applied(self, store: CoordStore) -> None:
        long = [f"{LONG_KEY[:-2]}{n:02}" for n in range(64)]
        each = names.TRANSACTION_BYTES_MAX // 64 - 2 * names.KEY_MAX
        writes = [Put(key, b"v" * each) for key in long]
        revision = await store.transact(writes, checks=[Check(key, revision=0) for key in long])
        assert [entry.revision for entry in (await store.list()).entries] == [revision] * 64

    async def test_each_key_stands_once_among_the_writes_and_once_among_the_checks(self, refusing: CoordStore) -> None:
        for writes, checks in (
            ([Put("b", b"1"), Put("b", b"2")], []),
            ([Put("b", b"1"), Delete("b")], []),
            ([Put("b", b"")], [Check("a", revision=0), Check("a", create_revision=1)]),
        ):
            with pytest.raises(InvalidArgument):
                await refusing.transact(writes, checks=checks)  # type: ignore[arg-type]  # a mixed literal

    # --- names ------------------------------------------------------------------------------------------

    async def test_a_key_and_a_stream_of_the_full_length_are_kept(self, store: CoordStore) -> None:
        for name in (LONG_KEY[:-1], LONG_KEY, LONG_SEGMENT, "a/" * 255 + "aa"):
            await store.transact([Put(name, b"1")], appends=[Append(name, b"1")])
            assert (await store.list(name)).entries[0] == await store.get(name)
            assert (await store.heads(name))[name] == 1

    @pytest.mark.parametrize("name", [LONG_KEY + "k", LONG_SEGMENT + "s", "a/" + LONG_SEGMENT + "s/b"])
    async def test_a_key_or_stream_one_byte_longer_is_refused(self, refusing: CoordStore, name: str) -> None:
        with pytest.raises(InvalidKey):
            await refusing.put(name, b"")
        with pytest.raises(InvalidKey):
            await refusing.append(name, [b""])

    # --- numbers ----------------------------------------------------------------------------------------

    @pytest.mark.parametrize("ttl", [names.TTL_MIN, names.TTL_MAX])
    async def test_a_ttl_at_a_limit_is_granted(self, store: CoordStore, ttl: int) -> None:
        lease = await store.grant(ttl)
        assert [told.ttl for told in await store.leases()] == [lease.ttl] == [ttl]

    @pytest.mark.parametrize("ttl", [1, 0, -5, names.TTL_MAX + 1, 2.5, 10.0, "10", None, True])
    async def test_any_other_ttl_is_refused(self, refusing: CoordStore, ttl: Any) -> None:  # noqa: ANN401  (wrong on purpose)
        with pytest.raises(InvalidArgument):
            await refusing.grant(ttl)
        assert await refusing.leases() == []

    @pytest.mark.parametrize("number", [-1, 1.5, "1", True])
    async def test_positions_are_whole_numbers_from_0(self, refusing: CoordStore, number: Any) -> None:  # noqa: ANN401  (likewise)
        for work in (
            lambda: refusing.read("s", after=number),
            lambda: refusing.trim("s", number),
            lambda: refusing.compact(number),
            lambda: refusing.put("a", b"", expect=number),
            lambda: anext(refusing.watch(since=number)),
            lambda: anext(refusing.follow(after={"s": number})),
        ):
            with pytest.raises(InvalidArgument):
                await work()

    @pytest.mark.parametrize("limit", [0, -1, names.LIST_MAX + 1, 1.5, "1", True])
    async def test_a_limit_is_a_whole_number_from_1(self, refusing: CoordStore, limit: Any) -> None:  # noqa: ANN401  (likewise)
        with pytest.raises(InvalidArgument):
            await refusing.list(limit=limit)
        with pytest.raises(InvalidArgument):
            await refusing.read("s", limit=limit)

    @pytest.mark.parametrize("value", ["text", None, 1, ["bytes"], [1, 2]])
    async def test_a_value_or_record_that_is_not_bytes_is_refused(self, refusing: CoordStore, value: Any) -> None:  # noqa: ANN401  (likewise)
        with pytest.raises(InvalidArgument):
            await refusing.put("a", value)
        with pytest.raises(InvalidArgument):
            await refusing.append("s", [value])

    @pytest.mark.parametrize("lease", [0, -1, "1", 1.5, True, object()])
    async def test_a_lease_that_is_none_is_refused(self, refusing: CoordStore, lease: Any) -> None:  # noqa: ANN401  (likewise)
        with pytest.raises(InvalidArgument):
            await refusing.put("a", b"", lease=lease)

    async def test_a_check_needs_a_condition(self, refusing: CoordStore) -> None:
        with pytest.raises(InvalidArgument):
            await refusing.transact([Put("b", b"")], checks=[Check("a")])

    async def test_a_string_of_bytes_is_no_sequence_of_records(self, refusing: CoordStore) -> None:
        with pytest.raises(InvalidArgument):
            await refusing.append("s", b"one record")  # type: ignore[arg-type]  # wrong on purpose
