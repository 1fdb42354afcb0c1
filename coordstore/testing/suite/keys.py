"""Conformance, names: the grammar of keys, prefixes and streams, against what hostile or careless callers send."""
# ruff: noqa: D102  (the names of the tests are their sentences)

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from coordstore.errors import CoordError, InvalidKey
from coordstore.model import Append, Check, Delete, Put
from coordstore.testing.suite.topic import Topic, keys_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from coordstore.store import CoordStore

__all__ = ["BAD_KEYS", "GOOD_KEYS", "NameTests"]

_TRAVERSAL = ["../x", "a/../b", "..", ".", "a/.", "a/..", "./a", "/a", "//", "a//b", "/", "a\\b", "..\\x", "~", "~r/x"]
_CONTROL = [
    "\0",
    "a\0",
    "a\0b",
    "a\n",
    "\na",
    "a\r",
    "a\tb",
    "a\x1b[2Jb",
    "a\x7f",
    "a\u0085",
    "a b",
    " a",
    "a ",
    "a\u00a0",
]
_CASE = ["a\u00a0", "A", "aB", "A/b", "a/B", "K", "\u0130"]
_UNICODE = [
    "\u0430",
    "a\u0301",
    "\u00e1",
    "a/\u00e9",
    "a/e\u0301",
    "\uff41",
    "\u2024",
    "a\u2215b",
    "\uff0f",
    "a\u200bb",
]
_SURROGATE = ["a\u200bb", "\ud800", "a\udcff", "\U0001f512", "\ufeffa", "\u202ea"]
_EDGES = ["@", "@/a", "a/@b", "@@a", "a@", "-a", "_a", ".a", "a/.git", "a/-b", "a/_b", "a/b//", "@a/@b"]
_SHELL = ["a;b", "$(a)", "`a`", "a|b", "a&b", "a*", "a?", "[a]", "{a}", "a'b", 'a"b', "%61", "a%2fb", "a:b", "a,b"]
_SQL = ["a%", "'; drop table keys; --", "a+b", "a=b", "a<b>", "a#b", "a!b", "(a)", "a^b"]
_LONG = ["a" * 65, "a/" * 256 + "a", "x" * 100_000, "/".join(["a"] * 400)]

BAD_KEYS: Final = [
    *(_TRAVERSAL + _CONTROL + _CASE + _UNICODE + _SURROGATE),
    *(_EDGES + _SHELL + _SQL + _LONG),
]
"""Text that is no key; as prefixes, neither."""
NOT_TEXT: Final[list[Any]] = [None, 1, b"a", ["a"], ("a",), 1.5, object()]
"""What is no key because it is no text."""

_DOTTED = ["a.b", "a..b", "a.", "a-", "a_", "a--b", "a.lock", "x.git", "a.b.c-d_e", "0-0", "-".join(["a"] * 32)]
_ELSEWHERE = ["con", "nul", "aux.txt", "com1", "null", "none", "index", "sqlite_master", "rowid", "tmp", "a/con/b"]
_NESTED = ["a/0", "a/b", "a/b/c/d/e/f/g/h", "agents/t1.1/status", "/".join(["s"] * 256), "e/head", "e/1"]
_LIBRARY = ["@repo/x/guard", "@a", "@0", "@pool/p/slots/1"]

GOOD_KEYS: Final = ["0", "a", "z" * 64, *_DOTTED, *_ELSEWHERE, *_NESTED, *_LIBRARY]
"""Odd names that are keys all the same, and may all stand in one store."""


def _shown(key: object) -> str:
    text = ascii(key)
    return text if len(text) <= 24 else f"{text[:20]}-{len(text)}"


