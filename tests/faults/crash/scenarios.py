"""The workloads whose crash states are replayed: a store as it is found, deeds, and who does them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tests.faults.crash.deeds import COMPACT, SOME, Deed, Ledger, append, put, transact

BIG: Final = b"x" * SOME
BOTH: Final = ("file", "sqlite")


@dataclass(frozen=True)
class Scenario:
    """One workload.

    Args:
        name: What it is about.
        deeds: Per actor, what it does; what an actor touches has the actor's name as its first segment when there
            are several.
        before: What was done to the store before.
        left: How the store was left then: ``closed``, ``killed``, ``torn`` (with half a commit behind the end), or
            ``behind`` (a whole commit behind the mark).
        together: Who the actors are: ``tasks`` of one process, or ``processes``; or ``turns``: processes that take
            turns at one row of deeds.
        small: Limits made small: ``segment``, ``wal``.
        only: The backends that it says something about.
    """

    name: str
    deeds: tuple[tuple[Deed, ...], ...]
    before: tuple[Deed, ...] = ()
    left: str = "closed"
    together: str = "tasks"
    small: tuple[str, ...] = ()
    only: tuple[str, ...] = BOTH

    def ledgers(self, actor: int) -> list[Ledger]:
        """Return what the store should hold after none, one, two … of an actor's deeds."""
        found = []
        for done in range(len(self.deeds[actor]) + 1):
            ledger = Ledger()
            for deed in (*self.before, *self.deeds[actor][:done]):
                ledger.do(deed)
            found.append(ledger)
        return found

    def prefix(self, actor: int) -> str:
        """Return what belongs to an actor."""
        return "" if len(self.deeds) == 1 else f"p{actor}"


def alone(name: str, *deeds: Deed, before: tuple[Deed, ...] = (), left: str = "closed", **more: object) -> Scenario:
    """Return a scenario of one actor."""
    return Scenario(name, (deeds,), before, left, **more)  # type: ignore[arg-type]  # whatever a scenario takes


def several(name: str, together: str, *deeds: tuple[Deed, ...]) -> Scenario:
    """Return a scenario of several actors."""
    return Scenario(name, deeds, together=together)


def own(actor: int, rounds: int) -> tuple[Deed, ...]:
    """Return what one of several actors does, under its own prefix."""
    me = f"p{actor}"
    rows = ((put(f"{me}/k", b"%d" % n), append(f"{me}/s", b"r%d" % n)) for n in range(rounds))
    return tuple(deed for row in rows for deed in row)


EVENTS: Final = tuple(append("events/a1", b'{"n":%d}' % n, b'{"more":%d}' % n) for n in range(3))
TWO: Final = (put("a", b"1"), append("s", b"one", b"two"))

SCENARIOS: Final = (
    alone("create"),
    alone("put", put("a", b"1"), put("b", b"2")),
    alone("overwrite", put("a", BIG), put("a", b"small"), put("a", b"y" * SOME)),
    alone("one large put", put("a", BIG), before=TWO),
    alone(
        "transaction",
        transact({"a": BIG, "b/c": b"2", "d": b""}, ("s", b"r"), ("t/u", BIG), ("s", b"q")),
        put("e", b""),
    ),
    alone("swap", *(Deed("swap", "a", b"%d" % n) for n in range(4))),
    alone("delete", *(Deed("delete", "a"), put("a", b"2"), Deed("delete", "a")), before=TWO),
    alone("delete prefix", Deed("delete_prefix", "a"), before=(put("a/b", b"1"), put("a/c", BIG), put("ab", b""))),
    alone("append", append("s", b"1"), append("s", BIG, b"3"), append("s", b"4")),
    alone("append to many", *(transact({}, *((f"s{n}", BIG[:300]) for n in range(6))) for _ in range(2))),
    alone("trim", Deed("trim", "s", number=1), append("s", b"3"), Deed("trim", "s", number=3), before=TWO),
    alone("drop", Deed("drop", "s"), append("s", b"new"), before=TWO),
    alone("rotate", *(put(f"k{n}", BIG[: 900 + n]) for n in range(5)), small=("segment",), only=("file",)),
    alone("checkpoint", *(put(f"k{n}", BIG) for n in range(4)), small=("wal",), only=("sqlite",)),
    alone("checkpoint and close", *(put(f"k{n}", BIG) for n in range(2)), Deed("close"), put("l", b"")),
    alone("compact", *TWO, COMPACT, put("b", b"2"), append("s", b"three")),
    alone("compact again", COMPACT, append("s", b"3"), Deed("compact", number=1), before=(*TWO, COMPACT, *TWO)),
    alone("lease", Deed("grant", "L", number=30), Deed("lease_put", "a", b"mine", lease="L"), put("b", b"2")),
    alone(
        "expiry",
        Deed("grant", "L", number=5),
        Deed("lease_put", "a", b"mine", lease="L"),
        Deed("expire", number=9),
        put("a", b"free"),
    ),
    alone("revoke", Deed("grant", "L", number=30), Deed("lease_put", "a", BIG, lease="L"), Deed("revoke", "L")),
    alone("resolvable", *(transact({"a": b"%d" % n}, ("s", b"%d" % n), kind="resolvable") for n in range(3))),
    alone("recover after a kill", put("c", b"3"), before=(*TWO, put("b", BIG)), left="killed"),
    alone("recover a torn tail", put("c", b"3"), append("s", b"three"), before=TWO, left="torn"),
    alone("recover behind the mark", put("c", b"3"), before=(*TWO, put("b", BIG)), left="behind", only=("file",)),
    alone("open an existing store", before=(*TWO, COMPACT, put("b", b"2"))),
    alone("homes", *EVENTS, COMPACT, EVENTS[0], Deed("trim", "events/a1", number=3), COMPACT, EVENTS[1]),
    alone("homes of a dropped stream", COMPACT, Deed("drop", "events/a1"), EVENTS[1], COMPACT, before=EVENTS),
    alone("a key becomes a folder", put("a", b"1"), put("a/b", b"2"), Deed("delete", "a/b"), put("a", b"3")),
    several("tasks at once", "tasks", own(0, 2), own(1, 2), own(2, 2)),
    several("processes at once", "processes", own(0, 2), own(1, 2)),
    several("two compact", "processes", (*own(0, 1), COMPACT, *own(0, 1)), (*own(1, 1), COMPACT, COMPACT)),
    Scenario("processes in turn", ((*TWO, put("b", b"2"), append("s", b"three"), put("a", b"4")),), together="turns"),
)


def scenarios(scheme: str) -> list[Scenario]:
    """Return the scenarios of one backend."""
    return [scenario for scenario in SCENARIOS if scheme in scenario.only]
