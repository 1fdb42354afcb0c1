"""The write-ahead log's file keeps its length; how long the log in it is, is told by its frames."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from coordstore_sqlite.faults import checksum, record_checksum
from coordstore_sqlite.wal import WriteAheadLog

if TYPE_CHECKING:
    from pathlib import Path

LIMIT = 40_000


def _connect(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode=WAL", "wal_autocheckpoint=0"):
        database.execute(f"PRAGMA {pragma}")
    return database


def _write(database: sqlite3.Connection, size: int) -> None:
    database.execute("INSERT INTO t VALUES (?)", (b"x" * size,))


def _checkpoint(database: sqlite3.Connection) -> int:
    return int(database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1])


@pytest.mark.req("S13")
def test_a_log_that_was_begun_anew_is_short_though_its_file_is_long(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    with closing(_connect(path)) as database:
        database.execute("CREATE TABLE t (data)")
        log = WriteAheadLog(tmp_path / "t.db-wal")
        assert not log.due(LIMIT)
        _write(database, 2 * LIMIT)
        assert log.due(LIMIT)
        log.checkpointed(_checkpoint(database), LIMIT)
        _write(database, 10)
        assert (tmp_path / "t.db-wal").stat().st_size > LIMIT
        assert not log.due(LIMIT)
        _write(database, 2 * LIMIT)
        assert log.due(LIMIT)
        assert not log.overlong(LIMIT)
        _write(database, 4 * LIMIT)
        assert log.overlong(LIMIT)


@pytest.mark.req("S13")
def test_a_log_that_grows_long_within_its_file_is_found_due_soon(tmp_path: Path) -> None:
    with closing(_connect(tmp_path / "t.db")) as database:
        database.execute("CREATE TABLE t (data)")
        log = WriteAheadLog(tmp_path / "t.db-wal")
        _write(database, 4 * LIMIT)
        assert log.due(LIMIT)
        log.checkpointed(_checkpoint(database), LIMIT)
        length = (tmp_path / "t.db-wal").stat().st_size
        _write(database, 10)
        assert [log.due(LIMIT) for _ in range(10)] == [False] * 10
        _write(database, 2 * LIMIT)
        assert (tmp_path / "t.db-wal").stat().st_size == length
        assert any(log.due(LIMIT) for _ in range(8))


@pytest.mark.req("S13")
def test_while_a_reader_keeps_the_log_from_being_begun_anew_it_is_due_again_only_a_quarter_later(
    tmp_path: Path,
) -> None:
    path = tmp_path / "t.db"
    with closing(_connect(path)) as database, closing(_connect(path)) as reader:
        database.execute("CREATE TABLE t (data)")
        _write(database, LIMIT)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM t").fetchone()
        log = WriteAheadLog(tmp_path / "t.db-wal")
        assert log.due(LIMIT)
        _write(database, 10)
        log.checkpointed(_checkpoint(database), LIMIT)
        _write(database, 10)
        assert not log.due(LIMIT)
        _write(database, LIMIT // 2)
        assert log.due(LIMIT)


@pytest.mark.req("S13")
@pytest.mark.parametrize("stream", ["a", "@repo/x-1.y/z_2"])
def test_the_checksum_of_a_record_is_that_of_any_row(stream: str) -> None:
    assert record_checksum(b"data", stream, 7, 2**60) == checksum(b"data", stream, 7, 2**60)
