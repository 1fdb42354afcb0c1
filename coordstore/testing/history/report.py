"""The verdict on a history: every check at once, every violation named, the seed that reproduces it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from coordstore.testing.history.leases import SKEW_NS, check_leases
from coordstore.testing.history.record import FAILED, OK, UNKNOWN
from coordstore.testing.history.replay import Replay
from coordstore.testing.history.streams import check_streams
from coordstore.testing.history.tier_a import TierA
from coordstore.testing.history.tier_b import Bounds, TierB
from coordstore.testing.history.violation import Violation
from coordstore.testing.history.watch import check_watches

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coordstore.testing.history.history import History

__all__ = ["Verdict", "check"]

SHOWN = 20
_KNOWN = frozenset({"", "OutcomeUnknown", "CancelledError"})


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found.

    Args:
        violations: Broken rules.
        void: Why the run says nothing; a void run is a failure, too.
        facts: What the run noted of itself, its seed among it.
        counts: Operations by outcome, and what the checks did.
    """

    violations: list[Violation]
    void: list[str]
    facts: dict[str, object] = field(default_factory=dict)
    counts: dict[str, float] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong and the run says something."""
        return not self.violations and not self.void

    def __bool__(self) -> bool:
        """Return `ok`."""
        return self.ok

    @property
    def rules(self) -> Counter[str]:
        """How often each rule was broken."""
        return Counter(violation.rule for violation in self.violations)

    def __str__(self) -> str:
        """Show everything, the first violations in full."""
        head = f"{'ok' if self.ok else 'VIOLATED' if self.violations else 'VOID'}: {_pairs(self.counts)}"
        rules = [f"{rule}: {count}" for rule, count in self.rules.most_common()]
        shown = [str(violation) for violation in self.violations[:SHOWN]]
        more = len(self.violations) - len(shown)
        tail = [f"… and {more} more"] if more > 0 else []
        again = [f"reproduce with {_pairs(self.facts)}"] if self.facts else []
        return "\n".join([head, *(f"void: {reason}" for reason in self.void), *rules, *shown, *tail, *again])


def check(history: History, bounds: Bounds | None = None, skew_ns: int = SKEW_NS, tiers: str = "ab") -> Verdict:
    """Judge a history.

    Args:
        history: What was recorded.
        bounds: How much tier B takes on.
        skew_ns: Nanoseconds by which a lease may end early on the recording clock.
        tiers: ``ab``; ``a`` leaves the search out; ``b`` is the search alone.
    """
    replay = Replay(history.log, history.streams)
    tier_a = TierA(history, replay)
    found = list(_surprises(history))
    if "a" in tiers:
        found += [*tier_a.violations, *check_leases(history, tier_a.attribution, tier_a.sweep, skew_ns)]
        found += [*check_streams(history), *check_watches(history, replay)]
    counts: dict[str, float] = {
        **{name: sum(call.outcome == name for call in history.calls) for name in (OK, FAILED, UNKNOWN)},
        "revisions": len(replay.revisions),
    }
    if "b" in tiers:
        tier_b = TierB(history, tier_a.attribution.revision_of, bounds, skew_ns)
        found += tier_b.violations
        counts |= {"searches": tier_b.searches, "slowest_s": round(tier_b.slowest, 3), "groups_apart": tier_b.apart}
    return Verdict(found, [*history.void, *tier_a.attribution.void], history.facts, counts)


def _surprises(history: History) -> Iterator[Violation]:
    """Yield outcomes that the contract does not have, and watches that came to nothing."""
    for call in history.calls:
        if call.outcome == UNKNOWN and call.error not in _KNOWN:
            yield Violation(
                "fourth outcome", f"it raised {call.error}, which no caller can tell what to make of", (call,)
            )
    for source in (*history.watches, *history.follows):
        if source.source.outcome == FAILED:
            yield Violation("watch broken", f"it ended with {source.source.error}", (source.source,))
    for name in history.hung:
        yield Violation("watch hang", f"{name} did not deliver what was written last")


def _pairs(facts: dict[str, object] | dict[str, float]) -> str:
    return " ".join(f"{name}={value}" for name, value in facts.items())
