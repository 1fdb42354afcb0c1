"""`coord schema`: the published schemas describe what the commands really print."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import click
import pytest

from coordstore.cli.main import cli
from coordstore.cli.schemas import SCHEMAS
from coordstore.session.states import State
from tests.cli.conftest import git

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
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
    for args in (["backends"], ["inspect"], ["inspect", "shop"], ["events", "shop"], ["report", "shop"]):
        schema = json.loads(coord("schema", args[0]).out)
        printed = coord("--store", url, *args, "--json").out
        for document in map(json.loads, printed.splitlines() if args[0] == "events" else [printed]):
            assert list(problems(schema, document)) == []
            if args[0] != "events":
                leaders = [name for name in missing(schema, document) if "leader" not in name]
                assert leaders == [], "a field that the schema does not know"


def commands_with_json(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands_with_json(command, (*path, name))
        elif any("--json" in option.opts for option in command.params):
            yield (*path, name)


def schema_name(path: tuple[str, ...]) -> str:
    return "-".join(part for part in path if part != "list")


@pytest.mark.req("C1", "C2")
def test_every_command_with_json_has_a_published_schema() -> None:
    assert sorted({schema_name(path) for path in commands_with_json(cli)} - SCHEMAS.keys()) == []
    assert sorted(SCHEMAS.keys() - {schema_name(path) for path in commands_with_json(cli)}) == []


PLAN = """\
goal: Try the schemas
agent: {command: [sh, -c, "echo > $COORD_TASK"]}
tasks:
- {id: one, prompt: x, writes: [one]}
- {id: two, prompt: x, writes: [three]}
"""


@pytest.mark.req("C1", "C2")
def test_a_whole_run_and_what_is_said_of_it_are_as_their_schemas_say(
    repository: Path, tmp_path: Path, coord_process: Callable[..., Any]
) -> None:
    git(repository, "config", "user.name", "A")
    git(repository, "config", "user.email", "a@example.net")
    (tmp_path / "plan.yaml").write_text(PLAN)
    copied = f"sqlite:{tmp_path}/copy/store.db"
    calls = {
        "run": (["run", str(tmp_path / "plan.yaml"), "--session", "s", "--json"], 3),
        "inspect": (["inspect", "--json"], 0),
        "report": (["report", "s", "--json"], 0),
        "cancel": (["cancel", "s", "--json"], 0),
        "doctor": (["doctor", "--json"], None),
        "changes": (["changes", "list", "s", "--json"], 0),
        "profiles": (["profiles", "list", "--json"], 0),
        "copy": (["copy", "STORE", copied, "--json"], 0),
    }
    url = ""
    for name, (args, code) in calls.items():
        found = coord_process(*(url if arg == "STORE" else arg for arg in args), cwd=repository)
        assert code is None or found.code == code, found.err
        document = json.loads(found.out)
        assert list(problems(SCHEMAS[name], document)) == [], name
        unknown = [field for field in missing(SCHEMAS[name], document) if "leader" not in field]
        assert unknown == [], f"fields that the schema of {name} does not know"
        url = document["store"]["url"] if document.get("store") else url
    assert {"backends", "events", *calls} <= SCHEMAS.keys()


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
