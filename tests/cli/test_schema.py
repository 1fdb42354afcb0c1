"""`coord schema`: the published schemas describe what the commands really print."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from coordstore.cli.schema import SCHEMAS
from coordstore.session.states import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "boolean": bool,
    "null": type(None),
}
KEYWORDS = {"type", "enum", "const", "properties", "required", "items", "pattern", "minimum", "format"}
KEYWORDS |= {"$schema", "title", "description"}


def problems(schema: dict[str, Any], value: Any, at: str = "$") -> Iterator[str]:
    """Yield where a value is not as a schema says; knows the keywords that ours use, and no other."""
    assert schema.keys() <= KEYWORDS, at
    types = schema.get("type", [])
    kinds = [types] if isinstance(types, str) else types
    if kinds and not any(fits(kind, value) for kind in kinds):
        yield f"{at} is no {kinds}"
    if value not in schema.get("enum", [value]) or value != schema.get("const", value):
        yield f"{at} is {value!r}"
    if isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        yield f"{at} does not match"
    if isinstance(value, int) and value < schema.get("minimum", value):
        yield f"{at} is too low"
    if isinstance(value, dict):
        yield from (f"{at} lacks {name}" for name in schema.get("required", []) if name not in value)
        for name, inner in schema.get("properties", {}).items():
            if name in value:
                yield from problems(inner, value[name], f"{at}.{name}")
    if isinstance(value, list):
        for number, item in enumerate(value):
            yield from problems(schema.get("items", {}), item, f"{at}[{number}]")


def fits(kind: str, value: Any) -> bool:
    return isinstance(value, TYPES[kind]) and not (kind == "integer" and isinstance(value, bool))


def missing(schema: dict[str, Any], value: Any, at: str = "$") -> Iterator[str]:
    """Yield fields that a schema does not know."""
    if isinstance(value, dict) and "properties" in schema:
        for name, inner in value.items():
            if name in schema["properties"]:
                yield from missing(schema["properties"][name], inner, f"{at}.{name}")
            else:
                yield f"{at}.{name}"
    if isinstance(value, list):
        for item in value:
            yield from missing(schema["items"], item, f"{at}[]")


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Return the URL of a store that no other test has."""
    return f"memory:{tmp_path}"


@pytest.mark.req("C1", "C2")
def test_what_the_commands_print_is_as_their_schemas_say(
    url: str, story: Callable[..., None], coord: Callable[..., Any]
) -> None:
    story(url)
    story(url, name="empty", by=lambda tale: tale.begin({}))
    for args in (["backends"], ["inspect"], ["inspect", "shop"], ["events", "shop"]):
        schema = json.loads(coord("schema", args[0]).out)
        printed = coord("--store", url, *args, "--json").out
        for document in map(json.loads, printed.splitlines() if args[0] == "events" else [printed]):
            assert list(problems(schema, document)) == []
            if args[0] != "events":
                leaders = [name for name in missing(schema, document) if "leader" not in name]
                assert leaders == [], "a field that the schema does not know"


@pytest.mark.req("C1")
def test_a_document_without_a_store_is_as_its_schema_says() -> None:
    assert list(problems(SCHEMAS["inspect"], {"schema": 1, "store": None, "sessions": []})) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"schema": 2, "store": None, "sessions": []},
        {"schema": 1, "sessions": []},
        {"schema": 1, "store": None, "sessions": [{"id": "x"}]},
        {"schema": 1, "store": {"id": 3}, "sessions": []},
    ],
)
def test_a_wrong_document_is_noticed(wrong: dict[str, Any]) -> None:
    assert list(problems(SCHEMAS["inspect"], wrong)) != []


def test_the_schema_knows_the_states() -> None:
    attempt = SCHEMAS["inspect"]["properties"]["sessions"]["items"]["properties"]["tasks"]["items"]
    assert attempt["properties"]["state"]["enum"] == [str(state) for state in State]


def test_schemas_are_listed_by_name(coord: Callable[..., Any]) -> None:
    assert coord("schema").out.split() == sorted(SCHEMAS)
    assert coord("schema", "nothing").code == 2
