"""The types of a plan's fields: each with its bound, the sentence that refuses what is beyond it, and its schema."""

from __future__ import annotations

import re
from typing import Annotated, Final, NoReturn

from pydantic import AfterValidator, Field, StrictFloat, StrictInt, StrictStr, WithJsonSchema

from coordstore_orchestrator.plan import bounds
from coordstore_orchestrator.plan.errors import PlanError, Problem, shown
from coordstore_orchestrator.plan.pattern import Pattern

__all__ = [
    "Argument",
    "Attempts",
    "Base",
    "Cost",
    "HandBack",
    "Label",
    "Name",
    "Need",
    "PathPattern",
    "Priority",
    "ProfileName",
    "Prompt",
    "Seconds",
    "StepCount",
    "TaskId",
    "Text",
    "Threshold",
    "refuse",
]

_ID: Final = "[a-z0-9][a-z0-9-]{0,39}"
_LABEL: Final = "[a-z0-9][a-z0-9._-]{0,63}"


def refuse(what: str, fix: str) -> NoReturn:
    """Raise the error of one field; where it stands is added by who reads the plan."""
    raise PlanError.of([Problem("", what, fix)])


def _sized(limit: int) -> AfterValidator:
    def check(text: str) -> str:
        try:
            size = len(text.encode())
        except UnicodeEncodeError:
            refuse("contains half of a surrogate pair, which is no character", "write the character")
        if "\0" in text:
            refuse("contains a NUL character", "leave it out")
        if size > limit:
            refuse(f"takes {size} bytes and may take {limit}", "put long text into a file and name that file")
        return text

    return AfterValidator(check)


def _formed(form: str, what: str) -> AfterValidator:
    compiled = re.compile(form)

    def check(text: str) -> str:
        if not compiled.fullmatch(text):
            refuse(f"{shown(text)} is not allowed", what)
        return text

    return AfterValidator(check)


def _filled(text: str) -> str:
    if not text.strip():
        refuse("is empty", "write something here")
    return text


def _line(text: str) -> str:
    if not text.isprintable():
        refuse(f"{shown(text)} has a line break or a character that cannot be shown", "write it on one plain line")
    if len(text) > bounds.NAME_MAX:
        refuse(f"is {len(text)} characters long and may have {bounds.NAME_MAX}", "shorten it")
    return text


def _revision(text: str) -> str:
    if text.startswith("-"):
        refuse(f"{shown(text)} begins with '-'", "name a branch, a tag or a commit")
    return text


def _pattern(text: str) -> str:
    Pattern.parse(text)
    return text


def _schema(**more: object) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", **more})


Prompt = Annotated[StrictStr, _sized(bounds.TASK_BYTES_MAX), _schema(minLength=1, maxLength=bounds.TASK_BYTES_MAX)]
"""Text whose emptiness `check_plan` reports, with everything else that is wrong between tasks."""
Text = Annotated[
    StrictStr, _sized(bounds.TEXT_MAX), AfterValidator(_filled), _schema(minLength=1, maxLength=bounds.TEXT_MAX)
]
Name = Annotated[StrictStr, AfterValidator(_line), _schema(maxLength=bounds.NAME_MAX)]
Base = Annotated[
    StrictStr,
    AfterValidator(_filled),
    AfterValidator(_line),
    AfterValidator(_revision),
    _schema(minLength=1, maxLength=bounds.NAME_MAX),
]
TaskId = Annotated[
    StrictStr,
    _formed(_ID, "an id has 1 to 40 small letters, digits and '-', and does not begin with '-'"),
    _schema(pattern=f"^{_ID}$"),
]
Need = Annotated[StrictStr, AfterValidator(_line), _schema(pattern=f"^{_ID}$")]
Label = Annotated[
    StrictStr,
    _formed(_LABEL, "a label has 1 to 64 small letters, digits, '.', '_' and '-', the first a letter or digit"),
    _schema(pattern=f"^{_LABEL}$"),
]
ProfileName = Annotated[
    StrictStr, AfterValidator(_filled), AfterValidator(_line), _schema(minLength=1, maxLength=bounds.NAME_MAX)
]
PathPattern = Annotated[StrictStr, AfterValidator(_pattern), _schema(minLength=1, maxLength=bounds.PATTERN_MAX)]
Argument = Annotated[StrictStr, _sized(bounds.ARGUMENT_BYTES_MAX), _schema(maxLength=bounds.ARGUMENT_BYTES_MAX)]

Priority = Annotated[StrictInt, Field(ge=-bounds.PRIORITY_MAX, le=bounds.PRIORITY_MAX)]
StepCount = Annotated[StrictInt, Field(ge=1, le=bounds.STEPS_LIMIT_MAX)]
Seconds = Annotated[StrictFloat, Field(gt=0, le=bounds.SECONDS_MAX, allow_inf_nan=False)]
Threshold = Annotated[StrictFloat, Field(ge=0, le=bounds.SECONDS_MAX, allow_inf_nan=False)]
Cost = Annotated[StrictFloat, Field(gt=0, le=bounds.COST_MAX, allow_inf_nan=False)]
Attempts = Annotated[StrictInt, Field(ge=1, le=bounds.ATTEMPTS_MAX)]
HandBack = Annotated[StrictInt, Field(ge=0, le=bounds.HAND_BACK_MAX)]
