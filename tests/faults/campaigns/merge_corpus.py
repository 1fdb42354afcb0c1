"""Generated repositories and branches give, merged without a checkout, the trees that `git merge` gives."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import seed as seeded

from tests.faults.campaign import Campaign, Outcome
from tests.git.corpus import Case, cases, check

if TYPE_CHECKING:
    from collections.abc import Iterator


def run(trials: int, seed: int) -> Iterator[Outcome]:
    """Check so many cases; the first that fails is made small and told."""
    seen: Counter[str] = Counter()
    failures: list[str] = []

    @seeded(seed)
    @given(cases())
    @settings(max_examples=trials, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def one(case: Case) -> None:
        seen.update(cases=1)
        try:
            seen.update(check(case))
        except AssertionError as error:
            failures[:] = [f"{error}: {case!r}"]  # the last one told is the smallest
            raise

    try:
        one()
    except AssertionError as error:
        failures = failures or [str(error)]
    yield Outcome("git", seen["cases"], tuple(failures), f"{seen['merged']:,} merged, {seen['refused']:,} conflicts")


CAMPAIGN = Campaign(
    name="merge-corpus",
    promise="The merged tree is that of `git merge` in the same order, fsck finds nothing, the checkout is untouched.",
    run=run,
    full=500,
    part=0,
    needs=("git",),
)
