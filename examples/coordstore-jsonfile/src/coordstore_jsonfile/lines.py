"""One commit as one line of JSON, and back; bytes stand there as Latin-1, so ASCII stays readable."""

from __future__ import annotations

import json
from typing import Any

from coordstore.engine import Commit
from coordstore.model import Change, Entry, Record

__all__ = ["commit_of", "line_of"]

_CODE = "latin-1"


def line_of(commit: Commit) -> bytes:
    """Return a commit as a line."""
    entries = [(change.key, change.entry) for change in commit.changes]
    parts = {
        "revision": commit.revision,
        "puts": [[key, e.value.decode(_CODE), e.create_revision, e.lease] if e else [key] for key, e in entries],
        "records": [[record.stream, record.sequence, record.data.decode(_CODE)] for record in commit.records],
        "trimmed": dict(commit.trimmed),
        "dropped": list(commit.dropped),
    }
    return json.dumps({name: part for name, part in parts.items() if part}).encode() + b"\n"


def commit_of(parts: dict[str, Any]) -> Commit:
    """Return the commit of a line."""
    at = parts["revision"]
    puts = [
        (key, Entry(key, rest[0].encode(_CODE), at, *rest[1:]) if rest else None)
        for key, *rest in parts.get("puts", ())
    ]
    records = [Record(name, number, at, data.encode(_CODE)) for name, number, data in parts.get("records", ())]
    changes = tuple(Change(key, entry) for key, entry in puts)
    return Commit(at, changes, tuple(records), parts.get("trimmed", {}), tuple(parts.get("dropped", ())))
