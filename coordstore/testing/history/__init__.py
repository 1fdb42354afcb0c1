"""The history checker: record what clients of a store saw, then decide whether that can be true.

`RecordingStore` writes down every call, `work` makes random ones, `check` judges the `History`. See
``docs/history-checker.md``.
"""

from coordstore.testing.history.history import History
from coordstore.testing.history.observing import final_phase, observing, run
from coordstore.testing.history.record import Operation, Recorder, Ticks, load
from coordstore.testing.history.recording import RecordedLease, RecordingStore
from coordstore.testing.history.report import Verdict, check
from coordstore.testing.history.tier_b import Bounds
from coordstore.testing.history.violation import Violation
from coordstore.testing.history.workload import Shape, work

__all__ = [
    "Bounds",
    "History",
    "Operation",
    "RecordedLease",
    "Recorder",
    "RecordingStore",
    "Shape",
    "Ticks",
    "Verdict",
    "Violation",
    "check",
    "final_phase",
    "load",
    "observing",
    "run",
    "work",
]
