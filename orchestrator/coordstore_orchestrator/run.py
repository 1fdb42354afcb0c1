"""One run of a plan on this host: leads the session, serves it with local workers, and lands the result.

Puts the parts together and knows no backend: orchestrator and workers meet in the store only, so the same parts
serve when they sit on different hosts.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from coordstore.errors import Conflict, CoordError, LeaseLost
from coordstore.home import session_dir
from coordstore.model import Put
from coordstore.session import SessionView, State
from coordstore.session.lineage import whole_of
from coordstore.session.session import Session, as_value, now_text
from coordstore.session.values import strings
from coordstore_orchestrator.git.remote import Remote
from coordstore_orchestrator.git.session import SessionRepository
from coordstore_orchestrator.merge.final import FinalValidation
from coordstore_orchestrator.merge.integrate import Integration
from coordstore_orchestrator.merge.land import land, release_epoch, take_epoch
from coordstore_orchestrator.merge.merger import Merger
from coordstore_orchestrator.merge.remote import RemoteLanding
from coordstore_orchestrator.merge.scratch import Scratch
from coordstore_orchestrator.merge.validate import Validator
from coordstore_orchestrator.monitor.decide import over
from coordstore_orchestrator.monitor.leadership import lead
from coordstore_orchestrator.monitor.orchestrator import GATHER, Orchestrator
from coordstore_orchestrator.monitor.postmortem import write_postmortems
from coordstore_orchestrator.plan.reserve import Reservations
from coordstore_orchestrator.review.model import Tools
from coordstore_orchestrator.review.registry import make_forge, make_reviewer
from coordstore_orchestrator.review.reviews import PAUSE, Reviews
from coordstore_orchestrator.review.reviews import Site as ReviewSite
from coordstore_orchestrator.worker.attempt import AttemptRunner, Site
from coordstore_orchestrator.worker.extras import Ports
from coordstore_orchestrator.worker.handin import save_left_work
from coordstore_orchestrator.worker.naps import Naps
from coordstore_orchestrator.worker.process import Guardian
from coordstore_orchestrator.worker.process.identity import end_leftovers, is_dead, own_holder
from coordstore_orchestrator.worker.steady import SteadySession, through_outages
from coordstore_orchestrator.worker.worker import Worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from coordstore.session import Task
    from coordstore.store import CoordStore
    from coordstore_orchestrator.git.user import UserRepository
    from coordstore_orchestrator.monitor.leadership import Leadership
    from coordstore_orchestrator.monitor.orchestrator import Integrator
    from coordstore_orchestrator.options import RunOptions

__all__ = ["Run"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Tools:
    """What leading a session on this host takes."""

    leadership: Leadership
    guardian: Guardian
    repository: SessionRepository
    integration: Integration
    base: str
    epoch: str
    landing: RemoteLanding | None = None

    @property
    def remote(self) -> Remote | None:
        """The repository that all hosts reach, if there are others."""
        return self.landing.remote if self.landing else None


class Run:
    """Drives one session on this host.

    Args:
        store: Where the session lives.
        user: The user's repository.
        name: The session's name.
        meta: The session's record (goal, digest, base, setup, validate …), used when it is new.
        tasks: The tasks' specifications, used when it is new.
        options: See `RunOptions`.
    """

    def __init__(
        self,
        store: CoordStore,
        user: UserRepository,
        name: str,
        meta: Mapping[str, Any],
        tasks: Mapping[str, Mapping[str, Any]],
        options: RunOptions,
    ) -> None:
        self._session = Session(store, name)
        self._user = user
        self._meta = dict(meta)
        self._tasks = tasks
        self._options = options
        self._folder = session_dir(options.home, name)
        self._holder = own_holder()
        self._naps = Naps()
        self._orchestrator: Orchestrator | None = None
        self._worker: Worker | None = None
        self._standing: asyncio.Task[Any] | None = None
        self._interrupts = 0

    @property
    def interrupted(self) -> bool:
        """Whether somebody asked it to end early."""
        return self._interrupts > 0

    async def ended(self) -> bool:
        """Tell whether the session has come to its end, whoever led it there."""
        return bool((await self._session.view()).result.get("ended"))

    def interrupt(self) -> None:
        """Drain: what runs goes on, nothing new starts. The second time: stop what runs."""
        self._interrupts += 1
        self._pass_on()

    def _pass_on(self) -> None:
        """Tell those who are there already."""
        if self._standing is not None:
            self._standing.cancel()
        if self._worker is None or self._orchestrator is None or not self._interrupts:
            return
        if self._interrupts == 1:
            self._worker.drain()
        else:
            self._worker.interrupt()
        self._orchestrator.drain()

    async def run(self) -> SessionView:
        """Create or resume the session, work until it is settled or drained, land the result; return the last view.

        Interrupted while it stands by, it is cancelled. Cancelled: agents are stopped, their work is on their branches,
        and the session can be resumed.

        Raises:
            SessionExists: The name belongs to another plan.
            LedByOther: Another orchestrator leads the session.
            Fenced: Another orchestrator took over meanwhile.
            LandRefused: The result ref was moved by somebody else.
            RemoteUnreachable: The repository that all hosts reach cannot be reached from this one.
            ScopesTaken: Another session on this repository may write the same files.
        """
        scopes = Reservations(self._session.store, await self._user.lineage(str(self._meta["base"])), is_dead)
        await self._look_at_others(scopes)
        created = asyncio.ensure_future(self._session.create(self._meta, self._tasks))
        async with AsyncExitStack() as stack:
            guardian = await stack.enter_async_context(Guardian())
            await created
            self._standing = asyncio.current_task() if self._options.standby else None
            leading = lead(self._session, self._holder, is_dead, self._options.standby)
            leadership = await stack.enter_async_context(leading)
            self._standing = None
            view = await self._take_over(leadership)
            if not view.result.get("ended"):
                await scopes.reserve(
                    self._session.name,
                    _writes({task.id: task for task in view.planned()}),
                    leadership.lease,
                    holder=self._holder,
                    fence=leadership.fence,
                    wait=self._options.wait,
                )
            tools = await self._prepare(view, leadership, guardian)
            view = await self._drive(view, tools)
            if over(view):
                await through_outages(lambda: self._finish(view, tools), tools.leadership.lease)
            await release_epoch(self._user, self._session.name, tools.epoch)
        return await self._session.view()

    async def _look_at_others(self, scopes: Reservations) -> None:
        """Refuse a session whose files others write, before anything of it is created; unless it may wait for them."""
        if self._options.wait or await self._session.store.get(self._session.keys.meta) is not None:
            return
        await scopes.look(self._session.name, {name: spec["writes"] for name, spec in self._tasks.items()})

    async def _prepare(self, view: SessionView, leadership: Leadership, guardian: Guardian) -> _Tools:
        """Make or reopen the session's repositories, and become the one who may land."""
        base, token = str(view.meta["base"]), leadership.fence.create_revision or 0
        remote = self._remote(view)
        if remote is not None:
            await remote.fetch_base(self._user.common_dir, base, keep=False)
        repository = SessionRepository(self._folder)
        await repository.create(self._user, base)
        await save_left_work(repository)
        integration = Integration(self._folder / "integration.git")
        await integration.create(self._user, repository)
        epoch = await take_epoch(self._user, self._session.name, base, token)
        landing = None
        if remote is not None:
            landing = RemoteLanding(remote, self._session.name, integration.path, base, token)
            await landing.take()
            await remote.publish(integration.path, base)
            if view.tip is not None:
                await remote.fetch_base(integration.path, view.tip)
        return _Tools(leadership, guardian, repository, integration, base, epoch, landing)

    def _remote(self, view: SessionView) -> Remote | None:
        """Return the repository that all hosts reach; of a session that has landed nothing is to be had there."""
        url = self._options.remote or view.meta.get("remote")
        return None if not url or view.result.get("ended") else Remote(str(url), self._session.name)

    async def _take_over(self, leadership: Leadership) -> SessionView:
        """Free what dead processes of this host held; return the session as it stands."""
        view = await self._session.view()
        for task in view.tasks.values():
            attempt = task.latest
            if attempt is None or attempt.state is not State.RUNNING or attempt.lost:
                continue
            holder = attempt.json("claim")
            if is_dead(holder):
                await end_leftovers(str(holder.get("run", "")), session=self._session.name)
                try:
                    await self._session.drop_claim(attempt, fence=leadership.fence)
                except Conflict:
                    log.info("claim of %s changed meanwhile", attempt.agent)
        return await self._session.view()

    def _site(self, view: SessionView, tools: _Tools) -> Site:
        options = self._options
        return Site(
            session=self._session.name,
            repository=tools.repository,
            guardian=tools.guardian,
            worktrees=self._folder / "worktrees",
            logs=self._folder / "logs",
            profiles=options.profiles,
            agent=options.agent or view.meta.get("agent"),
            setup=view.meta.get("setup") or (),
            environ=options.environ,
            run=str(self._holder["run"]),
            checkout=self._user.top_level,
            copy=options.copy,
            ports=Ports(options.ports) if options.ports else None,
            remote=tools.remote,
            naps=self._naps,
        )

    async def _drive(self, view: SessionView, tools: _Tools) -> SessionView:
        """Run orchestrator and workers until the session is settled or drained."""
        again = int(view.meta.get("hand_back") or 0)
        merger = Merger(self._session, tools.leadership, tools.integration, tools.base, again, tools.remote)
        async with self._reviewed(view, tools, merger) as (integrator, reviewing):
            return await self._serve(view, tools, integrator, reviewing)

    @contextlib.asynccontextmanager
    async def _reviewed(
        self, view: SessionView, tools: _Tools, merger: Merger
    ) -> AsyncIterator[tuple[Integrator, asyncio.Future[None] | None]]:
        """Let work pass through reviews where the session wants it."""
        wanted = view.meta.get("changes")
        if not isinstance(wanted, dict):
            yield merger, None
            return
        async with Scratch(tools.repository, self._folder / "review") as scratch:
            reviews = await self._make_reviews(view, tools, merger, scratch)
            reviewing = asyncio.ensure_future(reviews.run())
            try:
                yield reviews, reviewing
                await reviews.finish()
            finally:
                reviewing.cancel()
                await asyncio.gather(reviewing, return_exceptions=True)

    async def _make_reviews(self, view: SessionView, tools: _Tools, merger: Merger, scratch: Scratch) -> Reviews:
        options, wanted = self._options, view.meta["changes"]
        commands = view.meta.get("validate") or ()
        logs = self._folder / "logs" / "review"
        kit = Tools(
            session=self._session.name,
            user=self._user,
            source=tools.integration.path,
            target=str(wanted.get("target") or "main"),
            validate=Validator(scratch, logs, tools.guardian, commands, options.environ, options.slots).run,
            commands=commands,
            guardian=tools.guardian,
            logs=logs,
            profiles=options.profiles,
            environ=options.environ,
        )
        reviewer, forge = str(wanted.get("reviewer") or "person"), str(wanted.get("forge") or "local")
        site = ReviewSite(tools.integration, tools.base, scratch.checkout, reviewer, forge, _pause(options.environ))
        made = make_reviewer(reviewer, kit), make_forge(forge, kit)
        return Reviews(self._session, tools.leadership, merger, site, *made)

    async def _serve(
        self, view: SessionView, tools: _Tools, integrator: Integrator, reviewing: asyncio.Future[None] | None
    ) -> SessionView:
        options, lease = self._options, tools.leadership.lease
        session = SteadySession(self._session.store, self._session.name)
        runner = AttemptRunner(self._site(view, tools))
        more: Any = {"classes": options.labels, "limit": options.limit, "naps": self._naps}
        self._worker = Worker(session, runner, options.slots, self._holder, **more)
        gather = GATHER if tools.remote else 0.0
        self._orchestrator = Orchestrator(self._session, tools.leadership, tools.base, integrator, options.seen, gather)
        self._pass_on()
        serving = asyncio.ensure_future(self._worker.run())
        driving = asyncio.ensure_future(self._orchestrator.run())
        alarm = asyncio.ensure_future(lease.wait_lost())
        try:
            others = {reviewing} if reviewing else set()
            await asyncio.wait({serving, driving, alarm} | others, return_when=asyncio.FIRST_COMPLETED)
            if driving.done():
                return driving.result()
            for helper in (serving, reviewing):
                if helper is not None and helper.done():
                    helper.result()
            message = f"lost the leadership of session {self._session.name}: the store was out of reach for too long"
            raise LeaseLost(message, lease=lease.id)
        finally:
            for task in (serving, driving, alarm):
                task.cancel()
            await asyncio.gather(serving, driving, alarm, return_exceptions=True)

    async def _finish(self, view: SessionView, tools: _Tools) -> None:
        """Validate and land what was integrated, and record how the session ended."""
        fence = tools.leadership.fence
        if not view.result.get("final"):
            view = await self._validated(view, tools)
        merged = [task for task in view.tasks if view.merged(task).get("merged")]
        result = {**view.result, "final": _final(view, merged)}
        if self._options.merge:
            if view.tip is not None and view.tip != tools.base and result.get("commit") != view.tip:
                if tools.landing is not None:  # first, for a former leader is refused there and nowhere else
                    result["remote"] = tools.landing.remote.url
                    await tools.landing.land(view.tip)
                source = tools.integration.path
                result["ref"] = await land(self._user, source, self._session.name, view.tip, tools.epoch)
                result["commit"] = view.tip
            result |= {"landed": merged, "ended": result.get("ended") or now_text()}
        await write_postmortems(self._session, view, fence)
        if result != view.result:
            await self._session.store.transact([Put(self._session.keys.result, as_value(result))], fence=fence)
        if tools.landing is not None and self._options.merge:
            with contextlib.suppress(CoordError):  # refs that stay there are in nobody's way
                parts = [task for task in view.tasks if whole_of(view, task) in merged]
                await tools.landing.tidy(str(view.merged(task)["agent"]) for task in parts)

    async def _validated(self, view: SessionView, tools: _Tools) -> SessionView:
        """Run the plan's validation, if it has one, and leave out what breaks it."""
        commands = view.meta.get("validate") or ()
        if not commands:
            return view
        options, logs = self._options, self._folder / "logs" / "validate"
        async with Scratch(tools.repository, self._folder / "validate") as scratch:
            validator = Validator(scratch, logs, tools.guardian, commands, options.environ, options.slots)
            final = FinalValidation(
                self._session, tools.leadership, tools.integration, tools.base, validator.run, options.slots
            )
            found = await final.run(view)
        if tools.remote is not None and found.tip is not None:
            await tools.remote.publish(tools.integration.path, found.tip)
        return found


def _writes(tasks: Mapping[str, Task]) -> dict[str, list[str]]:
    """Return the tasks' write scopes."""
    return {name: strings(task.spec.get("writes")) for name, task in tasks.items()}


def _final(view: SessionView, merged: list[str]) -> str:
    planned = view.planned()
    if len(merged) == len(planned):
        return "completed"
    states = {task.state for task in planned}
    if not merged and states == {State.CANCELLED}:
        return "cancelled"
    return "partial" if merged else "failed"


def _pause(environ: Mapping[str, str]) -> float:
    """Return the seconds between two looks at a forge, COORD_FORGE_PAUSE."""
    try:
        return max(float(environ.get("COORD_FORGE_PAUSE", "")), 0.1)
    except ValueError:
        return PAUSE
