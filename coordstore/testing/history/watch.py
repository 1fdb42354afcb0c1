"""Nine validators of watches, after those that etcd's robustness tests run, against the replay.

Each takes one watch and says what breaks its rule: ordered, unique, atomic, reliable, resumable, bookmarkable
(a reset is the complete state of its revision), entries right, filtered by prefix, creations told from changes.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

from coordstore.names import under
from coordstore.testing.history.violation import Violation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from coordstore.model import Batch, Entry
    from coordstore.testing.history.history import Delivered, History
    from coordstore.testing.history.record import Operation
    from coordstore.testing.history.replay import Replay

    Batches = list[Batch]
    Rule = Callable[[Operation, Batches, Replay], Iterator[str]]

__all__ = ["RULES", "check_watches"]


def check_watches(history: History, replay: Replay) -> Iterator[Violation]:
    """Yield what is wrong with watches."""
    compacted = any(call.kind == "compact" for call in history.calls)
    for watch in history.watches:
        batches = watch.batches
        for name, rule in RULES.items():
            for message in rule(watch.source, batches, replay):
                yield Violation(f"watch {name}", message, (watch.source,))
        yield from _resets(watch, batches, compacted)


def _resets(watch: Delivered, batches: Batches, compacted: bool) -> Iterator[Violation]:  # noqa: FBT001 - a fact
    """Yield a reset that nothing called for, and the lack of one."""
    since = watch.source.args["since"]
    if batches and since is None and not batches[0].reset:
        yield Violation("watch bookmarkable", "it begins without a reset, though it had no place to go on from")
    if since is not None and not compacted and any(batch.reset for batch in batches):
        yield Violation("watch resumable", "it was reset, though nothing was compacted", (watch.source,))


def _ordered(source: Operation, batches: Batches, _replay: Replay) -> Iterator[str]:
    last = source.args["since"] or 0
    within = False
    for batch in batches:
        back = batch.revision < last if batch.reset and not within else batch.revision <= last
        if back and not (within and batch.revision == last):
            yield f"revision {batch.revision} comes behind {last}"
        last, within = batch.revision, batch.reset and not batch.complete


def _unique(_source: Operation, batches: Batches, _replay: Replay) -> Iterator[str]:
    seen: set[tuple[str, int]] = set()
    for batch in batches:
        if batch.reset:
            continue
        for change in batch.changes:
            if (change.key, batch.revision) in seen:
                yield f"{change.key} of revision {batch.revision} comes twice"
            seen.add((change.key, batch.revision))


def _atomic(source: Operation, batches: Batches, replay: Replay) -> Iterator[str]:
    for batch in batches:
        if batch.reset:
            continue
        there, come = _changed(replay, source.key, batch.revision), {change.key for change in batch.changes}
        if come != there.keys():
            yield f"revision {batch.revision} is {sorted(there)} there, and came as {sorted(come)}"
        elif not batch.complete:
            yield f"revision {batch.revision} says that it is not complete"


def _reliable(source: Operation, batches: Batches, replay: Replay) -> Iterator[str]:
    for before, batch in pairwise(batches):
        if not batch.reset:
            yield from _missed(replay, source.key, before.revision, batch.revision)


def _resumable(source: Operation, batches: Batches, replay: Replay) -> Iterator[str]:
    since = source.args["since"]
    if batches and since is not None and not batches[0].reset:
        yield from _missed(replay, source.key, since, batches[0].revision)


def _bookmarkable(source: Operation, batches: Batches, replay: Replay) -> Iterator[str]:
    parts: list[Batch] = []
    for batch in batches:
        if parts and (not batch.reset or batch.revision != parts[0].revision):
            yield f"the reset at revision {parts[0].revision} was interrupted by revision {batch.revision}"
            parts = []
        if batch.reset:
            parts.append(batch)
        if parts and batch.complete:
            yield from _cut(source.key, parts, replay)
            parts = []


def _cut(prefix: str, parts: Batches, replay: Replay) -> Iterator[str]:
    at = parts[0].revision
    come = [change.entry for part in parts for change in part.changes]
    there = replay.under(prefix, at)
    if sorted(come, key=_key_of) != there:
        odd = [entry for entry in (*come, *there) if entry not in come or entry not in there]
        yield f"the reset at revision {at} differs from the state then in {odd or 'order'}"


def _right(_source: Operation, batches: Batches, replay: Replay) -> Iterator[str]:
    for batch in batches:
        for change in batch.changes:
            there = replay.entry(change.key, batch.revision)
            if change.entry != there:
                yield f"{change.key} came as {change.entry} at revision {batch.revision}, and is {there}"


def _filtered(source: Operation, batches: Batches, _replay: Replay) -> Iterator[str]:
    for batch in batches:
        strange = [change.key for change in batch.changes if not under(source.key, change.key)]
        if strange:
            yield f"revision {batch.revision} brings {strange}, which {source.key!r} does not cover"


def _creations(_source: Operation, batches: Batches, replay: Replay) -> Iterator[str]:
    for batch in batches:
        for change in batch.changes if not batch.reset else ():
            before = replay.entry(change.key, batch.revision - 1)
            if change.entry is None and before is None:
                yield f"revision {batch.revision} deletes {change.key}, which was absent"
            elif change.entry and (change.entry.create_revision == change.entry.revision) != (before is None):
                yield f"revision {batch.revision} shows {change.entry} as {_made(change.entry)}; before it was {before}"


def _made(entry: Entry) -> str:
    return "created" if entry.create_revision == entry.revision else "changed"


def _key_of(entry: Entry | None) -> str:
    return entry.key if entry else ""


def _changed(replay: Replay, prefix: str, revision: int) -> dict[str, Entry | None]:
    commit = replay.commits.get(revision)
    return {key: entry for key, entry in commit.changes.items() if under(prefix, key)} if commit else {}


def _missed(replay: Replay, prefix: str, since: int, until: int) -> Iterator[str]:
    """Yield the revisions between two that changed something under a prefix."""
    missed = [revision for revision in replay.between(since, until) if _changed(replay, prefix, revision)]
    if missed:
        yield f"between {since} and {until} revisions {missed} are missing"


RULES: Final[dict[str, Rule]] = {
    "ordered": _ordered,
    "unique": _unique,
    "atomic": _atomic,
    "reliable": _reliable,
    "resumable": _resumable,
    "bookmarkable": _bookmarkable,
    "entries right": _right,
    "filter": _filtered,
    "creations": _creations,
}
"""The nine validators by name."""
