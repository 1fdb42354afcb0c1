"""YAML as plain data, from events: no tags, no repeated keys, nothing that grows beyond its bounds.

The parser's events are turned into data here, by a loop, because PyYAML's own construction recurses, builds what
tags name, keeps the last of repeated keys, and reads ``no``, ``1:30`` and dates as YAML 1.1 did. Plain scalars are
read as YAML 1.2's core schema has them (null, true, false, decimal numbers); all else is text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import yaml

from coordstore_orchestrator.plan.bounds import DEPTH_MAX, NODES_MAX
from coordstore_orchestrator.plan.errors import PlanError, Problem, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["YamlReader"]

_PARSER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C parser, where PyYAML was built with it
_INTEGER: Final = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]{1,40}|[0-9]{1,40}(?:\.[0-9]{0,40})?)(?:[eE][-+]?[0-9]{1,5})?")
_WORDS: Final[dict[str, bool | None]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


def _scalar(text: str) -> str | int | float | bool | None:
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def _position(event: Any) -> tuple[int, int]:  # noqa: ANN401 - PyYAML's events are untyped
    return event.start_mark.line + 1, event.start_mark.column + 1


@dataclass(slots=True)
class _Open:
    """A list or mapping that is being read."""

    data: dict[str, Any] | list[Any]
    anchor: str | None
    size: int = 1
    key: str | None = None


@dataclass(slots=True)
class YamlReader:
    """Reads one YAML document and remembers where everything stood.

    Args:
        source: What to call the text in messages.
    """

    source: str
    data: Any = None
    _open: list[_Open] = field(default_factory=list)
    _anchors: dict[str, tuple[Any, int] | None] = field(default_factory=dict)
    _places: dict[tuple[int, str | int], tuple[int, int]] = field(default_factory=dict)
    _documents: int = 0

    def read(self, text: str) -> Any:  # noqa: ANN401 - any data
        """Return the data of the only document.

        Raises:
            PlanError: With line and column.
        """
        try:
            for event in yaml.parse(text, Loader=_PARSER):
                self._take(event)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            what = " ".join(part for part in (error.context, error.problem) if part)
            raise self._error(mark, f"is not YAML: {what}", "correct it there") from error
        except yaml.YAMLError as error:
            raise self._error(None, f"is not YAML: {error}", "correct it there") from error
        return self.data

    def locate(self, path: Sequence[str | int]) -> tuple[int, int] | None:
        """Return line and column (from 1) of what lies at a path in the data, or of the nearest thing around it."""
        found, data = None, self.data
        for key in path:
            place = self._places.get((id(data), key))
            if place is None:
                break
            found, data = place, data[key]
        return found

    def _error(self, mark: Any, what: str, fix: str) -> PlanError:  # noqa: ANN401 - PyYAML has two kinds of marks
        where = f"{self.source}, line {mark.line + 1}, column {mark.column + 1}" if mark is not None else self.source
        return PlanError.of([Problem(where, what, fix)])

    def _take(self, event: Any) -> None:  # noqa: ANN401 - one of PyYAML's untyped events
        if getattr(event, "tag", None) is not None:
            raise self._error(
                event.start_mark, f"has the tag {shown(event.tag)}", "leave tags out: a plan is plain data"
            )
        if isinstance(event, yaml.ScalarEvent):
            plain = event.implicit[0]
            self._put(event, _scalar(event.value) if plain else event.value, 1)
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event)
        elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            self._begin(event, {} if isinstance(event, yaml.MappingStartEvent) else [])
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            self._end(event)
        elif isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise self._error(event.start_mark, "is a second document", "put one plan into a file")

    def _begin(self, event: Any, data: dict[str, Any] | list[Any]) -> None:  # noqa: ANN401 - as above
        if len(self._open) >= DEPTH_MAX:
            raise self._error(event.start_mark, f"is nested deeper than {DEPTH_MAX}", "a plan needs six levels")
        if self._open and isinstance(self._open[-1].data, dict) and self._open[-1].key is None:
            raise self._error(event.start_mark, "has a list or mapping as a key", "a key is a word")
        if event.anchor is not None:
            self._anchors[event.anchor] = None  # known, but not complete: it cannot contain itself
        self._place(event)
        self._open.append(_Open(data, event.anchor))

    def _end(self, event: Any) -> None:  # noqa: ANN401 - as above
        done = self._open.pop()
        if done.anchor is not None:
            self._anchors[done.anchor] = (done.data, done.size)
        self._store(event, done.data, done.size)

    def _alias(self, event: Any) -> None:  # noqa: ANN401 - as above
        known = self._anchors.get(event.anchor)
        if known is None:
            why = "stands inside itself" if event.anchor in self._anchors else "was not given before"
            raise self._error(event.start_mark, f"alias {shown('*' + event.anchor)} {why}", "write the value out")
        self._put(event, *known)

    def _put(self, event: Any, value: Any, size: int) -> None:  # noqa: ANN401 - as above
        """Take a value that is complete: a key, or what belongs to the key or place that is open."""
        anchor = event.anchor if isinstance(event, yaml.ScalarEvent) else None
        if anchor is not None:
            self._anchors[anchor] = (value, size)
        top = self._open[-1] if self._open else None
        if top is not None and isinstance(top.data, dict) and top.key is None:
            top.key = self._key(event, value, top.data)
            self._places[id(top.data), top.key] = _position(event)
            return
        self._place(event)
        self._store(event, value, size)

    def _key(self, event: Any, value: Any, data: dict[str, Any]) -> str:  # noqa: ANN401 - as above
        if not isinstance(value, str):
            raise self._error(event.start_mark, f"has {shown(value)} as a key, which is not text", "put it in quotes")
        if value == "<<":
            raise self._error(event.start_mark, "has a merge key '<<'", "repeat the keys, or use an alias for a value")
        if value in data:
            raise self._error(event.start_mark, f"key {shown(value)} stands twice in one mapping", "keep one of them")
        return value

    def _place(self, event: Any) -> None:  # noqa: ANN401 - as above
        """Remember where an entry of a list stands; what is in a mapping stands where its key does."""
        data = self._open[-1].data if self._open else None
        if isinstance(data, list):
            self._places[id(data), len(data)] = _position(event)

    def _store(self, event: Any, value: Any, size: int) -> None:  # noqa: ANN401 - as above
        if not self._open:
            self.data = value
            return
        top = self._open[-1]
        top.size += size
        if top.size > NODES_MAX:
            raise self._error(
                event.start_mark, f"grows beyond {NODES_MAX} values, aliases counted", "make a smaller plan"
            )
        if isinstance(top.data, list):
            top.data.append(value)
        elif top.key is not None:
            top.data[top.key] = value
            top.key = None
