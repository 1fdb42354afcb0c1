"""`coord plan make` and `coord plan show`: from a goal to a plan, and from a plan to a picture."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click
import yaml

from coordstore_orchestrator.agents.config import load_configuration
from coordstore_orchestrator.git.locate import locate
from coordstore_orchestrator.git.run import git
from coordstore_orchestrator.plan import load_plan
from coordstore_orchestrator.plan.draw import drawing, listing
from coordstore_orchestrator.plan.errors import PlanError, Problem
from coordstore_orchestrator.plan.planning import RETRIES, Wanted, make_plan, planner_of, planners

__all__ = ["make", "repository_files", "show"]


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("goal", metavar="GOAL", required=False)
@click.argument("arguments", metavar="[ARGUMENT]...", nargs=-1, type=click.UNPROCESSED)
@click.option("--planner", metavar="NAME", default="command", help="Who plans [command].")
@click.option("--agent", metavar="PROFILE", help="Who does the tasks; without it the planner says.")
@click.option("--retries", type=click.IntRange(0, 20), default=RETRIES, help=f"Times to say what is wrong [{RETRIES}].")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the plan to a new file.")
@click.option("--list", "listed", is_flag=True, help="List the planners there are.")
def make(
    goal: str | None,
    arguments: tuple[str, ...],
    planner: str,
    agent: str | None,
    retries: int,
    output: Path | None,
    listed: bool,  # noqa: FBT001  (click's)
) -> None:
    """Make a plan for GOAL and print it; nothing is run.

    ARGUMENT is for the planner: a command line (`coord plan make GOAL -- PROGRAM [ARGUMENT]...`, which is asked on
    its standard input and prints a plan), a file, or a model's name. What is wrong with a plan is told to the
    planner, which then corrects it. Exit status 2 when it cannot.
    """
    if listed:
        for name, (_, summary) in planners().items():
            print(f"{name}  {summary}")
        return
    if goal is None or not goal.strip():
        raise PlanError.of([Problem("GOAL", "is empty", "say what is to be done")])
    if output is not None and output.exists():
        raise PlanError.of([Problem(str(output), "exists", "name a new file")])
    chosen = planner_of(planner, arguments)

    async def made() -> str:
        wanted = Wanted(goal, await repository_files(_root()), agent, load_configuration(_root()).profiles)
        plan = await make_plan(chosen, wanted, retries, lambda error: print(f"not yet:\n{error}", file=sys.stderr))
        return yaml.safe_dump(plan.as_json(), sort_keys=False, allow_unicode=True, width=100)

    text = asyncio.run(made())
    if output is None:
        print(text, end="")
        return
    output.write_text(text, encoding="utf-8")
    print(f"coord run {output}")


@click.command()
@click.argument("path", metavar="PLAN", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
@click.option(
    "--svg",
    "file",
    metavar="FILE",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help="Write the graph as SVG; - is standard output.",
)
def show(path: Path, file: Path | None) -> None:
    """Show the tasks of PLAN in the waves in which they can run, with what each writes and needs."""
    plan = load_plan(path)
    if file is None:
        print(listing(plan))
    elif str(file) == "-":
        print(drawing(plan), end="")
    else:
        file.write_text(drawing(plan), encoding="utf-8")
        print(f"wrote {file}")


def _root() -> Path | None:
    place = locate(".")
    return Path(place.top_level) if place is not None and place.top_level is not None else None


async def repository_files(root: Path | None) -> list[str]:
    """Return the files of a checkout by its root, the shallow ones first; none of None."""
    if root is None:
        return []
    found = await git(["ls-files", "-z"], cwd=root, trust_user=True, check=False)
    names = [name for name in found.stdout.decode(errors="replace").split("\0") if name]
    return sorted(names, key=lambda name: (name.count("/"), name))
