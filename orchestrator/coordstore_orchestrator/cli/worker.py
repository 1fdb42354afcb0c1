"""`coord worker`: runs agents on this host for the sessions of a store, whoever orchestrates them, wherever."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any, Final

import click

from coordstore.cli.context import Settings, pass_settings
from coordstore.cli.text import clean
from coordstore.home import state_dir
from coordstore.plugins import open_store
from coordstore_orchestrator.agents.config import load_configuration
from coordstore_orchestrator.cli.run import labels_of, worker_limit
from coordstore_orchestrator.git.remote import url_of
from coordstore_orchestrator.git.run import require_git
from coordstore_orchestrator.logs import log_to
from coordstore_orchestrator.worker.host import HostOptions, HostWorker
from coordstore_orchestrator.worker.mirror import own_folder

__all__ = ["worker"]

SLOTS: Final = 8


@click.command("worker")
@click.option("--store", "url", metavar="URL", help="The store whose sessions to serve [COORD_STORE].")
@click.option("--repo", metavar="URL", help="The git repository that all hosts reach [as the session calls it].")
@click.option("--labels", metavar="A,B", default="", help="What this host has: tasks with other labels go elsewhere.")
@click.option("--slots", type=click.IntRange(min=1), metavar="N", help="Agents at a time [8, or COORD_WORKER_LIMIT].")
@click.option("--quiet", is_flag=True, help="Print errors only.")
@pass_settings
def worker(settings: Settings, /, **options: Any) -> int:  # noqa: ANN401  (what click hands in)
    """Run agents on this host: claim tasks from the store's sessions, and hand in the work over git.

    It serves the sessions that `coord run` made with a remote. Ctrl-C or TERM once drains: what runs goes on, nothing
    new is taken, and the command ends; twice stops what runs. When the store is out of reach for longer than a lease,
    it stops its agents, says so, and begins anew when the store is back.

    Exit status: 0 drained, 2 usage, 4 store unavailable at the start.
    """
    os.umask(0o077)
    return asyncio.run(_worker(settings, **options))


async def _worker(settings: Settings, **how: Any) -> int:  # noqa: ANN401  (what click hands in)
    """Do it; return the exit status."""
    await require_git()
    labels, repo = labels_of(how["labels"]), url_of(how["repo"]) if how["repo"] else ""
    config = await asyncio.to_thread(load_configuration, None)
    folder, lock = await asyncio.to_thread(own_folder, state_dir() / "workers")
    log_to(folder)
    options = HostOptions(
        folder=folder,
        slots=how["slots"] or worker_limit() or SLOTS,
        labels=labels,
        repo=repo,
        profiles=config.profiles,
        environ=os.environ,
        ports=config.ports,
        say=_say if not how["quiet"] else lambda _text: None,
    )
    try:
        async with open_store(how["url"] or settings.store_url(Path())) as store:
            job = HostWorker(store, options)
            _handle_signals(job)
            served = f" and those labelled {', '.join(labels)}" if labels else ""
            options.say(f"worker with {options.slots} slots for tasks without labels{served}, in {folder}")
            await job.run()
    finally:
        os.close(lock)
    return 0


def _say(text: str) -> None:
    print(f"coord: {clean(text)}", flush=True, file=sys.stdout)


def _handle_signals(job: HostWorker) -> None:
    """Drain at the first signal, stop at the second."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, job.interrupt)
