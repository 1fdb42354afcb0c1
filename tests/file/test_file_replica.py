"""What a process keeps of a store in memory."""

from __future__ import annotations

import pytest

from coordstore.engine import Commit
from coordstore.model import Change, Entry, Record
from coordstore_file.frames import encode
from coordstore_file.replica import _RECENT_BYTES, Replica

LARGE = b"x" * 100_000


@pytest.mark.req("S13")
@pytest.mark.parametrize("kind", ["records", "values"])
def test_the_commits_that_are_kept_whole_are_bounded_in_bytes(kind: str) -> None:
    replica, commits = Replica(), 100
    for revision in range(1, commits + 1):
        record, change = Record("s", revision, revision, LARGE), Change("k", Entry("k", LARGE, revision, 1))
        made = Commit(revision, (), (record,)) if kind == "records" else Commit(revision, (change,))
        replica.evolve(made, revision, encode(made))
    kept = list(replica.commits_after(replica.recent_from) or ())
    assert 0 < len(kept) <= 2 * _RECENT_BYTES // len(LARGE)
    assert [commit.revision for commit in kept] == list(range(replica.recent_from + 1, commits + 1))
    assert [commit.revision for commit in replica.commits_after(commits - 2) or ()] == [commits - 1, commits]
    assert replica.commits_after(replica.recent_from - 1) is None
