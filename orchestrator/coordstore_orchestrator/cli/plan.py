"""`coord plan`: makes plans and looks at them without running anything."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import click

from coordstore.cli.context import Settings, open_existing, pass_settings
from coordstore_orchestrator.agents.config import load_configuration
from coordstore_orchestrator.cli.planning import make, repository_files, show
from coordstore_orchestrator.cli.run import SLOTS, load_checked
from coordstore_orchestrator.git.locate import locate
from coordstore_orchestrator.plan import Plan, example, plan_schema, waves
from coordstore_orchestrator.plan.breakeven import Estimate, Overheads, estimate, probed
from coordstore_orchestrator.plan.history import measured

__all__ = ["plan", "top_level"]


@click.group()
def plan() -> None:
    """Make plans and look at them: what a run would do, an example to start from, the format's JSON schema."""


plan.add_command(make)
plan.add_command(show)


@plan.command()
@click.argument("path", metavar="PLAN", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--agent", metavar="PROFILE", help="As for `coord run`: the agent of tasks that name none.")
@click.option("--slots", type=click.IntRange(min=1), default=SLOTS, metavar="N", help=f"Agents at a time [{SLOTS}].")
@pass_settings
def check(settings: Settings, path: Path, agent: str | None, slots: int) -> None:
    """Check PLAN as `coord run` does before it starts anything; exit status 2 when it would be refused.

    Says what the plan is expected to take with many agents and with one, from what was measured in this store.
    """
    found = load_checked(path, agent, load_configuration(top_level()).profiles)
    groups = waves(found)
    print(f"{len(found.tasks)} tasks in {len(groups)} waves; at most {max(map(len, groups), default=0)} at a time")
    for number, group in enumerate(groups, 1):
        print(f"  {number}. {', '.join(group)}")
    print(asyncio.run(_expected(settings, found, slots)))
    print(f"coord run {path}")


@plan.command("example")
def show_example() -> None:
    """Print a plan with every key explained; it runs as it is."""
    print(example(), end="")


@plan.command()
def schema() -> None:
    """Print the JSON schema of the plan format."""
    print(json.dumps(plan_schema(), indent=2))


async def _expected(settings: Settings, found: Plan, slots: int) -> Estimate:
    """Return what a plan is expected to take here; a store that is not there yet has measured nothing."""
    overheads, root = Overheads(), top_level()
    if root is not None or settings.store is not None:
        async with open_existing(settings.store_url()) as store:
            overheads = await measured(store) if store is not None else overheads
    return estimate(found, probed(overheads, len(await repository_files(root))), slots)


def top_level() -> Path | None:
    """Return the root of the checkout around this folder, whose configuration counts."""
    place = locate(".")
    return Path(place.top_level) if place is not None and place.top_level is not None else None
