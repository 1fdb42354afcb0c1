"""Tier A: revision replay. Any length, O(n log n); it takes the store's revisions at their word and proves them.

Theory. A store's revisions claim an order. The claim is right when every operation has a *place* in it, a
revision at which what it said was true, such that an operation that began after another had ended has no lower
place, and a write a higher one. Writes have only one place. For reads it is enough to try the lowest: going
through the calls and returns in time, keep the highest place among the operations that have returned (the
*floor*); an operation's place is the first one, not below the floor at its call, at which what it saw was true.
If none is left, then no other choice would have left one, because every choice made was the lowest.

What watches and follows delivered raises the floor, too: it had been committed by then.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING

from coordstore.testing.history.attribute import WRITERS, Attribution, checks_of, only_deletes
from coordstore.testing.history.record import FAILED, OK, entry_of, record_of_row
from coordstore.testing.history.replay import END, complement, earliest
from coordstore.testing.history.violation import Violation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coordstore.testing.history.history import History
    from coordstore.testing.history.record import Operation
    from coordstore.testing.history.replay import Replay, Spans

__all__ = ["Sweep", "TierA"]


@dataclass(slots=True)
class Sweep:
    """Where every operation has its place.

    Args:
        places: By op id, the lowest revision at which it can have happened.
        floors: By op id, the highest place of what had ended before it began.
        violations: Operations without a place.
        reached: (time, revision) pairs, both increasing: by this time this revision had been committed.
    """

    places: dict[str, int] = field(default_factory=dict)
    floors: dict[str, int] = field(default_factory=dict)
    violations: list[Violation] = field(default_factory=list)
    reached: list[tuple[int, int]] = field(default_factory=list)

    def latest(self, revision: int) -> int:
        """Return the time by which a revision had certainly been committed."""
        at = bisect_left(self.reached, revision, key=lambda pair: pair[1])
        return self.reached[at][0] if at < len(self.reached) else END


class TierA:
    """The check; `violations` says what is wrong.

    Args:
        history: What was recorded.
        replay: What its log says.
    """

    def __init__(self, history: History, replay: Replay) -> None:
        self._history = history
        self._replay = replay
        self._wrong: list[Violation] = []
        self.attribution = Attribution(history, replay)
        self._spans = {call.op_id: spans for call in history.calls if (spans := self._seen(call)) is not None}
        self.attribution.settle(self._windows(self._sweep()))
        self._resolutions()
        self.sweep = self._sweep()

    @property
    def violations(self) -> list[Violation]:
        """Everything that is wrong."""
        return [*self._replay.violations, *self._wrong, *self.sweep.violations, *self.attribution.violations]

    # --- places -----------------------------------------------------------------------------------------

    def _sweep(self) -> Sweep:
        made = Sweep()
        floor = 0
        cause: Operation | None = None
        for now, begins, call in self._events():
            if begins:
                made.floors[call.op_id] = floor
                made.places[call.op_id] = self._place(call, floor, cause, made)
                continue
            place = call.rev or 0 if call.kind in ("batch", "record") else made.places[call.op_id]
            if place > floor:
                floor, cause = place, call
                made.reached.append((now, place))
        return made

    def _events(self) -> Iterator[tuple[int, bool, Operation]]:
        """Yield (time, whether it is a call, operation) in order; of the same time calls come first."""
        calls = self._history.calls
        events = [(call.call_ns, 0, number) for number, call in enumerate(calls)]
        events += [(call.ret_ns, 1, number) for number, call in enumerate(calls) if call.ret_ns is not None]
        sources = (*self._history.watches, *self._history.follows)
        delivered = [item for source in sources for item in source.items]
        events += [(item.call_ns, 2, number) for number, item in enumerate(delivered)]
        for now, phase, number in sorted(events):
            yield now, phase == 0, delivered[number] if phase == 2 else calls[number]

    def _place(self, call: Operation, floor: int, cause: Operation | None, sweep: Sweep) -> int:
        """Return an operation's place; where there is none, say so and return a harmless one."""
        concerned = (call,) if cause is None else (cause, call)
        made = self.attribution.revision_of.get(call.op_id)
        if made is not None:
            if made <= floor:
                message = f"it made revision {made}, and began when {floor} had been seen"
                sweep.violations.append(Violation("real-time order", message, concerned))
            return made
        spans = self._spans.get(call.op_id)
        place = floor if spans is None else earliest(spans, floor)
        if place is None:
            message = f"what it saw was true at {_shown(spans)}, and it began when {floor} had been seen"
            sweep.violations.append(Violation("stale read", message, concerned))
        return floor if place is None else place

    def _windows(self, sweep: Sweep) -> dict[str, tuple[int, int]]:
        """Return, for each write, between which revisions it must lie."""
        wrong = {call.op_id for violation in sweep.violations for call in violation.operations[-1:]}
        calls = sorted(self._history.calls, key=attrgetter("call_ns"))
        times = [call.call_ns for call in calls]
        lowest = [END]
        for call in reversed(calls):
            lowest.append(lowest[-1] if call.op_id in wrong else min(lowest[-1], self._highest(call)))
        lowest.reverse()
        return {
            call.op_id: (
                sweep.floors[call.op_id],
                END if call.ret_ns is None else lowest[bisect_right(times, call.ret_ns)],
            )
            for call in calls
            if call.kind in WRITERS
        }

    def _highest(self, call: Operation) -> int:
        """Return the highest revision that may come before an operation."""
        made = self.attribution.revision_of.get(call.op_id)
        if made is not None:
            return made - 1
        spans = self._spans.get(call.op_id) or ()
        return min((each[-1][1] - 1 for each in spans if each), default=END)

    # --- what was seen ----------------------------------------------------------------------------------

    def _seen(self, call: Operation) -> list[Spans] | None:
        """Return when all of what an operation saw was true; None: it tells nothing."""
        if call.kind in WRITERS:
            done = {OK: self._nothing_done, FAILED: self._refused}.get(call.outcome)
            return done(call) if done else None
        return self._read(call) if call.outcome == OK else None

    def _read(self, call: Operation) -> list[Spans] | None:
        match call.kind:
            case "get":
                return self._get(call)
            case "list":
                return self._list(call)
            case "read":
                got = [record_of_row(call.key, found) for found in call.value]
                return [self._replay.reading(call.key, call.args["after"], call.args["limit"], got)]
            case "heads":
                names = {*self._replay.names(call.key), *call.value}
                return [self._replay.head(name, call.value.get(name, 0)) for name in sorted(names)]
        # A resolution that tells a revision has seen it; other kinds have seen nothing.
        return [[(call.rev, END)]] if call.kind == "resolve" and call.rev is not None else None

    def _get(self, call: Operation) -> list[Spans] | None:
        if call.value is None:
            return [self._replay.absent(call.key)]
        entry = entry_of(call.value)
        true = self._replay.entry(call.key, entry.revision)
        if entry == true:
            return [self._replay.at(call.key, entry.revision)]
        self._wrong.append(Violation("wrong read", f"the log has {true} there", (call,)))
        return None

    def _list(self, call: Operation) -> list[Spans]:
        cut = call.rev or 0
        after, limit, bare = call.args["after"], call.args["limit"], call.args["keys_only"]
        true = [entry for entry in self._replay.under(call.key, cut) if after is None or entry.key > after]
        shown = [[e.key, b"" if bare else e.value, e.revision, e.create_revision, e.lease] for e in true[:limit]]
        seen = [[e.key, e.value, e.revision, e.create_revision, e.lease] for e in map(entry_of, call.value["entries"])]
        if (seen, call.value["more"]) != (shown, limit is not None and len(true) > limit):
            odd = [each for each in (*seen, *shown) if each not in seen or each not in shown]
            self._wrong.append(Violation("no such cut", f"revision {cut} of the log differs in {odd}", (call,)))
        return [[(cut, cut + 1)]]

    def _nothing_done(self, call: Operation) -> list[Spans] | None:
        """Return when a write that changed nothing was right in that."""
        if call.op_id in self.attribution.revision_of or not only_deletes(call) or call.value:
            return None
        if call.kind == "delete_prefix":
            return [self._replay.absent(key) for key in self._replay.keys(call.key)]
        spans = [self._replay.absent(key) for key, _, _ in call.args["writes"]]
        spans += [self._replay.holding(c.key, c.revision, c.create_revision) for c, _ in checks_of(call)]
        return spans if call.rev is None else [*spans, [(call.rev, call.rev + 1)]]

    def _refused(self, call: Operation) -> list[Spans] | None:
        """Return when a Conflict or Fenced was justified."""
        fence = call.args["fence"]
        if call.error == "Fenced" and fence:
            now = self._replay.created(fence[0], call.value["current"])
            return [now, complement(self._replay.holding(*fence))]
        if call.error != "Conflict":
            return None
        seen: dict[str, int] = call.value["revisions"]
        spans = []
        for check, _ in checks_of(call):
            holding = self._replay.holding(check.key, check.revision, check.create_revision)
            if check.key in seen:
                spans += [self._replay.at(check.key, seen[check.key]), complement(holding)]
            elif seen or fence == [check.key, check.revision, check.create_revision]:
                spans.append(holding)
            elif len(call.args["checks"]) == 1:
                spans.append(complement(holding))
        return spans

    # --- resolved outcomes ------------------------------------------------------------------------------

    def _resolutions(self) -> None:
        """Demand that `resolve` told the truth."""
        calls = self._history.calls
        unknown = {call.value["op"]: call for call in calls if call.value and call.error == "OutcomeUnknown"}
        for call in calls:
            asked = unknown.get(call.args["op"]) if call.kind == "resolve" and call.outcome == OK else None
            made = self.attribution.revision_of.get(asked.op_id) if asked else None
            if asked and not only_deletes(asked) and made != call.rev:
                message = f"it said {call.rev or 'never'}, the log {made or 'never'}"
                self._wrong.append(Violation("wrong resolution", message, (asked, call)))


def _shown(spans: list[Spans] | None) -> str:
    return " and ".join(
        ", ".join(f"{start}…{'' if end == END else end - 1}" for start, end in each) or "no revision"
        for each in spans or []
    )
