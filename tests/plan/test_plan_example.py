"""The example runs as it is, and the published schema says what the models say."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from coordstore_orchestrator.plan import (
    AgentCommand,
    Limits,
    Plan,
    Task,
    build_plan,
    check_plan,
    example,
    order,
    parse_plan,
    plan_schema,
)
from coordstore_orchestrator.plan.bounds import TASKS_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import BaseModel

ROOT = Path(__file__).resolve().parents[2]
TYPES: dict[str, Any] = {"string": str, "array": list, "object": dict, "null": type(None)}


def sound(schema: dict[str, Any], value: Any, root: dict[str, Any]) -> bool:
    """Say whether a value is as the schema demands, by the keywords that ours uses; another keyword is an error."""
    checks: dict[str, Callable[[Any], bool]] = {
        "$ref": lambda name: sound(root["$defs"][name.removeprefix("#/$defs/")], value, root),
        "anyOf": lambda each: any(sound(one, value, root) for one in each),
        "oneOf": lambda each: sum(sound(one, value, root) for one in each) == 1,
        "type": lambda name: is_type(name, value),
        "enum": lambda allowed: value in allowed,
        "pattern": lambda form: re.search(form, value) is not None,
        "minLength": lambda least: len(value) >= least,
        "maxLength": lambda most: len(value) <= most,
        "minItems": lambda least: len(value) >= least,
        "maxItems": lambda most: len(value) <= most,
        "minimum": lambda least: value >= least,
        "maximum": lambda most: value <= most,
        "exclusiveMinimum": lambda least: value > least,
        "items": lambda each: all(sound(each, entry, root) for entry in value),
        "required": lambda keys: set(keys) <= set(value),
        "properties": lambda known: all(sound(known[key], value[key], root) for key in known if key in value),
        "patternProperties": lambda known: all(
            any(re.search(form, key) and sound(rule, entry, root) for form, rule in known.items())
            for key, entry in value.items()
        ),
        "additionalProperties": lambda allowed: bool(allowed) or set(value) <= set(schema["properties"]),
    }
    if not is_type(schema.get("type", ""), value):
        return False
    told = {"$defs", "$schema", "default", "description", "title", "type"}
    return all(checks[key](rule) for key, rule in schema.items() if key not in told)


def is_type(name: str, value: Any) -> bool:
    if name in {"integer", "number"}:
        return isinstance(value, int if name == "integer" else (int, float)) and not isinstance(value, bool)
    return not name or isinstance(value, TYPES[name])


def written(**changes: Any) -> dict[str, Any]:
    return {"goal": "g", "tasks": [{"id": "t", "prompt": "p", "writes": ["a"], **changes}]}


def accepted(data: Any) -> bool:
    try:
        build_plan(data)
    except ValueError:
        return False
    return True


def test_the_example_passes_the_check_and_uses_every_key() -> None:
    plan = parse_plan(example(), "yaml")
    check_plan(plan, known_profiles=[])
    assert order(plan) == ("esperanto", "english", "german", "all")
    for key in [*Task.model_fields, *Limits.model_fields, "goal", "base", "setup", "validate", "command"]:
        assert key == "labels" or re.search(rf"\b{key}\b", example()), key


def test_the_example_runs_as_it_is(tmp_path: Path) -> None:
    plan = parse_plan(example())
    tasks = {task.id: task for task in plan.tasks}
    for name in order(plan):
        task, before = tasks[name], files(tmp_path)
        agent = plan.agent_of(task)
        assert isinstance(agent, AgentCommand)
        environment = {"PATH": os.environ["PATH"], "COORD_TASK": name}
        said = f"{task.prompt}\n\n## What is expected\n"
        subprocess.run(agent.command, cwd=tmp_path, env=environment, input=said, text=True, check=True)
        for check in task.checks:
            subprocess.run(["sh", "-c", check], cwd=tmp_path, env=environment, check=True)
        assert task.write_scope.outside(files(tmp_path) - before) == []
    for check in plan.validation:
        subprocess.run(["sh", "-c", check], cwd=tmp_path, check=True)
    assert (tmp_path / "greetings/all.txt").read_text() == "Hello, world!\nHallo, Welt!\nSaluton, mondo!\n"


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.req("P1")
def test_the_schema_describes_every_key_and_allows_no_other() -> None:
    schema = plan_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert "$id" not in json.dumps(schema)
    models: dict[str, type[BaseModel]] = {"": Plan, "Task": Task, "Limits": Limits, "AgentCommand": AgentCommand}
    for name, model in models.items():
        part = schema["$defs"][name] if name else schema
        assert part["additionalProperties"] is False
        assert set(part["properties"]) == {field.alias or key for key, field in model.model_fields.items()}
        assert all(each.get("description", "").endswith(".") for each in part["properties"].values())
    assert schema["required"] == ["goal", "tasks"]
    assert schema["$defs"]["Task"]["required"] == ["id", "prompt", "writes"]
    assert schema["properties"]["tasks"]["maxItems"] == TASKS_MAX


@pytest.mark.req("P1")
@pytest.mark.parametrize(
    "data",
    [
        written(),
        written(agent="claude", needs=["x"], labels=["gpu.a"], size="small", priority=3),
        written(agent={"command": ["sh", "-c", "x"]}, limits={"idle": 1.5, "steps": 3}),
        written(agent=None),
        written(id="A"),
        written(id="a" * 41),
        written(write=["a"]),
        written(writes="a"),
        written(writes=[""]),
        written(agent={"command": []}),
        written(agent={"command": ["x"], "stdin": "x"}),
        written(agent=3),
        written(size="big"),
        written(priority=1.5),
        written(priority=True),
        written(labels=["A"]),
        written(accept=[""]),
        written(limits={"idle": 0}),
        written(limits={"attempts": 0}),
        written(limits={"steps": None}),
        written(limits={"stepz": 1}),
        {"goal": "g", "tasks": []},
        {"goal": "", "tasks": written()["tasks"]},
        {"tasks": written()["tasks"]},
        {**written(), "validate": ["x"], "setup": ["y"], "base": "main"},
        {**written(), "validation": ["x"]},
        [],
    ],
)
def test_the_schema_accepts_what_the_models_accept(data: Any) -> None:
    schema = plan_schema()
    assert sound(schema, data, schema) == accepted(data)


@pytest.mark.req("P1")
def test_the_schema_accepts_the_example() -> None:
    schema = plan_schema()
    assert sound(schema, json.loads(json.dumps(parse_plan(example()).as_json())), schema)


def test_the_plan_in_the_documentation_passes_the_check() -> None:
    text = (ROOT / "docs" / "plan.md").read_text(encoding="utf-8")
    (written_there,) = re.findall(r"^```yaml\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    check_plan(parse_plan(written_there, "yaml"), {"claude"})


def test_the_documentation_has_every_key() -> None:
    text = (ROOT / "docs" / "plan.md").read_text(encoding="utf-8")
    keys = {field.alias or key for model in (Plan, Task) for key, field in model.model_fields.items()}
    assert set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) >= keys
    assert all(f"`{key}`" in text for key in Limits.model_fields)
