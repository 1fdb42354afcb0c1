"""From text to a plan: read a file or standard input, and say in plain words what is wrong with it."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from coordstore_orchestrator.plan.bounds import PLAN_BYTES_MAX
from coordstore_orchestrator.plan.errors import PlanError, Problem
from coordstore_orchestrator.plan.formats import SUFFIXES, Document, read_text, sniff, too_long
from coordstore_orchestrator.plan.model import Plan
from coordstore_orchestrator.plan.translate import translate

if TYPE_CHECKING:
    from coordstore_orchestrator.plan.formats import Format

__all__ = ["build_plan", "load_plan", "parse_plan", "plan_digest"]


def load_plan(path: str | Path) -> Plan:
    """Read a plan from a file, blocking; it is well-formed then, but not yet checked by `check_plan`.

    Args:
        path: A file whose suffix tells its language (.yaml .yml .json .toml; without one of them the text does),
            or ``-`` for standard input.

    Raises:
        PlanError: It cannot be read, or is no plan.
    """
    source = "standard input" if str(path) == "-" else str(path)
    try:
        if str(path) == "-":
            raw = sys.stdin.buffer.read(PLAN_BYTES_MAX + 1)
        else:
            with Path(path).open("rb") as file:
                raw = file.read(PLAN_BYTES_MAX + 1)
    except OSError as error:
        raise PlanError.of([Problem(source, f"cannot be read: {error.strerror}", "name a plan's file")]) from error
    text = _decoded(raw, source)
    return parse_plan(text, SUFFIXES.get(Path(source).suffix.lower()), source)


def parse_plan(text: str, form: Format | None = None, source: str = "the plan") -> Plan:
    """Read a plan from text.

    Args:
        text: The plan.
        form: ``yaml``, ``json`` or ``toml``; None to tell from the text.
        source: What to call the text in messages.

    Raises:
        PlanError: It is no plan; with line and column where they are known.
    """
    return _validated(read_text(text, form or sniff(text), source))


def build_plan(data: object) -> Plan:
    """Make a plan of plain data (mappings, lists, text, numbers), as a planner returns it.

    Raises:
        PlanError: The data is no plan.
    """
    return _validated(Document(data, lambda _: None))


def plan_digest(plan: Plan) -> str:
    """Return 64 hex digits that two plans share exactly when they say the same, in whatever language and layout.

    What is written out and what is left to the same default are the same.
    """
    canonical = json.dumps(plan.as_json(), ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _validated(document: Document) -> Plan:
    try:
        return Plan.model_validate(document.data)
    except ValidationError as error:
        raise translate(error, document.data, document.locate) from error


def _decoded(raw: bytes, source: str) -> str:
    if len(raw) > PLAN_BYTES_MAX:
        raise PlanError.of([too_long(source)])
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        what = f"is not UTF-8: byte {error.start} is {raw[error.start]:#04x}"
        raise PlanError.of([Problem(source, what, "save it as UTF-8")]) from error
