"""`coord run`: carries out a plan with parallel agents on this repository and lands one merged result."""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from coordstore.cli.context import Settings, pass_settings
from coordstore.errors import InvalidArgument
from coordstore.home import home_dir
from coordstore.names import is_segment
from coordstore.plugins import open_store
from coordstore.session.session import now_text
from coordstore_orchestrator.agents import chain, resolve_agent
from coordstore_orchestrator.agents.config import load_configuration
from coordstore_orchestrator.cli.again import run_through
from coordstore_orchestrator.cli.display import INTERRUPTED, RunDisplay
from coordstore_orchestrator.folders import prepare_session_folder
from coordstore_orchestrator.git.remote import default_url
from coordstore_orchestrator.git.run import git, text_of
from coordstore_orchestrator.git.state import notices
from coordstore_orchestrator.git.user import UserRepository
from coordstore_orchestrator.logs import log_to
from coordstore_orchestrator.monitor.detect import check_thresholds
from coordstore_orchestrator.monitor.recovery import known_policy
from coordstore_orchestrator.options import RunOptions
from coordstore_orchestrator.plan import check_plan, load_plan, plan_digest
from coordstore_orchestrator.plan.follow import followed
from coordstore_orchestrator.review.registry import check_names
from coordstore_orchestrator.run import Run
from coordstore_orchestrator.tracing import open_traces
from coordstore_orchestrator.worker.permits import Limit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from coordstore.model import StoreInfo
    from coordstore.session import SessionView
    from coordstore.store import CoordStore
    from coordstore_orchestrator.agents import Profile
    from coordstore_orchestrator.agents.config import Configuration
    from coordstore_orchestrator.plan import Plan
    from coordstore_orchestrator.tracing import Traces

__all__ = ["SLOTS", "labels_of", "load_checked", "run", "worker_limit"]

SLOTS: Final = 8
SLUG_MAX: Final = 40


