"""Every fault campaign, in the size that fits a test run; `make faults` makes the full numbers."""

from __future__ import annotations

import os

import pytest

from tests.faults.__main__ import missing
from tests.faults.campaign import Campaign, campaigns

SEED = int(os.environ.get("COORD_FAULT_SEED", "1"))
PART = [campaign for campaign in campaigns() if campaign.part]


@pytest.mark.req("S5", "S7", "S9")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("campaign", PART, ids=[campaign.name for campaign in PART])
def test_what_the_campaign_promises_holds(campaign: Campaign) -> None:
    if need := missing(campaign):
        pytest.skip(f"needs {need}")
    outcomes = list(campaign.run(campaign.part, SEED))
    assert outcomes
    for outcome in outcomes:
        assert outcome.trials, f"{campaign.name} on {outcome.backend}: nothing was tried"
        assert not outcome.failures, f"{campaign.promise} Not so on {outcome.backend}: {outcome.failures[:5]}"
