"""Leases and tokens: what time and order demand of them, checked in one pass each.

A lease that was granted or renewed by a call that began at `c` and was answered lives until `c` + TTL at least,
whenever the store handled the call; it ends earlier only by a revocation. Once it has ended it never comes back.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from coordstore.testing.history.record import FAILED, OK
from coordstore.testing.history.violation import Violation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coordstore.testing.history.attribute import Attribution
    from coordstore.testing.history.history import History
    from coordstore.testing.history.record import Operation
    from coordstore.testing.history.tier_a import Sweep

__all__ = ["SKEW_NS", "Life", "check_leases", "lives_of"]

SKEW_NS: Final = 10_000_000
"""Nanoseconds by which a lease may end early on the recording clock: two readings of two clocks."""


@dataclass(slots=True)
class Life:
    """What was done with one lease.

    Args:
        kept: The grant and the renewals that were answered.
        refused: The calls that were told that it is lost.
        revoked: The revocations, whatever came of them.
        puts: The puts on it that were acknowledged.
    """

    kept: list[Operation] = field(default_factory=list)
    refused: list[Operation] = field(default_factory=list)
    revoked: list[Operation] = field(default_factory=list)
    puts: list[Operation] = field(default_factory=list)
    ttl_ns: int = 0

    def term(self, before: int | None = None) -> int:
        """Return until when it lives at least, by what was answered before a time (None: ever)."""
        known = [call.call_ns for call in self.kept if before is None or (call.ret_ns or 0) < before]
        return max(known, default=-self.ttl_ns) + self.ttl_ns


def check_leases(
    history: History, attribution: Attribution, sweep: Sweep, skew_ns: int = SKEW_NS
) -> Iterator[Violation]:
    """Yield what is wrong with leases and tokens."""
    for lease, life in lives_of(history).items():
        if sum(call.kind == "grant" for call in life.kept) > 1:
            yield Violation("lease id twice", f"{lease} was granted more than once", tuple(life.kept))
        if life.kept:
            yield from _end(lease, life, attribution, sweep, skew_ns)
            yield from _refusals(lease, life, skew_ns)
    yield from _tokens(attribution)


def lives_of(history: History) -> dict[int, Life]:
    """Return what was done with each lease, by id."""
    lives: defaultdict[int, Life] = defaultdict(Life)
    for call in history.calls:
        if call.kind == "grant" and call.outcome == OK:
            lives[call.value].kept.append(call)
            lives[call.value].ttl_ns = call.args["ttl"] * 10**9
        elif call.kind == "renew" and call.outcome == OK:
            lives[call.args["lease"]].kept.append(call)
        elif call.kind == "revoke":
            lives[call.args["lease"]].revoked.append(call)
        if call.outcome == FAILED and call.error == "LeaseLost" and call.value["lease"]:
            lives[call.value["lease"]].refused.append(call)
        for lease in {row[2] for row in call.args.get("writes", ()) if row[2]} if call.outcome == OK else ():
            lives[lease].puts.append(call)
    return dict(lives)


def _end(lease: int, life: Life, attribution: Attribution, sweep: Sweep, skew_ns: int) -> Iterator[Violation]:
    """Yield what is wrong with when it ended, and with what came later."""
    at = attribution.ends.get(lease)
    ended = min((call.ret_ns for call in life.revoked if call.outcome == OK and call.ret_ns), default=None)
    if at is not None:
        known = sweep.latest(at)
        ended = known if ended is None else min(ended, known)
        if known < life.term() - skew_ns and not any(call.call_ns <= known for call in life.revoked):
            message = f"lease {lease} ended at revision {at}, {(life.term() - known) / 1e9:.3f} s before its time"
            yield Violation("lease ended early", message, tuple(life.kept[-2:]))
    for call in (*life.kept, *life.puts):
        made = attribution.revision_of.get(call.op_id, 0)
        if (ended is not None and call.call_ns > ended) or (at is not None and made > at):
            yield Violation("lease came back", f"lease {lease} had ended before this", (*life.revoked, call))


def _refusals(lease: int, life: Life, skew_ns: int) -> Iterator[Violation]:
    """Yield the calls that were told too early that it is lost."""
    for call in life.refused:
        if any(each.call_ns <= (call.ret_ns or 0) for each in life.revoked):
            continue
        if (call.ret_ns or 0) < life.term(call.call_ns) - skew_ns:
            yield Violation("lease lost early", f"lease {lease} was still good for certain", (*life.kept[-2:], call))


def _tokens(attribution: Attribution) -> Iterator[Violation]:
    """Yield fenced writes that were accepted under an older token than one before."""
    highest: dict[str, tuple[int, Operation]] = {}
    for _, call in sorted(attribution.owner.items()):
        fence = call.args["fence"]
        if not fence or not fence[2]:
            continue
        token, last = highest.get(fence[0], (0, call))
        if fence[2] < token:
            yield Violation("token went back", f"{fence[2]} was accepted after {token}", (last, call))
        highest[fence[0]] = max((token, last), (fence[2], call), key=lambda pair: pair[0])
