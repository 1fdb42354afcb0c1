"""A host's worker: serves every session of a store that it can, with the same worker that a local run uses.

It finds the sessions in the store, has their base from the repository that all hosts reach, and runs a `Worker` for
each, all of which share this host's slots. When the store is out of reach for as long as a lease, the workers stop
their agents; it says so, and begins anew once the store answers.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from coordstore.errors import CoordError, LeaseLost, OutcomeUnknown, Unavailable
from coordstore.recipes import Membership
from coordstore.session.catalog import session_names
from coordstore.session.session import Session, as_value, now_text
from coordstore_orchestrator.git.errors import GitError
from coordstore_orchestrator.git.remote import Remote
from coordstore_orchestrator.worker.attempt import AttemptRunner, Site
from coordstore_orchestrator.worker.extras import Ports
from coordstore_orchestrator.worker.handin import save_left_work
from coordstore_orchestrator.worker.mirror import Mirror
from coordstore_orchestrator.worker.process import Guardian
from coordstore_orchestrator.worker.process.identity import own_holder
from coordstore_orchestrator.worker.share import HostSlots
from coordstore_orchestrator.worker.steady import SteadySession
from coordstore_orchestrator.worker.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from coordstore.model import Batch
    from coordstore.session import SessionView
    from coordstore.store import CoordStore
    from coordstore_orchestrator.agents import Profile

__all__ = ["WORKERS", "HostOptions", "HostWorker"]

log = logging.getLogger(__name__)

WORKERS: Final = "workers"
"""The membership of all hosts' workers: who is there, with which labels and slots."""
AGAIN: Final = 1.0
"""Seconds until a session is tried again that could not be served."""
PASSING: Final = (LeaseLost, Unavailable, OutcomeUnknown, GitError)
"""What may be over when it is tried again."""


@dataclass(frozen=True, slots=True)
class HostOptions:
    """What a host's worker needs to know.

    Args:
        folder: Its own, for repositories, worktrees and logs: absolute, used by no other process.
        slots: How many agents at a time.
        labels: Whose tasks it serves, beside those without labels.
        repo: The repository that all hosts reach, as it is called from here; empty: as the session calls it.
        profiles: Agent profiles by name.
        environ: The environment that agents' variables are taken from.
        ports: How many ports each agent gets.
        say: Called with what a person should know.
    """

    folder: Path
    slots: int
    labels: Sequence[str]
    repo: str
    profiles: Mapping[str, Profile]
    environ: Mapping[str, str]
    ports: int = 0
    say: Callable[[str], None] = field(default=lambda _text: None)


