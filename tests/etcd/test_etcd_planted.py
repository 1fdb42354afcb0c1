"""The trials can fail: a client with a planted bug of each kind is caught."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from coordstore.model import Transaction
from coordstore.store.base import StoreBase
from coordstore.store.lease import Lease
from coordstore_etcd.events import Events
from coordstore_etcd.faults import Meaning, meaning
from tests.etcdlab.trials.holders import cut_off, zombies
from tests.etcdlab.trials.replies import lost_replies
from tests.etcdlab.trials.streams import cut_streams

if TYPE_CHECKING:
    import grpc

    from coordstore.model import Committed
    from tests.etcdlab.server import Server

pytestmark = [pytest.mark.req("S5", "S6", "S9"), pytest.mark.timeout(120)]

SEED = 1


async def test_a_client_that_sends_a_write_again_is_caught(
    etcd_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def careless(error: grpc.aio.AioRpcError) -> Meaning:
        found = meaning(error)
        return Meaning.ELSEWHERE if found is Meaning.LOST else found

    monkeypatch.setattr("coordstore_etcd.cluster.meaning", careless)
    tally = await lost_replies(etcd_server, "planted", 20, random.Random(SEED))
    assert any("false failure" in failure or "wrong number" in failure for failure in tally.failures)


async def test_a_watch_that_goes_on_one_revision_late_is_caught(
    etcd_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = Events._drop

    def hasty(self: Events) -> None:
        self._delivered += 1
        honest(self)

    monkeypatch.setattr(Events, "_drop", hasty)
    tally = await cut_streams(etcd_server, "planted", 300, random.Random(SEED))
    assert any(failure.startswith(("the watch", "the follow")) for failure in tally.failures)


async def test_a_store_that_forgets_fences_is_caught(etcd_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = StoreBase.commit

    async def forgetful(self: StoreBase, txn: Transaction) -> Committed:
        return await honest(self, Transaction(txn.writes, txn.checks, txn.appends, None))

    monkeypatch.setattr(StoreBase, "commit", forgetful)
    tally = await zombies(etcd_server, "planted", 3, random.Random(SEED))
    assert any("zombie's write was accepted" in failure for failure in tally.failures)


async def test_a_holder_that_does_not_wait_for_the_answer_is_caught(
    etcd_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = Lease.renew
    asked: Counter[int] = Counter()

    async def renew(self: Lease) -> None:
        asked[self.id] += 1
        if asked[self.id] < 8:
            self._deadline = self._clock.now() + self.ttl
        await honest(self)

    monkeypatch.setattr(Lease, "renew", renew)
    tally = await cut_off(etcd_server, "planted", 1)
    assert any("later than TTL after the cut" in failure for failure in tally.failures)
