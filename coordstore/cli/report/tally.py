"""What one attempt's events add up to: counts, cost, verdicts, the last words, and the events worth showing."""

from __future__ import annotations

import math
import re
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from coordstore.cli.telling import tell

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Mark", "Tally", "Verdict"]

FIRST: Final = 40
LAST: Final = 160
"""Events of an attempt that are shown: so many from its beginning, so many from its end."""
TICKS: Final = 300
"""Tool calls that get a tick of their own on the timeline."""
WORDS: Final = 3
TEXT_MAX: Final = 4000
"""Characters that are shown of one event."""

_STATUS: Final = r"\b(?:status|code|error|http(?:/[\d.]+)?)\W{0,4}(?:code\W{0,3})?"
API_ERRORS: Final = {
    "auth": re.compile(_STATUS + r"40[13]\b|unauthorized|authentication|invalid (?:x-)?api[ -_]?key", re.IGNORECASE),
    "model": re.compile(_STATUS + r"404\b|model_not_found|unknown model", re.IGNORECASE),
    "rate-limit": re.compile(_STATUS + r"429\b|rate.?limit|too many requests|quota", re.IGNORECASE),
    "server": re.compile(_STATUS + r"5\d\d\b|overloaded|internal server error|bad gateway", re.IGNORECASE),
    "network": re.compile(r"ECONNREFUSED|ECONNRESET|ENOTFOUND|EAI_AGAIN|connection (?:refused|reset)", re.IGNORECASE),
}
"""What tells that a model's API, not the agent's work, is in trouble; the first that fits counts."""


class Mark(NamedTuple):
    """Something with a place on the timeline: when (as recorded), of which type, what, and whether it was good."""

    at: str
    kind: str
    text: str
    good: bool | None = None


class Verdict(NamedTuple):
    """What somebody else found: a check, the merge; whether it was good, in words, and the output."""

    good: bool
    text: str
    output: str = ""


@dataclass(slots=True)
class Tally:
    """Takes in the events of one attempt in order; holds no more of them than a page shows."""

    steps: int = 0
    tool_calls: int = 0
    tool_failures: int = 0
    errors: int = 0
    api_errors: Counter[str] = field(default_factory=Counter)
    files: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    left_out: int = 0
    verdicts: list[Verdict] = field(default_factory=list)
    calls: list[Mark] = field(default_factory=list)
    last_errors: deque[str] = field(default_factory=lambda: deque(maxlen=WORDS))
    last_words: deque[str] = field(default_factory=lambda: deque(maxlen=WORDS))
    first: list[Mark] = field(default_factory=list)
    last: deque[Mark] = field(default_factory=lambda: deque(maxlen=LAST))
    _used: dict[str, float] = field(default_factory=dict)

    def take(self, event: Mapping[str, Any]) -> None:
        """Count one event."""
        kind, good = str(event.get("type")), event.get("ok")
        mark = Mark(str(event.get("at") or ""), kind, tell(event)[:TEXT_MAX], good if isinstance(good, bool) else None)
        self._keep(mark)
        taker = getattr(self, f"_take_{kind}", None)
        if taker is not None:
            taker(event, mark)

    def _keep(self, mark: Mark) -> None:
        if len(self.first) < FIRST:
            self.first.append(mark)
            return
        self.left_out += len(self.last) == LAST
        self.last.append(mark)

    def _take_step(self, event: Mapping[str, Any], _mark: Mark) -> None:
        self.steps = max(self.steps, _count(event.get("step")))

    def _take_tool_call(self, _event: Mapping[str, Any], mark: Mark) -> None:
        self.tool_calls += 1
        if len(self.calls) < TICKS:
            self.calls.append(mark)

    def _take_tool_result(self, _event: Mapping[str, Any], mark: Mark) -> None:
        if mark.good is False:
            self.tool_failures += 1
            if len(self.calls) < TICKS:
                self.calls.append(mark)

    def _take_error(self, _event: Mapping[str, Any], mark: Mark) -> None:
        self.errors += 1
        if kind := next((kind for kind, pattern in API_ERRORS.items() if pattern.search(mark.text)), None):
            self.api_errors[kind] += 1
        self.last_errors.append(mark.text)

    def _take_message(self, _event: Mapping[str, Any], mark: Mark) -> None:
        self.last_words.append(mark.text)

    def _take_files(self, event: Mapping[str, Any], _mark: Mark) -> None:
        self.files = _count(event.get("count"))

    def _take_completion(self, event: Mapping[str, Any], mark: Mark) -> None:
        self.verdicts.append(Verdict(event.get("claim") == "complete", f"the agent said {mark.text}"))

    def _take_check(self, event: Mapping[str, Any], mark: Mark) -> None:
        said = "check passed" if mark.good else f"check failed ({event.get('code')})"
        output = str(event.get("output") or "")[-TEXT_MAX:]
        self.verdicts.append(Verdict(mark.good is True, f"{said}: {event.get('command', '')}", output))

    def _take_integrated(self, event: Mapping[str, Any], mark: Mark) -> None:
        self.verdicts.append(Verdict(event.get("merged") is True, mark.text))

    def _take_usage(self, event: Mapping[str, Any], _mark: Mark) -> None:
        """Add what was used since the event before; the counters begin anew when another program takes over."""
        self.input_tokens += int(self._more(event, "input_tokens"))
        self.output_tokens += int(self._more(event, "output_tokens"))
        if _amount(event.get("cost_usd")) is not None:
            self.cost_usd = (self.cost_usd or 0.0) + self._more(event, "cost_usd")

    def _more(self, event: Mapping[str, Any], name: str) -> float:
        now, before = _amount(event.get(name)) or 0.0, self._used.get(name, 0.0)
        self._used[name] = now
        return now - before if now >= before else now


def _amount(value: object) -> float | None:
    """Return a number that can be added up, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value < 1e15 and math.isfinite(value) else None  # noqa: PLR2004  (more is no count)


def _count(value: object) -> int:
    return int(_amount(value) or 0)
