"""What pydantic says about a plan, in plain words: the place in the plan, what is wrong, what to write."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final

from coordstore_orchestrator.plan.errors import PlanError, Problem, shown
from coordstore_orchestrator.plan.model import COMMAND_TAG, PROFILE_TAG, AgentCommand, Limits, Plan, Task

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic import BaseModel, ValidationError
    from pydantic_core import ErrorDetails

    from coordstore_orchestrator.plan.formats import Locate

__all__ = ["closest", "translate"]

_KINDS: Final = {
    dict: "a mapping",
    list: "a list",
    str: "text",
    bool: "true or false",
    int: "a number",
    float: "a number",
}
_MODELS: Final[dict[str, type[BaseModel]]] = {"tasks": Task, "limits": Limits, "agent": AgentCommand}


def closest(word: str, known: Sequence[str]) -> str:
    """Return advice about a word that is not known: what it may have been, or all that is known."""
    near = get_close_matches(word.lower(), known, n=1)
    return f"did you mean '{near[0]}'?" if near else f"known: {', '.join(sorted(known)) or 'none'}"


def translate(error: ValidationError, data: object, locate: Locate) -> PlanError:
    """Return the error that says the same to people.

    Args:
        error: From validating the data as a `Plan`.
        data: The data.
        locate: Where a path of keys stands in the text.
    """
    problems: list[Problem] = []
    for detail in error.errors(include_url=False):
        path = [key for key in detail["loc"] if key not in {PROFILE_TAG, COMMAND_TAG}]
        owner = path[:-1] if detail["type"] in {"missing", "extra_forbidden"} else path
        place = locate(path)
        where = _where(owner, data) + (f", line {place[0]}, column {place[1]}" if place else "")
        problems += [Problem(where, what, fix) for what, fix in _sentences(detail, path)]
    return PlanError.of(problems)


def _where(path: Sequence[str | int], data: Any) -> str:  # noqa: ANN401 - any data
    """Return ``tasks[2].writes[0] (id t3)`` for a path of keys."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).removeprefix(".") or "plan"
    if len(path) > 1 and path[0] == "tasks" and isinstance(path[1], int) and isinstance(data["tasks"], (list, tuple)):
        task = data["tasks"][path[1]]
        known = task.get("id") if isinstance(task, dict) else None
        text += f" (id {known})" if isinstance(known, str) else ""
    return text


def _keys(path: Sequence[str | int]) -> dict[str, str]:
    """Return the keys that are known where an unknown one stands, and what each is for."""
    names = [key for key in path[:-1] if isinstance(key, str)]
    fields = _MODELS[names[-1]].model_fields if names and names[-1] in _MODELS else Plan.model_fields
    return {field.alias or name: field.description or "" for name, field in fields.items()}


def _sentences(detail: ErrorDetails, path: Sequence[str | int]) -> list[tuple[str, str]]:
    context: Mapping[str, Any] = detail.get("ctx", {})
    if isinstance(context.get("error"), PlanError):
        return [(_joined(problem), problem.fix) for problem in context["error"].problems]
    if detail["type"] == "missing":
        key = str(path[-1])
        return [(f"'{key}' is missing", f"add {key}: {_keys(path).get(key, '')}".removesuffix("."))]
    if detail["type"] == "extra_forbidden":
        return [(f"unknown key {shown(path[-1])}", closest(str(path[-1]), list(_keys(path))))]
    return [_type_sentence(detail["type"], detail["input"]) or _bound_sentence(detail["type"], detail["msg"], context)]


def _joined(problem: Problem) -> str:
    return f"{problem.where} {problem.what}".strip()


def _type_sentence(kind: str, given: object) -> tuple[str, str] | None:
    """Return what to say about a value of the wrong type; None when the type is right."""
    is_now = "empty" if given is None else f"{_KINDS.get(type(given), 'something else')} ({shown(given, 40)})"
    expected = {
        "string": ("text", "put it in quotes" if not isinstance(given, (dict, list)) else "write text"),
        "tuple": ("a list", f"write [{given}]" if isinstance(given, str) and len(given) < 40 else "write [one, two]"),  # noqa: PLR2004
        "int": ("a whole number", "write digits, without quotes"),
        "float": ("a number", "write digits, without quotes"),
        "model": ("a mapping", "write 'key: value'"),
        "union": ("a profile's name or {command: [program, argument, …]}", "write one of the two"),
    }
    word = kind.partition("_")[0]
    if word not in expected or not kind.endswith(("_type", "_tag_not_found", "_tag_invalid")):
        return None
    wanted, fix = expected[word]
    return f"must be {wanted}, and is {is_now}", "write it, or leave the key out" if given is None else fix


def _bound_sentence(kind: str, message: str, context: Mapping[str, Any]) -> tuple[str, str]:
    """Return what to say about a value beyond its bound."""
    bounds = {
        "greater_than_equal": "must be at least {ge}",
        "less_than_equal": "must be at most {le}",
        "greater_than": "must be more than {gt}",
        "finite_number": "must be a finite number",
        "literal_error": "must be {expected}",
        "too_short": "must have at least {min_length} entry and has {actual_length}",
        "too_long": "may have {max_length} entries and has {actual_length}",
    }
    what = bounds[kind].format_map(dict(context)) if kind in bounds else message
    return what.replace("'", ""), "write another value, or leave the key out"
