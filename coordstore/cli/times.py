"""Times as people read and write them; what is stored is RFC 3339 in UTC."""

from __future__ import annotations

import functools
import re
from datetime import UTC, datetime, timedelta
from typing import Final

__all__ = ["age", "local_day", "local_time", "moment", "parse_time", "span"]

_SPAN = re.compile(r"(\d{1,9})(s|m|h|d)")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_STORED = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d)(:[0-5]\d)(?:\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)
_BLANK: Final = " " * 8
_CLOCK = re.compile(r"(\d{1,2}):(\d\d)(?::(\d\d))?")


def parse_time(text: str | None) -> datetime | None:
    """Return the moment of a stored time, or None when there is none."""
    try:
        found = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def moment(text: str, now: datetime) -> datetime | None:
    """Return the moment that a person means: RFC 3339, ``15m`` ago, or a clock time of the last 24 hours; else None."""
    if match := _SPAN.fullmatch(text):
        return now - timedelta(seconds=int(match[1]) * _UNITS[match[2]])
    if match := _CLOCK.fullmatch(text):
        hour, minute, second = (int(part or 0) for part in match.groups())
        try:
            found = now.astimezone().replace(hour=hour, minute=minute, second=second, microsecond=0)
        except ValueError:
            return None
        return found if found <= now else found - timedelta(days=1)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found.astimezone()


def span(seconds: float) -> str:
    """Return a length of time in few columns: ``8s``, ``3m12s``, ``2h05m``, ``4d11h``."""
    minutes, second = divmod(max(0, int(seconds)), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days}d{hour:02d}h"
    if hours:
        return f"{hours}h{minute:02d}m"
    return f"{minutes}m{second:02d}s" if minutes else f"{second}s"


def age(started: str | None, ended: str | None, now: datetime) -> str:
    """Return how long something ran, or has been running; empty when it never started."""
    begin = parse_time(started)
    return span(((parse_time(ended) or now) - begin).total_seconds()) if begin else ""


def local_day(text: str | None) -> str:
    """Return the date, here, of a stored time; empty when there is none."""
    return _local(text)[0]


def local_time(text: str | None) -> str:
    """Return the clock time, here, of a stored time; blanks when there is none."""
    return _local(text)[1]


def _local(text: str | None) -> tuple[str, str]:
    if match := _STORED.fullmatch(text or ""):
        day, minute = _minute(match[1] + match[3])
        return day, minute + match[2] if minute else _BLANK
    found = parse_time(text)
    return _said(found, "seconds") if found else ("", _BLANK)


@functools.lru_cache(maxsize=256)
def _minute(text: str) -> tuple[str, str]:
    """Return date and minute, here, of a stored minute: what thousands of lines say is worked out once for each."""
    found = parse_time(text)
    return _said(found, "minutes") if found else ("", "")


def _said(moment: datetime, precision: str) -> tuple[str, str]:
    here = moment.astimezone()
    return here.date().isoformat(), here.time().isoformat(precision)
