"""One window of work by a peer, run in the peer's own environment: ``python peer_loops.py KIND FOLDER SECONDS``.

Prints the operations a second. Imports nothing of this project; each peer is set to what it does to survive a
killed process, and not asked to survive a power cut.
"""

from __future__ import annotations

import sqlite3
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Operation = Callable[[], Any]

RECORD = b'{"type":"step","n":1,"text":"' + b"x" * 160 + b'"}'


def raw_sqlite(folder: Path) -> Operation:
    """One row for each commit, in a table of streams such as one would write by hand."""
    database = sqlite3.connect(folder / "raw.db", isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")
    database.execute(
        "CREATE TABLE IF NOT EXISTS records (stream TEXT, sequence INTEGER, data BLOB, PRIMARY KEY (stream, sequence))"
    )
    stream = f"events/{time.monotonic_ns()}"
    sequence = 0

    def insert() -> None:
        nonlocal sequence
        sequence += 1
        database.execute("INSERT INTO records VALUES (?, ?, ?)", (stream, sequence, RECORD))

    return insert


def litequeue(folder: Path) -> Operation:
    """Put a message."""
    queue = import_module("litequeue").LiteQueue(str(folder / "litequeue.db"))
    return lambda: queue.put(RECORD.decode())


def huey_sqlite(folder: Path) -> Operation:
    """Enqueue a message."""
    storage = import_module("huey.storage").SqliteStorage(filename=str(folder / "huey.db"))
    return lambda: storage.enqueue(RECORD)


def huey_file(folder: Path) -> Operation:
    """Enqueue a message: a file for each."""
    storage = import_module("huey.storage").FileStorage("queue", str(folder / "huey"))
    return lambda: storage.enqueue(RECORD)


def persist_queue(folder: Path) -> Operation:
    """Put an item: chunks and an information file that is replaced."""
    queue = import_module("persistqueue").Queue(str(folder / "persist"), tempdir=str(folder))
    return lambda: queue.put(RECORD)


def diskcache(folder: Path) -> Operation:
    """Append to a deque."""
    queue = import_module("diskcache").Deque(directory=str(folder / "diskcache"))
    return lambda: queue.append(RECORD)


def tooz(folder: Path) -> Operation:
    """Take a lock and let it go: nothing is stored."""
    coordinator = import_module("tooz.coordination").get_coordinator(f"file://{folder / 'tooz'}", b"bench")
    coordinator.start()
    lock = coordinator.get_lock(b"lock")

    def turn() -> None:
        if not (lock.acquire() and lock.release()):
            message = "the lock was not taken or not let go"
            raise RuntimeError(message)

    return turn


KINDS = {
    made.__name__: made for made in (raw_sqlite, litequeue, huey_sqlite, huey_file, persist_queue, diskcache, tooz)
}


def rate(operation: Callable[[], Any], seconds: float) -> float:
    """Return how often a second it is done, after a few that are not counted."""
    for _ in range(10):
        operation()
    count = 0
    began = now = time.perf_counter()
    while now < began + seconds:
        operation()
        count += 1
        now = time.perf_counter()
    return count / (now - began)


if __name__ == "__main__":
    print(rate(KINDS[sys.argv[1]](Path(sys.argv[2])), float(sys.argv[3])))