class HostWorker:
    """Serves a store's sessions on this host.

    Args:
        store: Where the sessions live.
        options: See `HostOptions`.
    """

    def __init__(self, store: CoordStore, options: HostOptions) -> None:
        self._store = store
        self._options = options
        self._holder = own_holder()
        self._slots = HostSlots(options.slots)
        self._serving: dict[str, asyncio.Task[None]] = {}
        self._workers: dict[str, Worker] = {}
        self._drained = asyncio.Event()
        self._interrupts = 0
        self._said: dict[str, str] = {}
        self._over: set[str] = set()

    def interrupt(self) -> None:
        """Drain: what runs goes on, nothing new is taken. The second time: stop what runs."""
        self._interrupts += 1
        for worker in self._workers.values():
            self._pass_on(worker)
        self._drained.set()

    def _pass_on(self, worker: Worker) -> None:
        if self._interrupts == 1:
            worker.drain()
        elif self._interrupts:
            worker.interrupt()

    async def run(self) -> None:
        """Serve until drained.

        Cancelled: agents are stopped, their work is on their branches here, and their attempts go to others.
        """
        async with AsyncExitStack() as stack:
            guardian = await stack.enter_async_context(Guardian())
            helpers = [
                asyncio.ensure_future(self._find(guardian)),
                asyncio.ensure_future(self._be_seen()),
                asyncio.ensure_future(self._drained.wait()),
            ]
            try:
                await asyncio.wait(helpers, return_when=asyncio.FIRST_COMPLETED)
                for helper in helpers:
                    if helper.done():
                        helper.result()
                await self._wait_idle()
            finally:
                tasks = [*helpers, *self._serving.values()]
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _wait_idle(self) -> None:
        """Wait until nothing runs any more."""
        while any(worker.running for worker in self._workers.values()) and self._serving:
            await asyncio.wait(self._serving.values(), timeout=AGAIN / 10, return_when=asyncio.FIRST_COMPLETED)

    # --- being there ------------------------------------------------------------------------------------

    async def _be_seen(self) -> None:
        """Be a member of the store's workers, again after each time that the store was out of reach."""
        options = self._options
        said = {**self._holder, "slots": options.slots, "labels": [*options.labels], "since": now_text()}
        while True:
            try:
                group = Membership(self._store, WORKERS, cancel_body=False)
                async with await group.join(str(self._holder["run"]), as_value(said)) as member:
                    await member.wait_lost()
            except CoordError as error:
                log.info("not a member of the workers: %s", error)
            await asyncio.sleep(AGAIN)

    # --- sessions ---------------------------------------------------------------------------------------

    async def _find(self, guardian: Guardian) -> None:
        """Serve every session from when it is there until it is settled."""
        while True:
            try:
                async with aclosing(self._store.watch("")) as batches:
                    async for batch in batches:
                        if self._concerns(batch):
                            await self._look(guardian)
            except PASSING as error:
                self._tell("store", f"the store cannot be reached: {error}")
            await asyncio.sleep(AGAIN)

    def _concerns(self, batch: Batch) -> bool:
        """Tell whether a change may be that of a session that is new, or was made anew."""
        if batch.reset:
            self._over.clear()
        for change in batch.changes:
            if change.key.endswith("/meta"):
                self._over.discard(change.key.removesuffix("/meta"))
        return batch.reset or any(change.key.endswith("/meta") for change in batch.changes)

    async def _look(self, guardian: Guardian) -> None:
        """Begin to serve the sessions that are new."""
        self._tell("store", "")
        for name in await session_names(self._store):
            if name not in self._over and (name not in self._serving or self._serving[name].done()):
                view = await Session(self._store, name).view()
                if view.result.get("final"):
                    self._over.add(name)
                elif _serves(view):
                    self._serving[name] = asyncio.create_task(self._serve(name, guardian), name=f"serve {name}")

    async def _serve(self, name: str, guardian: Guardian) -> None:
        """Serve one session until it is settled, whatever comes between."""
        session = Session(self._store, name)
        while not self._interrupts:
            try:
                view = await session.view()
                if not _serves(view):
                    return
                await _first_assignment(session)  # before that, the base may not be there yet
                await self._serve_once(session, view, guardian)
            except PASSING as error:
                self._tell(name, f"session {name}: {error}")
            except CoordError as error:
                log.exception("session %s cannot be served", name)
                self._tell(name, f"session {name} is not served: {error}")
                return
            await asyncio.sleep(AGAIN)

    async def _serve_once(self, session: Session, view: SessionView, guardian: Guardian) -> None:
        """Serve one session until it is settled, or something goes wrong."""
        site = await self._site(session.name, view, guardian)
        share = self._slots.share()
        steady = SteadySession(self._store, session.name)
        options = self._options
        runner = AttemptRunner(site)
        worker = Worker(
            steady, runner, options.slots, self._holder, classes=options.labels, share=share, naps=site.naps
        )
        self._pass_on(worker)
        self._workers[session.name] = worker
        self._tell(session.name, f"session {session.name}: serving it")
        working = asyncio.ensure_future(worker.run())
        ended = asyncio.ensure_future(_settled(session))
        try:
            await asyncio.wait({working, ended}, return_when=asyncio.FIRST_COMPLETED)
            for done in (working, ended):
                if done.done():
                    done.result()
            self._tell(session.name, f"session {session.name}: it is over")
        finally:
            for task in (working, ended):
                task.cancel()
            await asyncio.gather(working, ended, return_exceptions=True)
            del self._workers[session.name]
            self._slots.leave(share)

    async def _site(self, name: str, view: SessionView, guardian: Guardian) -> Site:
        """Make or reopen what serving a session takes on this host."""
        options = self._options
        remote = Remote(options.repo or str(view.meta["remote"]), name)
        folder = options.folder / "sessions" / name
        repository = await Mirror(options.folder, remote).open(folder, str(view.meta["base"]))
        await save_left_work(repository)
        return Site(
            session=name,
            repository=repository,
            guardian=guardian,
            worktrees=folder / "worktrees",
            logs=folder / "logs",
            profiles=options.profiles,
            agent=view.meta.get("agent"),
            setup=view.meta.get("setup") or (),
            environ=options.environ,
            run=str(self._holder["run"]),
            ports=Ports(options.ports) if options.ports else None,
            remote=remote,
        )

    def _tell(self, what: str, text: str) -> None:
        """Say something once."""
        if self._said.get(what, "") != text:
            self._said[what] = text
            if text:
                self._options.say(text)


def _serves(view: SessionView) -> bool:
    """Tell whether a session can be served from another host: it goes on, and has a repository that all reach."""
    return view.ready and bool(view.meta.get("remote")) and not view.result.get("final")


async def _first_assignment(session: Session) -> None:
    """Return once a session has assigned anything, or is over."""
    async with aclosing(session.views()) as views:
        async for view in views:
            if any(task.attempts for task in view.tasks.values()) or not _serves(view):
                return


async def _settled(session: Session) -> None:
    """Return once a session is over, or is no more."""
    async with aclosing(session.views()) as views:
        async for view in views:
            if view.result.get("final") or not view.meta:
                return
