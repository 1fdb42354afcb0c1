"""Operation records: what a client called, when, and what came back, one JSON line each.

Rules that make a history checkable, kept here and in `RecordingStore`:

- a client does one operation at a time; after an unknown outcome it goes on under a new name, because the old
  operation may still take effect at any time later: its end is open;
- times are nanoseconds of one monotonic clock that all processes of the host share;
- every value written is unique for its key, so a value found tells who wrote it;
- a line is written when an operation begins and again when it ends: the later one counts, and an operation
  whose process was killed in between is what it is, unknown.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self, TextIO

from coordstore.errors import Conflict, CoordError, Fenced, InvalidArgument, LeaseLost, OutcomeUnknown
from coordstore.model import Batch, Change, Entry, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path
    from types import TracebackType

    from coordstore.store import Clock

__all__ = [
    "FAILED",
    "OK",
    "OPEN",
    "UNKNOWN",
    "Operation",
    "Recorder",
    "Ticks",
    "batch_of",
    "data",
    "entry_of",
    "load",
    "outcome_of",
    "record_of",
    "record_of_row",
    "row",
    "text",
]

OK: Final = "ok"
FAILED: Final = "failed"
UNKNOWN: Final = "unknown"
OPEN: Final = "open"

_FIELDS = ("client", "op_id", "kind", "key", "args", "call_ns", "ret_ns", "outcome", "rev", "value", "error")


@dataclass(slots=True)
class Operation:
    """One call of one client.

    Args:
        client: Who called; a client has one operation at a time.
        op_id: Unique in the history.
        kind: The method's name; ``batch`` and ``record`` are what a watch and a follow delivered.
        key: The key, prefix or stream it is about (the first of several); empty when there is none.
        args: What was asked. All writes, however called, look alike: ``writes`` as [key, value or None for a
            delete, lease], ``checks`` as [key, revision, create revision], ``appends`` as [stream, data] and
            ``fence`` as a check or None.
        call_ns: When it was called.
        ret_ns: When it returned; None: never, or with an unknown outcome, so it may still take effect.
        outcome: ``ok``, ``failed`` (certainly not applied), ``unknown``; ``open`` while it runs.
        rev: The revision it returned, or that of the entry or cut it read.
        value: What it returned or, for an error, that error's details.
        error: The error's class.
    """

    client: str
    op_id: str
    kind: str
    key: str
    args: dict[str, Any]
    call_ns: int
    ret_ns: int | None = None
    outcome: str = OPEN
    rev: int | None = None
    value: Any = None
    error: str = ""

    def __str__(self) -> str:
        """Show it on one line."""
        span = f"{self.call_ns}…{'' if self.ret_ns is None else self.ret_ns}"
        asked = json.dumps({name: value for name, value in self.args.items() if value}, separators=(",", ":"))
        came = "" if self.value is None else f" {json.dumps(self.value, separators=(',', ':'))[:200]}"
        at = "" if self.rev is None else f" @{self.rev}"
        return f"[{span}] {self.op_id} {self.kind} {self.key} {asked} -> {self.outcome}{at}{came} {self.error}".rstrip()

    def line(self) -> str:
        """Return it as one line of JSON."""
        return json.dumps({name: getattr(self, name) for name in _FIELDS}, separators=(",", ":")) + "\n"


class Recorder:
    """Collects the operations of one process; ``with`` closes its file.

    Args:
        path: A file to write them to as well, appended line by line; None keeps them in memory only.
        now_ns: The clock.
    """

    def __init__(self, path: Path | None = None, now_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self.operations: list[Operation] = []
        self.now_ns = now_ns
        self._file: TextIO | None = path.open("a", encoding="utf-8", buffering=1) if path else None

    def __enter__(self) -> Self:
        """Return the recorder."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def begin(self, client: str, op_id: str, kind: str, key: str, args: dict[str, Any]) -> Operation:
        """Note that an operation begins."""
        made = Operation(client, op_id, kind, key, args, self.now_ns())
        self.operations.append(made)
        self._write(made)
        return made

    def end(self, operation: Operation, outcome: str) -> None:
        """Note how an operation ended."""
        operation.outcome = outcome
        operation.ret_ns = None if outcome == UNKNOWN else self.now_ns()
        self._write(operation)

    def deliver(self, source: Operation, number: int, kind: str, rev: int, value: object) -> None:
        """Note what a watch or follow delivered, now."""
        now = self.now_ns()
        made = Operation(source.op_id, f"{source.op_id}/{number}", kind, source.key, {}, now, now, OK, rev, value)
        self.operations.append(made)
        self._write(made)

    def note(self, **facts: object) -> None:
        """Note facts of the run, such as its seed."""
        self.end(self.begin("run", f"run:{len(self.operations)}", "run", "", facts), OK)

    def _write(self, operation: Operation) -> None:
        # In line, not in a thread: the line must be with the kernel before the operation goes on, or a kill hides it.
        if self._file is not None:
            self._file.write(operation.line())