class NameTests(Topic):
    """Names, allowed and refused."""

    @pytest.mark.parametrize("key", [*BAD_KEYS, "", *NOT_TEXT], ids=_shown)
    async def test_a_name_out_of_form_is_refused_wherever_it_stands(self, store: CoordStore, key: Any) -> None:  # noqa: ANN401  (wrong on purpose)
        await store.transact([Put("a", b"1")], appends=[Append("a", b"1")])
        before = await store.list(), await store.heads()
        for refused in self._operations(store, key):
            with pytest.raises(InvalidKey) as caught:
                await refused()
            assert isinstance(caught.value, ValueError)
            assert len(str(caught.value)) < 400, "the message repeats a name of any length"
            assert str(caught.value).isprintable(), "the message carries control characters"
        assert (await store.list(), await store.heads()) == before

    @pytest.mark.parametrize("prefix", [*BAD_KEYS, *NOT_TEXT], ids=_shown)
    async def test_a_prefix_out_of_form_is_refused(self, store: CoordStore, prefix: Any) -> None:  # noqa: ANN401  (wrong on purpose)
        await store.transact([Put("a", b"1")], appends=[Append("a", b"1")])
        for refused in (
            lambda: store.list(prefix),
            lambda: store.delete_prefix(prefix),
            lambda: store.heads(prefix),
            lambda: anext(store.watch(prefix)),
            lambda: anext(store.follow(prefix)),
        ):
            with pytest.raises(InvalidKey):
                await refused()
        assert keys_of(await store.list()) == ["a"]

    @staticmethod
    def _operations(store: CoordStore, key: Any) -> list[Callable[[], Awaitable[object]]]:  # noqa: ANN401  (wrong on purpose)
        operations: list[Callable[[], Awaitable[object]]] = [
            lambda: store.get(key),
            lambda: store.put(key, b""),
            lambda: store.create(key, b""),
            lambda: store.delete(key),
            lambda: store.transact([Put("b", b""), Put(key, b"")]),
            lambda: store.transact([Put("b", b""), Delete(key)]),
            lambda: store.transact([Put("b", b"")], checks=[Check(key, revision=0)]),
            lambda: store.transact([Put("b", b"")], appends=[Append(key, b"")]),
            lambda: store.put("b", b"", fence=(key, 1)),
            lambda: store.append(key, [b""]),
            lambda: store.read(key),
            lambda: store.trim(key, 1),
            lambda: store.drop(key),
        ]
        if key is not None:
            operations.append(lambda: store.list(after=key))
        if not isinstance(key, list):  # a list cannot even be the key of a cursor
            operations.append(lambda: anext(store.follow(after={key: 1})))
        return operations

    async def test_every_name_in_form_is_kept_apart_from_all_others(self, store: CoordStore) -> None:
        for at in range(0, len(GOOD_KEYS), 30):
            some = GOOD_KEYS[at : at + 30]
            await store.transact([Put(k, k.encode()) for k in some], appends=[Append(k, k.encode()) for k in some])
        entries = (await store.list()).entries
        assert [(e.key, e.value) for e in entries] == [(k, k.encode()) for k in sorted(GOOD_KEYS)]
        assert await store.heads() == dict.fromkeys(GOOD_KEYS, 1)
        for key in GOOD_KEYS:
            entry = await store.get(key)
            assert entry is not None
            assert entry.value == (await store.read(key))[0].data == key.encode()

    @pytest.mark.parametrize("key", GOOD_KEYS, ids=_shown)
    async def test_a_name_in_form_works_as_key_stream_and_prefix(self, store: CoordStore, key: str) -> None:
        since = await store.put(key, b"1")
        await store.put(key, b"2")
        await store.append(key, [b"1"])
        assert keys_of(await store.list(key)) == [key]
        assert keys_of(await store.list(key + "/")) == []
        async with self.feed(store.watch(key, since=since)) as feed, self.feed(store.follow(key)) as records:
            assert [change.key for change in (await feed.next()).changes] == [key]
            assert (await records.next()).stream == key
        assert await store.delete(key) is True

    async def test_a_refused_name_is_an_error_of_this_library(self, store: CoordStore) -> None:
        with pytest.raises(CoordError, match="Bad Key"):
            await store.get("Bad Key")
