"""Make the faults, count what they broke: ``python -m tests.faults [NAME…] [--group local] [--part] [--write]``."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.campaign import Campaign, Outcome, campaigns

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
SHOWN = 5
"""Failures of one row that are printed in full."""


@dataclass(frozen=True)
class Row:
    """One outcome of one campaign."""

    campaign: Campaign
    outcome: Outcome
    seconds: float
    seed: int

    def cells(self) -> tuple[str, ...]:
        """Return what the table shows."""
        failures = len(self.outcome.failures)
        found = (self.campaign.name, self.outcome.backend, f"{self.outcome.trials:,}", f"{failures:,}", f"{self.seed}")
        return *found, f"{self.seconds:,.0f}", self.outcome.note


HEADINGS = ("campaign", "on", "trials", "failures", "seed", "seconds", "seen")


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="campaigns to run; all of the group by default")
    parser.add_argument("--group", default="local", help="local (File, SQLite, processes) or etcd")
    parser.add_argument("--part", action="store_true", help="as few trials as `make test` makes")
    parser.add_argument("--trials", type=int, help="trials per backend instead of each campaign's own number")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.name}")
    parser.add_argument("--list", action="store_true", help="what there is, and what each promises")
    options = parser.parse_args(argv)
    unknown = set(options.names) - {campaign.name for campaign in campaigns()}
    if unknown:
        parser.error(f"no campaign {', '.join(sorted(unknown))}: see --list")
    return options


def missing(campaign: Campaign) -> str | None:
    """Return what the campaign needs and this machine has not."""
    for need in campaign.needs:
        here = {"root": os.geteuid() == 0, "linux": sys.platform == "linux"}.get(need)
        if not (shutil.which(need) if here is None else here):
            return need
    return None


def chosen(options: argparse.Namespace) -> list[Campaign]:
    """Return the campaigns that were asked for."""
    if options.names:
        return [campaign for campaign in campaigns() if campaign.name in options.names]
    return [campaign for campaign in campaigns() if campaign.group == options.group]


def run(campaign: Campaign, options: argparse.Namespace) -> list[Row]:
    """Run one campaign and print each row as it is known."""
    if need := missing(campaign):
        return [Row(campaign, Outcome("-", 0, (f"cannot run here: needs {need}",)), 0, options.seed)]
    trials = options.trials or (campaign.part if options.part else campaign.full)
    rows, began = [], time.monotonic()
    for outcome in to_the_end(campaign, trials, options.seed):
        rows.append(Row(campaign, outcome, time.monotonic() - began, options.seed))
        began = time.monotonic()
        print("  ".join(rows[-1].cells()), flush=True)
        for failure in outcome.failures[:SHOWN]:
            print(f"    {failure}", flush=True)
    return rows


def to_the_end(campaign: Campaign, trials: int, seed: int) -> Iterator[Outcome]:
    """Yield a campaign's outcomes; one that breaks off is a failure, and no reason to leave out the others."""
    try:
        yield from campaign.run(trials, seed)
    except Exception as error:  # noqa: BLE001  (it is shown, and counted)
        traceback.print_exc()
        yield Outcome("-", 0, (f"broke off: {error!r}",))


def as_table(rows: Sequence[Row]) -> str:
    """Return the rows as a table that is Markdown and reads well in a terminal."""
    cells = [HEADINGS, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADINGS))]
    lines = [
        "| " + " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) + " |" for line in cells
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def write(group: str, table: str) -> None:
    """Put the table between its marks in the page."""
    begin, end = f"<!-- faults {group}: begin -->", f"<!-- faults {group}: end -->"
    text = PAGE.read_text()
    head, _, rest = text.partition(begin)
    _, _, tail = rest.partition(end)
    stamp = f"Seen on {time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, {platform.system()} {platform.release()}, "
    PAGE.write_text(f"{head}{begin}\n{stamp}Python {platform.python_version()}:\n\n{table}\n{end}{tail}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the campaigns and print the table; return 1 when anything failed."""
    options = parsed(argv)
    if options.list:
        print("\n".join(f"{each.name:<16} {each.group:<6} {each.full:>8,}  {each.promise}" for each in campaigns()))
        return 0
    rows = [row for campaign in chosen(options) for row in run(campaign, options)]
    table = as_table(rows)
    print(f"\n{table}")
    if options.write:
        write(options.group, table)
    return int(not rows or any(row.outcome.failures or not row.outcome.trials for row in rows))


if __name__ == "__main__":
    sys.exit(main())