class Ticks:
    """A virtual clock's nanoseconds, strictly increasing, so that a clock that stands still keeps the order.

    Args:
        clock: What gives the seconds.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last = 0

    def __call__(self) -> int:
        """Return the time, later than any returned before."""
        self._last = max(self._last + 1, round(self._clock.now() * 1e9))
        return self._last


def load(paths: Iterable[Path]) -> list[Operation]:
    """Return the operations of several processes' files, merged by the time of their calls.

    A last line that a kill cut short is left out; any other that is not a record is refused.

    Raises:
        InvalidArgument: A file is not a recording.
    """
    found: dict[str, Operation] = {}
    for path in paths:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        for number, line in enumerate(lines, 1):
            if number == len(lines) and not line.endswith("\n"):
                break
            try:
                made = Operation(**json.loads(line))
            except (TypeError, ValueError) as error:
                message = f"{path}:{number} is not an operation record: {error}"
                raise InvalidArgument(message) from error
            found[made.op_id] = made
    return sorted(found.values(), key=lambda operation: operation.call_ns)


def outcome_of(error: BaseException) -> tuple[str, object]:
    """Return an error's outcome class and its details."""
    match error:
        case OutcomeUnknown():
            return UNKNOWN, {"op": error.op}
        case Conflict():
            return FAILED, {"revisions": error.revisions}
        case Fenced():
            return FAILED, {"key": error.key, "token": error.token, "current": error.current}
        case LeaseLost():
            return FAILED, {"lease": error.lease}
        case CoordError():
            return FAILED, None
        case _:
            return UNKNOWN, None


def text(value: bytes) -> str:
    """Return bytes as text that JSON carries and `data` turns back, whatever they are."""
    return value.decode("utf-8", "surrogateescape")


def data(value: str) -> bytes:
    """Return the bytes of a text made by `text`."""
    return value.encode("utf-8", "surrogateescape")


def row(entry: Entry) -> list[Any]:
    """Return an entry as a row: key, value, revision, create revision, lease."""
    return [entry.key, text(entry.value), entry.revision, entry.create_revision, entry.lease]


def entry_of(found: list[Any]) -> Entry:
    """Return the entry of a row."""
    return Entry(found[0], data(found[1]), found[2], found[3], found[4])


def batch_of(operation: Operation) -> Batch:
    """Return the batch that a ``batch`` operation carries."""
    changes = [Change(key, None if found is None else entry_of(found)) for key, found in operation.value["changes"]]
    return Batch(operation.rev or 0, operation.value["reset"], operation.value["complete"], changes)


def record_of_row(stream: str, found: list[Any]) -> Record:
    """Return the record of a row that a read returned: sequence, revision, data."""
    return Record(stream, found[0], found[1], data(found[2]))


def record_of(operation: Operation) -> Record:
    """Return the record that a ``record`` operation carries."""
    stream, sequence, found = operation.value
    return Record(stream, sequence, operation.rev or 0, data(found))
