"""The JSON schemas of what the commands print with --json: written by hand, kept true by tests.

A field is never taken away or given another meaning under the same version; others may be added.
"""

from __future__ import annotations

from typing import Any, Final

__all__ = ["SCHEMAS"]

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
    parent={**MAYBE_TEXT, "description": "the attempt whose agent delegated it; null: it is a task of the plan"},
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
MAYBE_AMOUNT: Final = {"type": ["number", "null"], "minimum": 0}
COUNT: Final = {"type": "integer", "minimum": 0}
BACKEND: Final = _object("one backend", scheme=TEXT, summary=TEXT, distribution=TEXT, opener=TEXT)

FINDING: Final = _object(
    "one finding",
    check={**TEXT, "description": "what was looked at"},
    level={"enum": ["ok", "warning", "problem"]},
    text=TEXT,
    advice={**MAYBE_TEXT, "description": "what to do about it"},
)
PROFILE: Final = _object(
    "one agent profile",
    name=TEXT,
    summary=TEXT,
    model=MAYBE_TEXT,
    models=_list(TEXT),
    version=MAYBE_TEXT,
    verdict={"enum": ["not installed", "plain", "unproven", "proven", "failed"]},
    reason=MAYBE_TEXT,
    probed=MAYBE_TEXT,
)
VERDICT: Final = _object("what a check or the merge found", good={"type": "boolean"}, text=TEXT, output=TEXT)
TOTALS: Final = _object(
    "sums over all attempts",
    tasks=COUNT,
    landed=COUNT,
    attempts=COUNT,
    seconds={"type": "number", "description": "from the first start to the last end"},
    agent_seconds={"type": "number", "description": "of all attempts, those side by side counted each"},
    steps=COUNT,
    tool_calls=COUNT,
    tool_failures=COUNT,
    errors=COUNT,
    input_tokens=COUNT,
    output_tokens=COUNT,
    cost_usd=MAYBE_AMOUNT,
)


def _more(base: dict[str, Any], /, **properties: Any) -> dict[str, Any]:  # noqa: ANN401  (schemas nest)
    """Return the schema of an object that has some more."""
    return _object(base["description"], **{**base["properties"], **properties})


TOLD_ATTEMPT: Final = _more(
    ATTEMPT,
    seconds=MAYBE_AMOUNT,
    tool_calls=COUNT,
    tool_failures=COUNT,
    errors=COUNT,
    files={**COUNT, "description": "files that differ from its base"},
    input_tokens=COUNT,
    output_tokens=COUNT,
    cost_usd=MAYBE_AMOUNT,
    verdicts=_list(VERDICT),
    last_errors=_list(TEXT),
    last_words=_list(TEXT),
)
TOLD_TASK: Final = _more(
    TASK,
    work={"enum": ["landed", "merged", "refused", "waiting", None]},
    needs=_list(TEXT),
    attempts=_list(TOLD_ATTEMPT),
)
TOLD_SESSION: Final = _more(
    SESSION,
    commit=MAYBE_TEXT,
    base=MAYBE_TEXT,
    begin={**TEXT, "format": "date-time"},
    end={**TEXT, "format": "date-time"},
    totals=TOTALS,
    failed={**_list(TEXT), "description": "tasks that need a look, the worst first"},
    tasks=_list(TOLD_TASK),
)
CHANGE: Final = _object(
    "work that waits for a review, or had one",
    id={**TEXT, "description": "the attempt whose work it is"},
    state={"enum": ["open", "approved", "changes-requested", "rejected", "merged", "refused"]},
    task=MAYBE_TEXT,
    title=MAYBE_TEXT,
    reviewer=MAYBE_TEXT,
    forge=MAYBE_TEXT,
    url=MAYBE_TEXT,
    by={**MAYBE_TEXT, "description": "who decided last"},
    comment=MAYBE_TEXT,
    commit=MAYBE_TEXT,
)
LEASED: Final = _object("keys on leases", copied={"type": "boolean"}, keys=_list(TEXT))

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
    "changes": _document("coord changes list --json", session=TEXT, changes=_list(CHANGE)),
    "changes-show": _document("coord changes show --json", session=TEXT, change=CHANGE),
    "cancel": _document(
        "coord cancel --json",
        session=TEXT,
        tasks={"type": "object", "description": "the state of each task that was to be cancelled, by its id"},
    ),
    "copy": _document(
        "coord copy --json",
        source=STORE,
        destination=STORE,
        revision=COUNT,
        keys=COUNT,
        streams=COUNT,
        records=COUNT,
        digest=TEXT,
        copied=COUNT,
        resumed={"type": "boolean"},
        verified={"type": "boolean"},
        leased=LEASED,
    ),
    "doctor": _document("coord doctor --json", url=TEXT, healthy={"type": "boolean"}, findings=_list(FINDING)),
    "profiles": _document("coord profiles list --json", profiles=_list(PROFILE)),
    "report": _document("coord report --json", store=STORE, session=TOLD_SESSION),
    "run": _document("coord run --json", store=STORE, sessions=_list(SESSION)),
}
"""The schemas by the name of their command."""
