"""Many contend for one lock or agent on etcd at the same moment, from several processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.faults.campaign import Campaign, Outcome
from tests.faults.campaigns._etcd import one_server
from tests.faults.campaigns.claim_race import CAMPAIGN as ON_THIS_HOST
from tests.faults.campaigns.claim_race import races

if TYPE_CHECKING:
    from collections.abc import Iterator


def run(trials: int, seed: int) -> Iterator[Outcome]:
    """Make so many rounds."""
    del seed
    with one_server() as server:
        yield races(f"etcd://{server.endpoint}/race", trials)


CAMPAIGN = Campaign("etcd-claim-race", ON_THIS_HOST.promise, run, full=100, part=0, group="etcd", needs=("etcd",))
