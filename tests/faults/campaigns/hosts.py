"""Whole runs on several hosts: killed, cut off, paused and back, with everything landed once in the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.faults.campaign import Campaign, Outcome
from tests.faults.campaigns._etcd import NEEDS
from tests.hostlab.lab import Lab
from tests.hostlab.scenarios import SCENARIOS, fill

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.hostlab.scenarios import Scenario


def run(trials: int, seed: int) -> Iterator[Outcome]:
    """Play each scenario so many times; when what happens is decided by the machine, not by the seed."""
    del seed
    for name, scenario in SCENARIOS.items():
        with Lab(fill) as lab:
            wrong = [each for number in range(trials) for each in played(lab, scenario, f"{name}-{number}")]
        yield Outcome(
            name, trials, tuple(wrong), f"{trials - len({each.partition(':')[0] for each in wrong})} as promised"
        )


def played(lab: Lab, scenario: Scenario, name: str) -> list[str]:
    """Play a scenario once; return what was wrong."""
    lab.begin(name)
    try:
        return [f"{name}: {each}" for each in scenario(lab)]
    except AssertionError as error:
        return [f"{name}: {error}"]


CAMPAIGN = Campaign(
    "hosts",
    "Whatever host dies, is cut off or stands still: all work lands, once, and a former leader changes nothing.",
    run,
    full=20,
    part=0,
    group="hosts",
    needs=(*NEEDS, "unshare", "git"),
)
