"""Store URLs: what is taken apart, and what is refused with a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from coordstore import open_store
from coordstore.errors import InvalidArgument
from coordstore.url import StoreURL

pytestmark = pytest.mark.req("S1")


def test_a_url_is_scheme_rest_and_options() -> None:
    url = StoreURL.parse("etcd://h:1,h:2/p?durability=full&insecure=1", insecure=False)
    assert (url.scheme, url.rest) == ("etcd", "//h:1,h:2/p")
    assert url.options == {"durability": "full", "insecure": False}


@pytest.mark.parametrize("text", ["", "path", "/a/b", "C:/x", "1:x", ":x", None, 5])
def test_what_has_no_scheme_is_no_url(text: str) -> None:
    with pytest.raises(InvalidArgument, match="no store URL"):
        StoreURL.parse(text)


@pytest.mark.parametrize("text", ["memory:?a", "memory:?a=1&a=2"])
def test_an_option_has_a_value_and_stands_once(text: str) -> None:
    with pytest.raises(InvalidArgument, match="each option once"):
        StoreURL.parse(text)


def test_a_path_may_be_relative_absolute_or_in_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert StoreURL.parse("sqlite:a/b.db").path == tmp_path / "a/b.db"
    assert StoreURL.parse("sqlite:/a/b.db").path == Path("/a/b.db")
    assert StoreURL.parse("sqlite:///a/b.db").path == Path("/a/b.db")
    assert StoreURL.parse("sqlite:~/b.db").path == tmp_path / "b.db"


@pytest.mark.parametrize("text", ["sqlite:", "sqlite:a\0b", "sqlite:?durability=full"])
def test_a_url_without_a_path_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="needs a path"):
        _ = StoreURL.parse(text).path


def test_options_are_words_or_flags() -> None:
    url = StoreURL.parse("x:?durability=full&on=1&off=no&odd=perhaps")
    assert url.choice("durability", ["full", "process"], "full") == "full"
    assert url.choice("absent", ["full", "process"], "process") == "process"
    assert [url.flag(name) for name in ("on", "off", "absent")] == [True, False, False]
    with pytest.raises(InvalidArgument, match="one of full, process"):
        url.choice("odd", ["full", "process"], "full")
    with pytest.raises(InvalidArgument, match="1 or 0"):
        url.flag("odd")


async def test_unknown_schemes_and_options_are_refused_with_those_there_are() -> None:
    with pytest.raises(InvalidArgument, match=r"no backend for 'nowhere': there are .*memory"):
        async with open_store("nowhere:x"):
            pass
    with pytest.raises(InvalidArgument, match="no option durabilty"):
        async with open_store("memory:", durabilty="full"):
            pass


async def test_a_named_memory_store_is_shared_and_an_unnamed_one_is_not() -> None:
    async with open_store("memory:shared-in-this-test") as one, open_store("memory:shared-in-this-test") as two:
        await one.put("a", b"1")
        assert await two.get("a") is not None
    async with open_store("memory:") as one, open_store("memory:") as two:
        await one.put("a", b"1")
        assert await two.get("a") is None
