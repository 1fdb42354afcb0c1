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

BAD_KEYS: Final[dict[str, list[str]]] = {
    "traversal": [
        "../x",
        "a/../b",
        "..",
        ".",
        "a/.",
        "a/..",
        "./a",
        "/a",
        "//",
        "a//b",
        "/",
        "a\\b",
        "..\\x",
        "~",
        "~r/x",
    ],
    "control": ["\0", "a\0", "a\0b", "a\n", "\na", "a\r", "a\tb", "a\x1b[2Jb", "a\x7f", "a\u0085"],
    "space": ["a b", " a", "a ", "a\u00a0", "a\u200bb", "\ufeffa"],
    "case": ["A", "aB", "A/b", "a/B", "K", "\u0130"],
    "lookalikes": ["\u0430", "\uff41", "\u2024", "a\u2215b", "\uff0f", "\U0001f512"],
    "composed": ["\u00e1", "a\u0301", "a/\u00e9", "a/e\u0301"],
    "unencodable": ["\ud800", "a\udcff", "\u202ea"],
    "edges": ["@", "@/a", "a/@b", "@@a", "a@", "-a", "_a", ".a", "a/.git", "a/-b", "a/_b", "a/b//", "@a/@b"],
    "shell": ["~", "~r/x", "a;b", "$(a)", "`a`", "a|b", "a&b", "a*", "a?", "[a]", "{a}", "a'b", 'a"b', "%61", "a%2fb"],
    "sql": ["a%", "a:b", "a,b", "'; drop table keys; --", "a+b", "a=b", "a<b>", "a#b", "a!b", "(a)", "a^b"],
    "long": ["a" * 65, "a/" * 256 + "a", "x" * 100_000, "/".join(["a"] * 400)],
}
"""Text that is no key, by family; as prefixes, neither."""
NOT_TEXT: Final[list[Any]] = [None, 1, b"a", ["a"], ("a",), 1.5, object()]
"""What is no key because it is no text."""
GOOD_KEYS: Final[dict[str, list[str]]] = {
    "short and long": ["0", "a", "z" * 64, "/".join(["s"] * 256)],
    "dotted": ["a.b", "a..b", "a.", "a-", "a_", "a--b", "a.lock", "x.git", "a.b.c-d_e", "0-0", "-".join(["a"] * 32)],
    "reserved elsewhere": ["con", "nul", "aux.txt", "com1", "null", "none", "index", "sqlite_master", "rowid", "tmp"],
    "nested": ["a/0", "a/b", "a/b/c/d/e/f/g/h", "a/con/b", "agents/t1.1/status", "e/head", "e/1"],
    "the library's": ["@repo/x/guard", "@a", "@0", "@pool/p/slots/1"],
}
"""Odd names that are keys all the same, by family; all of them may stand in one store."""


class NameTests(Topic):
    """Names, allowed and refused."""

    @pytest.mark.parametrize("keys", [*BAD_KEYS.values(), [""], NOT_TEXT], ids=[*BAD_KEYS, "empty", "not text"])
    async def test_a_name_out_of_form_is_refused_wherever_it_stands(self, store: CoordStore, keys: list[Any]) -> None:
        await store.transact([Put("a", b"1")], appends=[Append("a", b"1")])
        before = await store.list(), await store.heads()
        for refused in (operation for key in keys for operation in self._operations(store, key)):
            with pytest.raises(InvalidKey) as caught:
                await refused()
            assert isinstance(caught.value, ValueError)
            assert len(str(caught.value)) < 400, "the message repeats a name of any length"
            assert str(caught.value).isprintable(), "the message carries control characters"
        assert (await store.list(), await store.heads()) == before

    @pytest.mark.parametrize("prefixes", [*BAD_KEYS.values(), NOT_TEXT], ids=[*BAD_KEYS, "not text"])
    async def test_a_prefix_out_of_form_is_refused(self, store: CoordStore, prefixes: list[Any]) -> None:
        await store.transact([Put("a", b"1")], appends=[Append("a", b"1")])
        for refused in (operation for prefix in prefixes for operation in self._prefix_operations(store, prefix)):
            with pytest.raises(InvalidKey):
                await refused()
        assert (keys_of(await store.list()), await store.heads()) == (["a"], {"a": 1})

    @staticmethod
    def _prefix_operations(store: CoordStore, prefix: Any) -> list[Callable[[], Awaitable[object]]]:  # noqa: ANN401  (wrong on purpose)
        return [
            lambda: store.list(prefix),
            lambda: store.delete_prefix(prefix),
            lambda: store.heads(prefix),
            lambda: anext(store.watch(prefix)),
            lambda: anext(store.follow(prefix)),
        ]

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
        keys = [key for family in GOOD_KEYS.values() for key in family]
        for family in GOOD_KEYS.values():
            await store.transact([Put(k, k.encode()) for k in family], appends=[Append(k, k.encode()) for k in family])
        entries = (await store.list()).entries
        assert [(entry.key, entry.value) for entry in entries] == [(key, key.encode()) for key in sorted(keys)]
        assert await store.heads() == dict.fromkeys(keys, 1)
        for key in keys:
            entry = await store.get(key)
            assert entry is not None
            assert entry.value == (await store.read(key))[0].data == key.encode()

    @pytest.mark.parametrize("keys", GOOD_KEYS.values(), ids=GOOD_KEYS)
    async def test_a_name_in_form_works_as_key_stream_and_prefix(self, store: CoordStore, keys: list[str]) -> None:
        for key in sorted(keys, key=len, reverse=True):
            since = await store.put(key, b"1")
            await store.put(key, b"2")
            await store.append(key, [b"1"])
            assert keys_of(await store.list(key))[0] == key
            assert key not in keys_of(await store.list(key + "/"))
            async with self.feed(store.watch(key, since=since)) as feed, self.feed(store.follow(key)) as records:
                assert [change.key for change in (await feed.next()).changes] == [key]
                assert (await records.next()).stream == key
            assert await store.delete(key) is True
            await store.drop(key)

    async def test_a_refused_name_is_an_error_of_this_library(self, store: CoordStore) -> None:
        with pytest.raises(CoordError, match="Bad Key"):
            await store.get("Bad Key")
