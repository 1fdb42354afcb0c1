"""Events as lines for people, read straight from their records: no event model is imported for looking."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from coordstore.cli.text import clean, clip, pad
from coordstore.cli.times import local_time

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from coordstore.cli.text import Style

__all__ = ["event_line", "parse_event", "tell"]

COLOURS: Final = {"error": "red", "state": "bold", "integrated": "green", "check": "blue", "verdict": "red"}
TYPE_WIDTH: Final = 11
_DECODER: Final = json.JSONDecoder(parse_constant=str)


def parse_event(data: bytes) -> dict[str, Any]:
    """Return an event's fields; of what is no event, its text as an ``unknown`` one."""
    try:
        found = _DECODER.decode(data.decode())
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict) and isinstance(found.get("type"), str):
        return found
    return {"type": "unknown", "raw": data.decode(errors="replace")}


def event_line(agent: str, event: Mapping[str, Any], style: Style, agent_width: int = 10) -> str:
    """Return an event in one line that fits the style's width; agents stand in a column of `agent_width`."""
    kind = clean(str(event["type"]))
    at = event.get("at")
    time = local_time(at if isinstance(at, str) else None)
    head = f"{time}  {pad(agent, agent_width)}  "
    text = clip(tell(event), style.width - len(head) - TYPE_WIDTH - 2, style.mark)
    return f"{head}{style.paint(pad(kind, TYPE_WIDTH), COLOURS.get(kind, 'dim'))}  {text}".rstrip()


def tell(event: Mapping[str, Any]) -> str:
    """Return what an event says, clean and in one line."""
    teller = TELLERS.get(str(event.get("type")), _anything)
    return " ".join(clean(teller(event)).split())


def _text(event: Mapping[str, Any], *names: str, between: str = " ") -> str:
    """Return the named fields that are there, joined."""
    return between.join(str(event[name]) for name in names if event.get(name) not in (None, ""))


def _names(event: Mapping[str, Any], name: str) -> str:
    found = event.get(name)
    return ", ".join(map(str, found)) if isinstance(found, list) else ""


def _anything(event: Mapping[str, Any]) -> str:
    """Tell of an event of a kind that is not known here: its fields."""
    return "  ".join(f"{name}={value}" for name, value in event.items() if name not in ("type", "at"))


def _assigned(event: Mapping[str, Any]) -> str:
    hint = f"; hint: {event['hint']}" if event.get("hint") else ""
    return f"attempt {event.get('attempt', '?')} from {str(event.get('base', '?'))[:12]}{hint}"


def _state(event: Mapping[str, Any]) -> str:
    change = f"{event.get('old', '?')} → {event.get('new', '?')}"
    return f"{change}: {event['reason']}" if event.get("reason") else change


def _check(event: Mapping[str, Any]) -> str:
    verdict = "passed" if event.get("ok") else f"failed ({event.get('code')})"
    return f"{verdict}: {event.get('command', '')}  {event.get('output', '')}"


def _integrated(event: Mapping[str, Any]) -> str:
    if event.get("merged"):
        return f"merged as {str(event.get('commit') or '?')[:12]}"
    return f"left out: {_text(event, 'reason')}  {_names(event, 'files')}"


def _result(event: Mapping[str, Any]) -> str:
    return f"{_text(event, 'name')} {'ok' if event.get('ok') else 'failed'}  {_text(event, 'summary')}"


def _usage(event: Mapping[str, Any]) -> str:
    cost = event.get("cost_usd")
    tokens = f"{event.get('input_tokens', 0)} tokens in, {event.get('output_tokens', 0)} out"
    return tokens if cost is None else f"{tokens}, {cost} USD"


def _step(event: Mapping[str, Any]) -> str:
    return _text(event, "step", "text")


def _pulse(event: Mapping[str, Any]) -> str:
    seconds = f"quiet for {event.get('quiet', '?')} s, {event.get('still', '?')} s since its last step"
    return f"{seconds}; {event.get('cpu', '?')} s of processor time, {event.get('output', '?')} bytes printed"


TELLERS: Final[dict[str, Callable[[Mapping[str, Any]], str]]] = {
    "assigned": _assigned,
    "state": _state,
    "note": lambda event: _text(event, "text"),
    "step": _step,
    "tool_call": lambda event: _text(event, "name", "summary"),
    "tool_result": _result,
    "files": lambda event: f"{event.get('count', '?')} changed: {_names(event, 'paths')}",
    "message": lambda event: _text(event, "text"),
    "error": lambda event: _text(event, "text"),
    "usage": _usage,
    "progress": lambda event: _text(event, "status", "next_steps", between="; next: "),
    "completion": lambda event: _text(event, "claim", "text", between=": "),
    "check": _check,
    "leftovers": lambda event: f"killed what it left behind: {_names(event, 'processes')}",
    "integrated": _integrated,
    "model_call": lambda _event: "asked its model",
    "pulse": _pulse,
    "verdict": lambda event: f"{_text(event, 'detector', 'action')}: {_text(event, 'reason')}",
    "watching": lambda event: f"{_text(event, 'profile')} is watched",
    "review": lambda event: f"{_text(event, 'state')} by {_text(event, 'by')}  {_text(event, 'comment')}",
    "delegated": lambda event: _text(event, "task", "name", between=": "),
    "waiting": lambda event: f"asleep until {_names(event, 'tasks')} ends",
    "woken": lambda event: _text(event, "why"),
    "returned": lambda event: _text(event, "task", "state", "commit", "reason"),
    "unknown": lambda event: _text(event, "raw"),
}
"""How each type of event is told; others by their fields."""
