"""The three languages a plan is written in, each read into plain data with positions where they are known."""

from __future__ import annotations

import json
import re
import tomllib
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, NoReturn, TypeAlias

from coordstore_orchestrator.plan.bounds import DEPTH_MAX, PLAN_BYTES_MAX
from coordstore_orchestrator.plan.errors import PlanError, Problem, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["SUFFIXES", "Document", "Format", "read_text", "sniff", "too_long"]

Format: TypeAlias = Literal["yaml", "json", "toml"]
Locate: TypeAlias = "Callable[[Sequence[str | int]], tuple[int, int] | None]"

SUFFIXES: Final[dict[str, Format]] = {".yaml": "yaml", ".yml": "yaml", ".json": "json", ".toml": "toml"}
_BRACKETS: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[{]|[\]}]', re.DOTALL)
_DIGITS_MAX: Final = 18


class Document(NamedTuple):
    """What was read: the data, and where in the text a path of keys stands (line, column; None: not known)."""

    data: Any
    locate: Locate


def sniff(text: str) -> Format:
    """Guess the language of a plan from how it begins."""
    lines = (line.strip() for line in text.splitlines())
    first = next((line for line in lines if line and not line.startswith("#")), "")
    if first.startswith("{"):
        return "json"
    return "toml" if re.match(r"[\w-]+\s*=|\[", first) else "yaml"


def read_text(text: str, form: Format, source: str) -> Document:
    """Read a text into plain data.

    Args:
        text: The plan.
        form: Its language.
        source: What to call it in messages.

    Raises:
        PlanError: It is too long, not of that language, nested too deeply, or has a key twice.
    """
    _measure(text, source)
    if form == "yaml":
        from coordstore_orchestrator.plan.yaml_data import YamlReader

        reader = YamlReader(source)
        return Document(reader.read(text), reader.locate)
    data = _json(text, source) if form == "json" else _toml(text, source)
    return Document(data, lambda _: None)


def _measure(text: str, source: str) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        what = f"contains half of a surrogate pair at character {error.start}"
        raise PlanError.of([Problem(source, what, "save it as UTF-8")]) from error
    if size > PLAN_BYTES_MAX:
        raise PlanError.of([too_long(source)])


def too_long(source: str) -> Problem:
    """Return the sentence about a plan beyond its bound."""
    what = f"is longer than the {PLAN_BYTES_MAX} bytes that a plan may take"
    return Problem(source, what, "put long prompts into files of the repository and name those")


def _deep(source: str) -> PlanError:
    return PlanError.of([Problem(source, f"is nested deeper than {DEPTH_MAX}", "a plan needs six levels")])


def _json(text: str, source: str) -> object:
    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) < len(items):
            twice, _ = Counter(key for key, _ in items).most_common(1)[0]
            inside = f"{source}, in the object with id {shown(found['id'])}" if "id" in found else source
            raise PlanError.of([Problem(inside, f"key {shown(twice)} stands twice in one object", "keep one of them")])
        return found

    def constant(word: str) -> NoReturn:
        raise PlanError.of([Problem(source, f"{word} is no number that a plan can have", "write a smaller number")])

    def integer(digits: str) -> int:
        if len(digits) > _DIGITS_MAX:
            constant(f"{digits[:_DIGITS_MAX]}…")
        return int(digits)

    depth = 0
    for token in _BRACKETS.finditer(text):  # before the parser, which recurses
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token[0], 0)
        if depth > DEPTH_MAX:
            raise _deep(source)
    try:
        return json.loads(text, object_pairs_hook=pairs, parse_constant=constant, parse_int=integer)
    except json.JSONDecodeError as error:
        where = f"{source}, line {error.lineno}, column {error.colno}"
        raise PlanError.of([Problem(where, f"is not JSON: {error.msg}", "correct it there")]) from error


def _toml(text: str, source: str) -> object:
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PlanError.of([Problem(source, f"is not TOML: {error}", "correct it there")]) from error
    except RecursionError as error:
        raise _deep(source) from error
    layer: list[Any] = [data]
    for _ in range(DEPTH_MAX + 1):
        layer = [inner for outer in layer for inner in (outer.values() if isinstance(outer, dict) else outer)]
        layer = [inner for inner in layer if isinstance(inner, (dict, list))]
    if layer:
        raise _deep(source)
    return data
