"""Attribution: which operation made which revision of the log.

Values are unique, so a put or a record names its writer. A commit that only deletes names nobody: it belongs to
the transaction that returned its revision and can have done nothing else, or to one of the deletes (and prefix
deletes, and lease ends) that could have made it within their time, and they are matched so that each delete that
said it deleted has one.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from typing import TYPE_CHECKING, Final, TypeAlias

from coordstore.model import Check
from coordstore.names import under
from coordstore.testing.history.matching import Matching
from coordstore.testing.history.record import FAILED, OK, UNKNOWN, data
from coordstore.testing.history.violation import Violation

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from coordstore.testing.history.history import History
    from coordstore.testing.history.record import Operation
    from coordstore.testing.history.replay import Replay

__all__ = ["WRITERS", "Attribution"]

WRITERS: Final = frozenset({"put", "create", "delete", "transact", "append", "delete_prefix"})
"""The kinds of operations that make revisions."""

Effects: TypeAlias = "tuple[dict[str, tuple[bytes, int | None] | None], list[tuple[str, bytes]]]"
Window: TypeAlias = "tuple[int, int]"


class Attribution:
    """Who made which revision.

    Attributes:
        revision_of: The revision that an operation made, by its op id.
        owner: The operation that made a revision.
        ends: The revision at which a lease ended, by its id, where keys hung on it.
        violations: What cannot be.
        void: Why the history cannot be judged.
    """

    def __init__(self, history: History, replay: Replay) -> None:
        self.revision_of: dict[str, int] = {}
        self.owner: dict[int, Operation] = {}
        self.ends: dict[int, int] = {}
        self.violations: list[Violation] = []
        self.void: list[str] = []
        self._replay = replay
        self._writers = [call for call in history.calls if call.kind in WRITERS]
        self._pending: set[int] = set()
        self._by_value()
        self._by_answer()

    # --- what is certain --------------------------------------------------------------------------------

    def _by_value(self) -> None:
        """Give each revision that puts or appends to the operation whose values it carries."""
        index = self._index()
        for revision in self._replay.revisions:
            commit = self._replay.commits[revision]
            puts = [(key, entry.value) for key, entry in commit.asked.items() if entry]
            found = [*puts, *((f"stream {record.stream}", record.data) for record in commit.records)]
            if not found and commit.asked:
                self._pending.add(revision)
            self._own(revision, [(name, index.get((name, value))) for name, value in found])

    def _index(self) -> dict[tuple[str, bytes], Operation]:
        index: dict[tuple[str, bytes], Operation] = {}
        for call in self._writers:
            puts = [(key, data(value)) for key, value, _ in call.args["writes"] if value is not None]
            for name in [*puts, *((f"stream {stream}", data(value)) for stream, value in call.args["appends"])]:
                if index.setdefault(name, call) is not call:
                    self.void.append(f"two operations wrote {name[1]!r} to {name[0]}: values must be unique")
        return index

    def _own(self, revision: int, found: list[tuple[str, Operation | None]]) -> None:
        owners = {call.op_id: call for _, call in found if call is not None}
        strange = sorted({name for name, call in found if call is None})
        if strange:
            self._wrong(
                "invented write", f"revision {revision} has something in {', '.join(strange)} that nobody wrote"
            )
        if len(owners) > 1:
            self._wrong("two in one", f"revision {revision} holds what several operations wrote", *owners.values())
        for call in owners.values():
            before = self.revision_of.get(call.op_id)
            if before is not None:
                self._wrong("applied twice", f"in pieces or twice: at revisions {before} and {revision}", call)
            elif call.outcome == FAILED:
                self._wrong("failed but applied", f"it was reported as not applied, and is revision {revision}", call)
            self.revision_of.setdefault(call.op_id, revision)
            self.owner.setdefault(revision, call)

    def _by_answer(self) -> None:
        """Compare with the revisions that were returned."""
        for call in self._writers:
            if call.outcome == OK and call.kind != "delete_prefix" and not self._answered(call):
                message = f"acknowledged, and revision {call.rev} of the log does not show it"
                self._wrong("lost write", message if call.rev else "acknowledged, and not to be found", call)
        for revision, call in self.owner.items():
            self._compare(revision, call)

    def _answered(self, call: Operation) -> bool:
        at = self.revision_of.get(call.op_id)
        if at is None:
            # Deletes are matched later; and they may have found nothing to do.
            if call.rev in self._pending and self._explains(call, call.rev) and not self._idle(call, call.rev):
                self._give(call.rev, call)
            return only_deletes(call)
        if call.rev not in (None, at):
            self._wrong("wrong revision", f"it returned revision {call.rev} and is {at} in the log", call)
        return True

    def _idle(self, call: Operation, revision: int) -> bool:
        """Tell whether an operation would have found nothing to do just after a revision."""
        absent = all(self._replay.entry(key, revision) is None for key, _, _ in call.args["writes"])
        return absent and not self.refused(call, revision + 1)

    def _give(self, revision: int, call: Operation) -> None:
        self._pending.discard(revision)
        self.revision_of[call.op_id] = revision
        self.owner[revision] = call

    def _compare(self, revision: int, call: Operation) -> None:
        """Demand that a revision shows exactly what its operation asked for, and that its checks held."""
        if not self._matches(call, revision):
            shown = self._replay.commits[revision]
            what = {**shown.asked, **{f"stream {each.stream}": each for each in shown.records}}
            self._wrong("not as asked", f"revision {revision} is {what}, which is not what was asked for", call)
        for check, is_fence in self.refused(call, revision):
            entry = self._replay.entry(check.key, revision - 1)
            name = "zombie accepted" if is_fence else "check ignored"
            self._wrong(name, f"applied at revision {revision} over {entry}, against {check}", call)

    def refused(self, call: Operation, revision: int) -> list[tuple[Check, bool]]:
        """Return the checks that did not hold just before a revision, each with whether it is the fence."""
        return [
            (check, is_fence)
            for check, is_fence in checks_of(call)
            if not check.holds(*self._revisions(check.key, revision - 1))
        ]

    def _revisions(self, key: str, revision: int) -> tuple[int, int]:
        entry = self._replay.entry(key, revision)
        return (entry.revision, entry.create_revision) if entry else (0, 0)

    def _matches(self, call: Operation, revision: int) -> bool:
        commit = self._replay.commits[revision]
        seen = {key: entry and (entry.value, entry.lease) for key, entry in commit.asked.items()}
        records = [(record.stream, record.data) for record in commit.records]
        return self._effects(call, revision) == (seen, sorted(records, key=lambda record: record[0]))

    def _effects(self, call: Operation, revision: int) -> Effects:
        """Return what an operation does when it is applied just before a revision."""
        if call.kind == "delete_prefix":
            return {entry.key: None for entry in self._replay.under(call.key, revision - 1)}, []
        changes: dict[str, tuple[bytes, int | None] | None] = {}
        for key, value, lease in call.args["writes"]:
            if value is not None:
                changes[key] = (data(value), lease)
            elif self._replay.entry(key, revision - 1) is not None:
                changes[key] = None
        appends = [(stream, data(value)) for stream, value in call.args["appends"]]
        return changes, sorted(appends, key=lambda record: record[0])

    # --- what has to be found ---------------------------------------------------------------------------

    def settle(self, windows: Mapping[str, Window]) -> None:
        """Give away the deletions that are left.

        Args:
            windows: For an operation, the revision that was reached for certain before it began and the last one
                it may have; by op id.
        """
        open_calls = [call for call in self._writers if only_deletes(call) and call.op_id not in self.revision_of]
        must = [call for call in open_calls if call.outcome == OK and call.value]
        may = [call for call in open_calls if call.outcome == UNKNOWN or (call.outcome == OK and call.rev)]
        must.sort(key=lambda call: (windows[call.op_id][1], call.ret_ns))
        matching = Matching({call.op_id: self._choices(call, windows[call.op_id]) for call in (*must, *may)})
        for call in must:
            if not matching.seat(call.op_id):
                self._wrong("lost write", "acknowledged, and no deletion in the log can be its", call)
        spare = frozenset(revision for revision in self._pending if self._replay.commits[revision].lease is not None)
        for revision in sorted(self._pending - spare - matching.holder.keys()):
            matching.fill(revision, spare)
        self._sort_out(matching, must)
        calls = {call.op_id: call for call in open_calls}
        for revision, name in matching.holder.items():
            self._give(revision, calls[name])
        for revision in sorted(self._pending):
            self._end_lease(revision)

    @functools.cached_property
    def _left_by_key(self) -> dict[str, list[int]]:
        """The deletions that are left, by key."""
        left = defaultdict(list)
        for revision in sorted(self._pending):
            for key in self._replay.commits[revision].asked:
                left[key].append(revision)
        return left

    def _sort_out(self, matching: Matching, must: list[Operation]) -> None:
        """Among plain deletes of one key, whoever had to be done first made the first deletion."""
        alike = defaultdict(list)
        for call in must:
            if call.op_id in matching.place_of and not checks_of(call):
                alike[call.kind, call.key].append(call.op_id)
        for names in alike.values():
            matching.sort_out(names)

    def _choices(self, call: Operation, window: Window) -> list[int]:
        """Return the deletions that an operation can have made."""
        return [
            revision
            for revision in self._candidates(call)
            if call.rev in (None, revision) and window[0] < revision <= window[1] and self._explains(call, revision)
        ]

    def _candidates(self, call: Operation) -> Iterable[int]:
        if call.kind == "delete_prefix":
            keys = [key for key in self._left_by_key if under(call.key, key)]
        else:
            keys = [key for key, _, _ in call.args["writes"]]
        return sorted({revision for key in keys for revision in self._left_by_key.get(key, ())})

    def _explains(self, call: Operation, revision: int) -> bool:
        count = len(self._replay.commits[revision].asked)
        right = call.kind != "delete_prefix" or call.outcome != OK or call.value == count
        return right and self._matches(call, revision) and not self.refused(call, revision)

    def _end_lease(self, revision: int) -> None:
        commit = self._replay.commits[revision]
        if commit.lease is None:
            keys = ", ".join(commit.asked)
            self._wrong(
                "invented delete", f"revision {revision} deletes {keys}: nobody asked, and no lease explains it"
            )
        elif commit.lease in self.ends:
            self._wrong("lease came back", f"lease {commit.lease} ends at {self.ends[commit.lease]} and at {revision}")
        else:
            self.ends[commit.lease] = revision

    def _wrong(self, rule: str, message: str, *calls: Operation) -> None:
        self.violations.append(Violation(rule, message, calls))


def only_deletes(call: Operation) -> bool:
    """Tell whether an operation can do nothing but delete."""
    return not call.args["appends"] and all(value is None for _, value, _ in call.args["writes"])


def checks_of(call: Operation) -> list[tuple[Check, bool]]:
    """Return an operation's fence and checks, each with whether it is the fence."""
    rows = [(each, False) for each in call.args["checks"]]
    if call.args["fence"]:
        rows.insert(0, (call.args["fence"], True))
    return [(Check(key, revision=at, create_revision=created), fence) for (key, at, created), fence in rows]