@click.command("run")
@click.argument("plan", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--store", "url", metavar="URL", help="The store to use [as before the command's name].")
@click.option("--repo", type=click.Path(file_okay=False, path_type=Path), default=Path(), help="The repository [.].")
@click.option("--session", metavar="NAME", help="Create or resume this session [words of the goal and 4 hex digits].")
@click.option(
    "--slots",
    type=click.IntRange(min=0),
    metavar="N",
    help="Agents at a time here [8, or COORD_WORKER_LIMIT]; 0: leave all to `coord worker`.",
)
@click.option("--labels", metavar="A,B", help="Labels of tasks that run here [with workers elsewhere none, else all].")
@click.option(
    "--remote",
    metavar="NAME",
    help="The git remote (name, URL or path) by which workers get and hand in work [on a store for several hosts:"
    " origin, or this repository].",
)
@click.option("--standby", is_flag=True, help="When another orchestrator leads, wait and take over from it.")
@click.option("--agent", metavar="PROFILE", help="The agent of tasks that name none.")
@click.option("--allow-unproven", is_flag=True, help="Also run agents that have not shown what they can do.")
@click.option("--recovery", metavar="NAME", help="The policy of what follows a failed attempt [standard].")
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=0,
    metavar="SECONDS",
    help="Wait for sessions that write the same files [0].",
)
@click.option("--one-agent/--many-agents", "one", default=None, help="Whether one agent does all [what is faster].")
@click.option("--review", metavar="NAME", help="Who reviews each change: person, validation, or an agent profile.")
@click.option("--forge", metavar="NAME", help="Where changes are shown: local, github or gitlab [local].")
@click.option("--no-merge", is_flag=True, help="Leave the result out of the repository.")
@click.option("--json", "as_json", is_flag=True, help="Print the session at the end as `coord inspect --json` does.")
@click.option("--quiet", is_flag=True, help="Print the summary only.")
@pass_settings
def run(settings: Settings, /, **options: Any) -> int:  # noqa: ANN401  (what click hands in)
    """Run PLAN (YAML, JSON or TOML; - is standard input) and merge the agents' work into coord/SESSION.

    Your checkout, index, HEAD and configuration are not touched. The last line printed is the next command to type.

    Exit status: 0 all landed, 1 nothing landed, 2 usage or plan refused, 3 some landed, 4 store unavailable,
    5 another orchestrator leads this session, 130 interrupted.
    """
    os.umask(0o077)  # what we write is the user's alone; agents get their own, and what lands the repository's
    return asyncio.run(_run(settings, **options))


async def _run(settings: Settings, **how: Any) -> int:  # noqa: ANN401  (what click hands in)
    """Do it; return the exit status."""
    plan, repo = how["plan"], how["repo"]
    user = await UserRepository.discover(repo)
    config = await asyncio.to_thread(load_configuration, user.top_level)
    found = load_checked(plan, how["agent"], config.profiles)
    if not how["allow_unproven"]:
        await asyncio.to_thread(_demand_proofs, found, how["agent"], config.profiles)
    meta = await _record(user, found, plan, how, config.profiles)
    name = how["session"] or _session_name(found.goal)
    display = RunDisplay(name, sys.stderr if how["as_json"] else sys.stdout, quiet=how["quiet"])
    await _tell(user, display, meta["base"])
    traces = open_traces(os.environ, display.say)
    options = _options(how, config, _both(display, traces), display)
    log_to(await asyncio.to_thread(prepare_session_folder, options.home, name), name, [task.id for task in found.tasks])
    async with open_store(how["url"] or settings.store_url(repo)) as store:
        options = await _with_remote(store, user, how, options, meta)
        free = options.slots if how["slots"] is None else None
        found = await followed(store, name, found, one=how["one"], slots=free, say=display.say)
        meta |= _meta(found, how["agent"])
        job: Run

        def begin() -> Run:
            nonlocal job
            job = Run(store, user, name, meta, _tasks(found), options)
            _handle_signals(job, display)
            return job

        try:
            job, view = await run_through(begin, display.say)
        except asyncio.CancelledError:
            if not job.interrupted:
                raise
            return INTERRUPTED  # while it stood by
        if traces is not None:
            await traces.close(view)
        info = await store.info()
    if how["as_json"]:
        print(json.dumps({"schema": 1, "store": _store(info), "sessions": [view.as_json()]}, ensure_ascii=False))
    return display.finish(view, plan, interrupted=job.interrupted, merged=not how["no_merge"])


def _options(
    how: Mapping[str, Any], config: Configuration, seen: Callable[[SessionView], None], display: RunDisplay
) -> RunOptions:
    """Return what a run needs to know, from the command line, the project's configuration and the environment."""
    limit = worker_limit()
    slots = how["slots"] if how["slots"] is not None else limit or SLOTS
    return RunOptions(
        home=home_dir(how["repo"]),
        slots=slots,
        limit=Limit(default=max(slots, SLOTS), override=limit),
        agent=how["agent"],
        profiles=config.profiles,
        environ=os.environ,
        merge=not how["no_merge"],
        seen=seen,
        copy=config.copy,
        ports=config.ports,
        wait=how["wait"],
        labels=None if how["labels"] is None else labels_of(how["labels"]),
        standby=display.standby if how["standby"] else None,
    )


async def _tell(user: UserRepository, display: RunDisplay, base: str) -> None:
    """Say what the user may not expect."""
    if dirty := await user.is_dirty():
        display.say(f"{dirty} uncommitted changes of yours are not part of the base, {base[:10]}: no agent sees them")
    for notice in await notices(user):
        display.say(notice)


async def _remote(store: CoordStore, user: UserRepository, name: str | None) -> str | None:
    """Return the repository that workers elsewhere reach; None: there are none."""
    if name is None and "hosts" not in (await store.info()).abilities:
        return None
    return await default_url(user, name or "")


async def _with_remote(
    store: CoordStore, user: UserRepository, how: Mapping[str, Any], options: RunOptions, meta: dict[str, Any]
) -> RunOptions:
    """Return the options with the repository that workers elsewhere reach, which the session's record names too."""
    remote = await _remote(store, user, how["remote"])
    if remote is None:
        if options.slots == 0:
            message = "--slots 0 leaves all to workers elsewhere: name the git remote that they reach with --remote"
            raise InvalidArgument(message)
        return options
    meta["remote"] = remote
    labels = options.labels if options.labels is not None else ()
    return replace(options, labels=labels, remote=remote if how["remote"] else None)


async def _record(
    user: UserRepository, found: Plan, plan: Path, how: Mapping[str, Any], profiles: Mapping[str, Profile]
) -> dict[str, Any]:
    """Return the session's whole record, once what it names is known to exist."""
    chosen = {"recovery": known_policy(how["recovery"])} if how["recovery"] else {}
    return {
        **_meta(found, how["agent"]),
        **chosen,
        **await _changes(user, found, how, profiles),
        "base": await user.resolve(found.base),
        **_where(user, plan),
    }


def check_watch(plan: Plan, profiles: Mapping[str, Profile]) -> None:
    """Refuse thresholds of detectors that do not exist.

    Raises:
        UnknownDetector: The message names the task or the profile, and the detectors there are.
    """
    for task in plan.tasks:
        check_thresholds(f"task {task.id}, watch", task.watch)
    for profile in profiles.values():
        check_thresholds(f"agent profile {profile.name}, watch", profile.watch)


def _both(display: RunDisplay, traces: Traces | None) -> Callable[[SessionView], None]:
    """Return what is called with each view: it shows the view, and traces it."""

    def seen(view: SessionView) -> None:
        display.seen(view)
        if traces is not None:
            traces.seen(view)

    return seen


def load_checked(path: Path, agent: str | None, profiles: Mapping[str, Profile]) -> Plan:
    """Read a plan and check it with the agent that fills its gaps; that agent is the run's, not the plan's."""
    found = load_plan(path)
    filled = found if agent is None or found.agent is not None else found.model_copy(update={"agent": agent})
    check_plan(filled, profiles)
    check_watch(filled, profiles)
    for each in (filled.agent, *(task.agent for task in filled.tasks)):
        if isinstance(each, str):
            resolve_agent(each, profiles)  # refuses a model that the profile does not take
    return found


def _demand_proofs(plan: Plan, agent: str | None, profiles: Mapping[str, Profile]) -> None:
    """Refuse agents that have not shown that they can do the work; plain commands need not."""
    from coordstore_orchestrator.agents.proof import Proofs

    proofs = Proofs(os.environ)
    used = {each for each in (agent, plan.agent, *(task.agent for task in plan.tasks)) if isinstance(each, str)}
    for name in sorted(used):
        for profile in chain(name, None, profiles):
            proofs.demand(profile)


def _meta(plan: Plan, agent: str | None) -> dict[str, Any]:
    """Return the session's record, without what the repository decides."""
    data = plan.model_dump(mode="json", by_alias=True, exclude_none=True)
    kept: dict[str, Any] = {
        name: data[name] for name in ("goal", "agent", "setup", "validate", "hand_back") if name in data
    }
    if alone := agent or kept.get("agent"):
        kept["alone"] = alone  # who gets the whole when all tasks fail
    return {"schema": 1, **kept, "base_name": plan.base, "digest": plan_digest(plan), "created": now_text()}


async def _changes(
    user: UserRepository, plan: Plan, how: Mapping[str, Any], profiles: Mapping[str, Profile]
) -> dict[str, Any]:
    """Return how each agent's work is reviewed before it is merged; empty: it is not."""
    if not (how["review"] or how["forge"]):
        return {}
    reviewer, forge = how["review"] or "person", how["forge"] or "local"
    check_names(reviewer, forge, profiles)
    asked = ["rev-parse", "--abbrev-ref", "--verify", "--end-of-options", plan.base]
    branch = text_of((await git(asked, cwd=user.cwd, trust_user=True, check=False)).stdout).strip()
    target = "main" if branch in {"", "HEAD"} else branch
    return {"changes": {"reviewer": reviewer, "forge": forge, "target": target}}


def _where(user: UserRepository, plan: Path) -> dict[str, str]:
    """Return what people want to find again."""
    return {"repo": str(user.cwd), "plan": str(plan if str(plan) == "-" else plan.absolute())}


def _tasks(plan: Plan) -> dict[str, dict[str, Any]]:
    """Return the tasks' specifications by id."""
    return {task.id: task.model_dump(mode="json", by_alias=True, exclude_none=True) for task in plan.tasks}


def _session_name(goal: str) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", goal.lower()).strip("-")[:SLUG_MAX].strip("-") or "session"
    return f"{slug}-{secrets.token_hex(2)}"


def labels_of(text: str) -> tuple[str, ...]:
    """Return the labels in a list with commas.

    Raises:
        InvalidArgument: One of them is none that a task can have.
    """
    found = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    for label in found:
        if not is_segment(label):
            message = f"{label!r} is no label: [a-z0-9][a-z0-9._-]{{0,63}}, several with commas between"
            raise InvalidArgument(message)
    return found


def worker_limit() -> int | None:
    """Return what COORD_WORKER_LIMIT says, or None: how many agents may run at a time, on the whole store.

    Raises:
        InvalidArgument: COORD_WORKER_LIMIT is no positive number.
    """
    text = os.environ.get("COORD_WORKER_LIMIT")
    if text is None:
        return None
    if text.isdigit() and int(text) > 0:
        return int(text)
    message = f"COORD_WORKER_LIMIT={text!r}: set it to a number of agents from 1, or unset it"
    raise InvalidArgument(message)


def _handle_signals(job: Run, display: RunDisplay) -> None:
    """Drain at the first Ctrl-C, cancel at the second; TERM and HUP cancel at once."""
    loop = asyncio.get_running_loop()

    def interrupt() -> None:
        first = not job.interrupted
        job.interrupt()
        if first:
            display.say("draining: running agents finish, none starts; Ctrl-C again cancels them")

    def terminate() -> None:
        job.interrupt()
        job.interrupt()

    loop.add_signal_handler(signal.SIGINT, interrupt)
    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, terminate)


def _store(info: StoreInfo) -> dict[str, Any]:
    return {
        "id": info.store_id,
        "url": info.url,
        "scheme": info.scheme,
        "revision": info.revision,
        "durability": info.durability,
    }
