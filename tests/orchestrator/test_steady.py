"""What a worker does when the store did not say what became of a request: it finds out, and does nothing twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from coordstore.errors import Conflict, Fenced, LeaseLost, OutcomeUnknown, Unavailable
from coordstore.session import State, events
from coordstore.session.session import Session
from coordstore.testing import Clock, MemoryStore
from coordstore.testing.memory import Memory
from coordstore_orchestrator.worker import steady
from coordstore_orchestrator.worker.steady import SteadySession

if TYPE_CHECKING:
    from coordstore.session.claim import Claim
    from coordstore.store import Lease

HOLDER = {"host": "here", "run": "r1"}


class Shaky(MemoryStore):
    """A store that does not answer some transactions; before or after it has applied them."""

    def __init__(self, memory: Memory) -> None:
        super().__init__(memory)
        self.faults: list[str] = []

    async def transact(self, *args: Any, **options: Any) -> int:
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "away":
            message = "nobody there"
            raise Unavailable(message)
        revision = 0 if fault == "lost" else await super().transact(*args, **options)
        if fault:
            message = "no answer"
            raise OutcomeUnknown(message)
        return revision


class Bench:
    """A session with one attempt to claim, and a lease."""

    def __init__(self) -> None:
        self.memory = Memory(Clock())
        self.store = Shaky(self.memory)
        self.session = SteadySession(self.store, "s1")
        self.lease: Lease

    async def prepare(self) -> None:
        await self.session.create({"digest": "d"}, {"t": {}})
        await self.session.assign((await self.session.view()).tasks["t"], "base")
        self.lease = await self.store.grant(10)

    async def claim(self, *faults: str) -> Claim:
        self.store.faults = [*faults]
        return await self.session.claim("t.1", (), HOLDER, self.lease)

    async def notes(self) -> list[str]:
        records = await self.store.read("s1/events/t.1")
        return [record.data.decode() for record in records if b"remember" in record.data]


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(steady, "PAUSE", 0)
    found = Bench()
    await found.prepare()
    return found


@pytest.mark.req("S9", "W9")
@pytest.mark.parametrize("faults", [["done"], ["lost"], ["lost", "lost", "done"], ["lost", "away"]])
async def test_a_claim_in_doubt_is_ours_in_the_end_and_once(bench: Bench, faults: list[str]) -> None:
    claim = await bench.claim(*faults)
    entry = await bench.store.get("s1/agents/t.1/claim")
    assert entry is not None
    assert claim.token == entry.create_revision
    await claim.finish(State.COMPLETED, {"commit": "c"})
    view = await bench.session.view()
    assert view.tasks["t"].state is State.COMPLETED


@pytest.mark.req("S9", "W9")
async def test_a_claim_in_doubt_that_another_won_is_not_ours(bench: Bench) -> None:
    other = Session(MemoryStore(bench.memory), "s1")
    lease = await other.store.grant(10)
    getting = bench.store.get
    looks = 0

    async def get(key: str) -> Any:
        nonlocal looks
        looks += 1
        if looks == 3:  # two keys are looked at for a claim: the first one was lost on its way
            await other.claim("t.1", (), {"host": "there", "run": "r2"}, lease)
        return await getting(key)

    bench.store.get = get  # type: ignore[method-assign]  # something happens in between
    with pytest.raises(Conflict):
        await bench.claim("lost")


async def test_a_claim_that_was_surely_not_made_is_said_at_once(bench: Bench) -> None:
    with pytest.raises(Unavailable):
        await bench.claim("away")


@pytest.mark.req("S9", "W9")
@pytest.mark.parametrize("faults", [["done"], ["lost"], ["away", "lost", "away", "done"]])
async def test_an_end_in_doubt_is_recorded_once(bench: Bench, faults: list[str]) -> None:
    claim = await bench.claim()
    bench.store.faults = [*faults]
    await claim.finish(State.COMPLETED, {"commit": "c"}, events.Note(text="remember"))
    assert claim.ended
    assert len(await bench.notes()) == 1
    assert (await bench.session.view()).tasks["t"].state is State.COMPLETED


@pytest.mark.req("S9")
async def test_an_end_that_another_has_made_meanwhile_is_refused(bench: Bench) -> None:
    claim = await bench.claim()
    await bench.store.delete("s1/agents/t.1/claim")
    bench.store.faults = ["lost"]
    with pytest.raises(Fenced):
        await claim.finish(State.COMPLETED, {"commit": "c"})
    assert not claim.ended


@pytest.mark.parametrize(("faults", "times"), [(["done"], 1), (["lost"], 0), (["away", "away"], 1)])
async def test_a_report_is_not_told_twice(bench: Bench, faults: list[str], times: int) -> None:
    claim = await bench.claim()
    bench.store.faults = [*faults]
    await claim.report(events.Note(text="remember"), step=1)
    assert len(await bench.notes()) == times


@pytest.mark.req("S9")
async def test_with_the_lease_it_ends(bench: Bench) -> None:
    claim = await bench.claim()
    bench.store.faults = ["away"] * 1000
    bench.memory.end([bench.lease.id])
    bench.lease._lost.set()
    with pytest.raises(LeaseLost, match="out of reach"):
        await claim.finish(State.COMPLETED, {})


@pytest.mark.req("M1", "M11")
async def test_that_an_agent_is_watched_is_written_until_it_is_known_to_be(bench: Bench) -> None:
    claim = await bench.claim()
    bench.store.faults = ["lost", "lost"]
    await claim.report(events.Watching(profile="p", thresholds={}), pid=7)
    records = await bench.store.read("s1/events/t.1")
    assert sum(b'"watching"' in record.data for record in records) == 1
