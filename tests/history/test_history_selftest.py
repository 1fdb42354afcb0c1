"""The checker can fail, and does so for a reason: every planted bug is found, and nothing in a sound store."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from coordstore.testing import Clock, Memory, MemoryStore
from coordstore.testing.history import Recorder, Shape, Ticks, check, run
from coordstore.testing.history.broken import BROKEN, BrokenStore
from coordstore.testing.history.faulty import FaultyStore, virtual_run

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from coordstore.model import Batch, Listing
    from coordstore.testing.history import Verdict

pytestmark = [pytest.mark.req("S4", "S5", "S6", "S7", "S8", "S9", "S10")]
BUDGET = 20
SOUND = 40


def shape(seed: int) -> Shape:
    return Shape(seed=seed, operations=300, patience=0.5)


@pytest.mark.parametrize("kind", BROKEN, ids=lambda kind: kind.__name__)
async def test_every_planted_bug_is_caught_within_its_budget(kind: type[BrokenStore]) -> None:
    verdict: Verdict | None = None
    for seed in range(BUDGET):
        verdict = check(await virtual_run(shape(seed), kind))
        if kind.caught_by & verdict.rules.keys():
            return
    pytest.fail(f"{kind.__name__} passed {BUDGET} seeds; the last verdict:\n{verdict}")


SEARCHED = ["DoubleSwap", "LostUpdate", "StaleAbsence", "StaleCache", "ZombieAccepted", "EarlySteal", "StaleList"]


@pytest.mark.parametrize("name", SEARCHED)
async def test_the_search_alone_finds_what_clients_could_see(name: str) -> None:
    kind = next(kind for kind in BROKEN if kind.__name__ == name)
    for seed in range(BUDGET):
        verdict = check(await virtual_run(shape(seed), kind), tiers="b")
        if "not linearizable" in verdict.rules:
            return
    pytest.fail(f"{name} passed {BUDGET} seeds of tier B")


async def test_no_false_alarm_on_a_slow_and_faulty_store() -> None:
    for seed in range(SOUND):
        verdict = check(await virtual_run(shape(seed)))
        assert verdict.ok, str(verdict)
        assert verdict.counts["unknown"] > 0
        assert verdict.counts["searches"] > 10


async def test_no_false_alarm_over_several_epochs_and_few_clients() -> None:
    for seed, clients in ((1, 2), (2, 5), (3, 16)):
        made = Shape(seed=seed, operations=900, epoch=200, clients=clients)
        verdict = check(await virtual_run(made))
        assert verdict.ok, str(verdict)


async def test_no_false_alarm_on_the_plain_memory_store_in_real_time() -> None:
    async with MemoryStore() as store:
        history = await run([store], Recorder(), Shape(seed=7, operations=500))
    verdict = check(history)
    assert verdict.ok, str(verdict)


async def test_the_same_seed_makes_the_same_history() -> None:
    first, second = (await virtual_run(shape(3)), await virtual_run(shape(3)))
    assert [(call.op_id, call.kind, call.outcome, call.rev) for call in first.calls] == [
        (call.op_id, call.kind, call.outcome, call.rev) for call in second.calls
    ]


class SilentEnd(FaultyStore):
    """Loses the batch that is written last of all."""

    async def do_watch(self, prefix: str, since: int | None) -> AsyncGenerator[Batch]:
        async for batch in super().do_watch(prefix, since):
            if not any(change.key.endswith("/end") for change in batch.changes):
                yield batch


async def test_a_watch_that_hangs_is_found() -> None:
    verdict = check(await virtual_run(shape(1), SilentEnd))
    assert verdict.rules["watch hang"] >= 1


async def test_a_history_without_its_final_log_is_void_and_not_a_pass() -> None:
    clock = Clock()
    recorder = Recorder(now_ns=Ticks(clock))
    async with MemoryStore(Memory(clock)) as store:
        history = await run([store], recorder, shape(1))
        kept = [each for each in history.operations if not each.client.startswith("final")]
        assert not check(type(history)(kept)).ok
        assert not check(type(history)(history.operations, minimum=10_000)).ok
        await store.compact()
        again = Recorder(now_ns=Ticks(clock))
        late = await run([store], again, Shape(seed=2, operations=50, root="later"))
    assert any("reset" in reason for reason in check(late).void)


async def test_cancelled_clients_leave_a_history_that_can_be_judged() -> None:
    clock = Clock()
    recorder = Recorder(now_ns=Ticks(clock))
    stores = [FaultyStore(Memory(clock), shape(4).random("only"))]

    async def stop(_: object) -> None:
        await asyncio.sleep(0)
        if len(recorder.operations) > 600:
            raise asyncio.CancelledError

    history = await run(stores, recorder, Shape(seed=4, operations=400), stop, stores[0].heal)
    verdict = check(history)
    assert verdict.ok or verdict.void, str(verdict)
    await stores[0].aclose()


class LateEnd(FaultyStore):
    """Ends a lease between the last transaction and what is read at the end, as a slow machine does."""

    async def do_heads(self, prefix: str) -> dict[str, int]:
        if not self.faults and self.memory.leases:
            self.memory.end([min(self.memory.leases)])
        return await super().do_heads(prefix)

    async def do_list(self, prefix: str, limit: int | None, after: str | None, *, keys_only: bool) -> Listing:
        if not self.faults and self.memory.leases:
            self.memory.end([max(self.memory.state.leases(), default=0)])
        return await super().do_list(prefix, limit, after, keys_only=keys_only)


async def test_leases_that_end_while_the_end_is_read_raise_no_alarm() -> None:
    for seed in range(5):
        verdict = check(await virtual_run(Shape(seed=seed, operations=300, ttl=30), LateEnd))
        assert verdict.rules.keys() <= {"lease ended early"}, str(verdict)
