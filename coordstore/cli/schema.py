"""`coord schema`: the JSON schemas of what the commands print with --json, by hand and kept true by tests."""

from __future__ import annotations

import json
from typing import Any, Final

import click

__all__ = ["SCHEMAS", "schema"]

STATES: Final = ["pending", "running", "completed", "failed", "cancelled"]
SESSION_STATES: Final = ["running", "stopped", "completed", "partial", "failed", "cancelled"]
TEXT: Final = {"type": "string"}
MAYBE_TEXT: Final = {"type": ["string", "null"]}
MAYBE_NUMBER: Final = {"type": ["integer", "null"], "minimum": 0}
MAYBE_TIME: Final = {"type": ["string", "null"], "format": "date-time", "description": "RFC 3339, UTC"}


def _object(description: str, **properties: Any) -> dict[str, Any]:  # noqa: ANN401  (schemas nest)
    """Return the schema of an object that has all of these; versions to come may add others."""
    return {
        "type": "object",
        "description": description,
        "properties": properties,
        "required": list(properties),
    }


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _document(title: str, **properties: Any) -> dict[str, Any]:  # noqa: ANN401  (schemas nest)
    version = {"const": 1, "description": "version of this format"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        **_object(title, schema=version, **properties),
    }


ATTEMPT: Final = _object(
    "one attempt of a task",
    agent={**TEXT, "pattern": r"^[a-z0-9][a-z0-9-]{0,39}\.[1-9][0-9]*$"},
    state={"enum": STATES},
    reason=MAYBE_TEXT,
    step=MAYBE_NUMBER,
    pid=MAYBE_NUMBER,
    host=MAYBE_TEXT,
    branch=MAYBE_TEXT,
    worktree=MAYBE_TEXT,
    started=MAYBE_TIME,
    ended=MAYBE_TIME,
)
TASK: Final = _object(
    "one task; its state is that of its latest attempt",
    id=TEXT,
    name=TEXT,
    state={"enum": STATES},
    landed={"type": "boolean", "description": "its work is in the user's repository"},
    reason=MAYBE_TEXT,
    attempts=_list(ATTEMPT),
)
SESSION: Final = _object(
    "one session",
    id=TEXT,
    goal=MAYBE_TEXT,
    state={"enum": SESSION_STATES},
    result_ref=MAYBE_TEXT,
    leader={"type": ["object", "null"], "description": "who orchestrates it now"},
    tasks=_list(TASK),
)
STORE: Final = {
    **_object("the store", id=TEXT, url=TEXT, scheme=TEXT, revision={"type": "integer"}, durability=TEXT),
    "type": ["object", "null"],
}
EVENT: Final = {
    "type": "object",
    "description": "what happened; which other fields there are depends on its type",
    "properties": {"type": TEXT, "at": {**TEXT, "format": "date-time"}},
    "required": ["type"],
}
BACKEND: Final = _object("one backend", scheme=TEXT, summary=TEXT, distribution=TEXT, opener=TEXT)

SCHEMAS: Final[dict[str, dict[str, Any]]] = {
    "backends": _document("coord backends --json", backends=_list(BACKEND)),
    "events": _document(
        "one line of coord events --json",
        session=TEXT,
        agent={**TEXT, "description": "whom it concerns; `session`: the session as a whole"},
        sequence={"type": "integer", "minimum": 1, "description": "its number in the agent's stream"},
        revision={"type": "integer", "minimum": 1, "description": "its place in the order of all agents"},
        event=EVENT,
    ),
    "inspect": _document("coord inspect --json", store=STORE, sessions=_list(SESSION)),
}
"""The schemas by the name of their command."""


@click.command(short_help="Print the JSON schema of what a command prints with --json.")
@click.argument("name", required=False, metavar="[NAME]", type=click.Choice(sorted(SCHEMAS)))
def schema(name: str | None) -> None:
    """Print the JSON schema of what the command NAME prints with --json; without NAME, list the names."""
    print(json.dumps(SCHEMAS[name], indent=2) if name else "\n".join(sorted(SCHEMAS)))
