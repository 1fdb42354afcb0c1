"""One attempt from claim to final state: worktree, set-up, agent, leftovers, scope, checks, report.

What the agent prints decides nothing. The attempt is completed when the agent ended with status 0, something was
done, every changed file lies in the task's write scope, and every check passed on exactly what was committed.
Whatever was done stays on the attempt's branch, also when it failed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from coordstore.errors import CoordError, Fenced, LeaseLost, OutcomeUnknown, StoreReplaced, Unavailable
from coordstore.session import State, events
from coordstore_orchestrator.agents import chain, environment, write_prompt
from coordstore_orchestrator.merge.gate import inspect
from coordstore_orchestrator.plan.scope import Scope
from coordstore_orchestrator.worker.agentrun import AgentRun, Ran, wait_for
from coordstore_orchestrator.worker.contract import SOCKET, Contract
from coordstore_orchestrator.worker.delegation import Patience, Subtasks
from coordstore_orchestrator.worker.extras import copy_files
from coordstore_orchestrator.worker.handin import hand_in
from coordstore_orchestrator.worker.limits import limits_of
from coordstore_orchestrator.worker.naps import Naps
from coordstore_orchestrator.worker.outcome import GaveUp, Outcome, as_pattern, last_line, left_behind, refusal
from coordstore_orchestrator.worker.post import Post
from coordstore_orchestrator.worker.process import Capture, Redactor, StartFailed, proctree, secret_values
from coordstore_orchestrator.worker.quarters import WorktreeQuarters, taken
from coordstore_orchestrator.worker.sight import changed_files, is_litter
from coordstore_orchestrator.worker.stop import CANCELLED, INTERRUPTED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from coordstore.session import Attempt, Task
    from coordstore.session.claim import Claim
    from coordstore_orchestrator.agents import Profile
    from coordstore_orchestrator.git.remote import Remote
    from coordstore_orchestrator.git.session import SessionRepository
    from coordstore_orchestrator.worker.extras import Ports
    from coordstore_orchestrator.worker.observe import Observer
    from coordstore_orchestrator.worker.process import AgentProcess, Exit, Guardian
    from coordstore_orchestrator.worker.stop import Stop

__all__ = ["AttemptRunner", "Site"]

log = logging.getLogger(__name__)

SHOWN_FILES: Final = 100
STORE_TROUBLE: Final = (Fenced, LeaseLost, OutcomeUnknown, Unavailable, StoreReplaced)
"""What says nothing of the attempt: it must not count as its failure."""
TAIL: Final = 2000
"""Characters of a failed command's output that go into the record."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where and with what a worker runs the attempts of one session.

    Args:
        session: The session's name.
        repository: The session's private repository.
        guardian: Starts processes and leaves none behind.
        worktrees: The folder for worktrees, one below it per agent.
        logs: The folder for captured output, one below it per agent.
        profiles: Agent profiles by name.
        agent: The profile or command of tasks that name none.
        setup: Commands (``sh -c``) that prepare each worktree.
        environ: The environment that agents' variables are taken from.
        run: Marks every process of this run.
        checkout: The root of the user's checkout, which files are copied from; None: there is none.
        copy: Files that each worktree gets from there.
        ports: Gives each agent ports of its own; None: they get none.
        remote: Where commits to start from come from, and work goes; None: all is in the repository.
        naps: Where attempts sleep that wait for subtasks; its worker's.
    """

    session: str
    repository: SessionRepository
    guardian: Guardian
    worktrees: Path
    logs: Path
    profiles: Mapping[str, Profile]
    agent: Any
    setup: Sequence[str]
    environ: Mapping[str, str]
    run: str
    checkout: Path | None = None
    copy: Sequence[str] = ()
    ports: Ports | None = None
    remote: Remote | None = None
    naps: Naps = field(default_factory=Naps)


class AttemptRunner:
    """Runs claimed attempts on one site.

    Args:
        site: Where and with what.
    """

    def __init__(self, site: Site) -> None:
        self._site = site

    async def run(self, claim: Claim, attempt: Attempt, task: Task, stop: Stop) -> None:
        """Run one attempt to a final state and report it; when the claim is lost, stop and report nothing.

        Cancelled: the agent's processes are gone, its work is on its branch, the claim is left to lapse.
        """
        work = _Work(self._site, claim, attempt, task, stop)
        try:
            outcome = await hand_in(self._site, attempt.agent, await work.carry_out(), work.done)
            await claim.finish(outcome.state, outcome.result(work.exit, work.seconds), *outcome.told)
            log.info("%s ended as %s: %s", attempt.agent, outcome.state, outcome.reason or "all is well")
        except (Fenced, LeaseLost) as error:
            log.warning("%s stopped, its work stays on its branch: %s", attempt.agent, error)
        finally:
            await asyncio.shield(asyncio.ensure_future(work.clean()))


class _Work:
    """One attempt under way."""

    def __init__(self, site: Site, claim: Claim, attempt: Attempt, task: Task, stop: Stop) -> None:
        self.exit: Exit | None = None
        self.seconds: float | None = None
        self._site = site
        self._claim = claim
        self._task = task
        self._stop = stop
        self._agent = attempt.agent
        self._assignment = attempt.json("assignment")
        self._base = str(self._assignment["base"])
        self._worktree = site.worktrees / attempt.agent
        self._logs = site.logs / attempt.agent
        self._began = 0.0
        self._told: list[events.Event] = []
        self._commit: str | None = None
        self._not_work: list[str] = []  # what the set-up left, as patterns of .gitignore
        self._limits: dict[str, float] = {}
        self._deadline: float | None = None
        self._said: str | None = None
        self._last: tuple[str, ...] = ()
        self._contract: Contract | None = None
        self._post = Post(claim, task.id)
        quarters = WorktreeQuarters(site, attempt.agent, task, self._base, self._worktree, lambda: self._observer)
        patience = Patience.of(site.environ)
        self._subtasks = Subtasks(claim, task, quarters, site.naps, self._tell, patience)
        self._observer: Observer | None = None
        self._profile: Profile | None = None
        self._env: dict[str, str] = {}
        self._ports: range | None = None

    async def carry_out(self) -> Outcome:
        """Do everything; return how it ended."""
        try:
            return await self._steps()
        except GaveUp as early:
            return early.outcome
        except STORE_TROUBLE:
            raise
        except CoordError as error:
            log.warning("%s failed: %s", self._agent, error)
            return self._gave_up(State.FAILED, str(error)).outcome

    @property
    def done(self) -> str | None:
        """Return the commit that its work ends at; None: there is none."""
        return None if self._commit == self._base else self._commit

    async def clean(self) -> None:
        """Keep uncommitted work on the branch and remove the worktree."""
        if self._ports is not None and self._site.ports is not None:
            self._site.ports.give_back(self._ports)
        if await asyncio.to_thread(self._worktree.exists):
            with contextlib.suppress(CoordError):
                await self._save()
            await self._site.repository.remove_worktree(self._agent, self._worktree)
            log.info("worktree of %s removed", self._agent)

    async def _steps(self) -> Outcome:
        spec = self._task.spec
        profiles = list(chain(spec.get("agent"), self._site.agent, self._site.profiles))
        profiles = profiles[min(int(self._assignment.get("other") or 0), len(profiles) - 1) :]
        self._limits = limits_of(profiles[0], spec)
        if (seconds := self._limits.get("deadline")) is not None:
            self._deadline = asyncio.get_running_loop().time() + seconds
        if self._site.remote is not None:
            await self._site.remote.fetch_base(self._site.repository.path, self._base)
        await self._site.repository.add_worktree(self._agent, self._base, self._worktree)
        prompt = await self._write_prompt()
        await self._add_extras()
        env = self._environment(profiles[0], prompt)
        for command in self._site.setup:
            await self._command(command, env, "setup")
        if self._site.setup:
            made = await self._site.repository.untracked(self._agent, self._worktree)
            self._not_work += [as_pattern(path) for path in made]
        secrets = secret_values(env)
        self._contract = Contract(
            spec.get("accept") or (), self._missing, self._tell, lambda: Redactor(secrets), self._post, self._subtasks
        )
        async with self._contract.listening(self._logs):
            ran = await self._run_agent(profiles, prompt)
        self.seconds = asyncio.get_running_loop().time() - self._began
        self._not_work += ran.profile.litter
        self._commit = await self._save()
        self._judge_run(ran)
        await self._judge_files(self._commit)
        for command in spec.get("checks") or ():
            await self._command(command, self._environment(ran.profile, prompt), "check")
        parts = await taken(self._site.repository.path, self._site.naps.view, self._agent, self._commit)
        return Outcome(
            State.COMPLETED,
            commit=self._commit,
            told=self._told,
            said=self._said,
            evidence=self._contract.evidence,
            taken=parts,
        )

    async def _add_extras(self) -> None:
        """Copy files and take ports, as the project's configuration says."""
        site = self._site
        if site.copy and site.checkout is not None:
            copied = await asyncio.to_thread(copy_files, site.checkout, self._worktree, site.copy)
            self._not_work += [as_pattern(name) for name in copied]
        if site.ports is not None:
            self._ports = await asyncio.to_thread(site.ports.take)

    async def _write_prompt(self) -> Path:
        path, hint = self._logs / "prompt.md", self._assignment.get("hint")
        return await asyncio.to_thread(write_prompt, path, self._task.spec, hint=hint)

    def _environment(self, profile: Profile, prompt: Path) -> dict[str, str]:
        extra = {
            "COORD_SESSION": self._site.session,
            "COORD_TASK": self._task.id,
            "COORD_AGENT": self._agent,
            "COORD_PROMPT_FILE": str(prompt),
            "COORD_AGENT_SOCKET": str(self._logs / SOCKET),
            "COORD_RUN": self._site.run,
        }
        if self._ports:
            extra |= {"COORD_PORT": str(self._ports[0]), "COORD_PORT_LAST": str(self._ports[-1])}
        return environment(profile, self._site.environ, extra)

    async def _run_agent(self, profiles: Sequence[Profile], prompt: Path) -> Ran:
        """Run the first profile that starts."""
        run = AgentRun(
            self._claim,
            self._site.guardian,
            worktree=self._worktree,
            logs=self._logs,
            prompt=prompt,
            stop=self._stop,
            files=self._look,
            label=self._agent,
            repository=self._site.repository.agents_path,
            post=self._post,
        )
        for at, profile in enumerate(profiles):
            self._profile, self._env = profile, self._environment(profile, prompt)
            try:
                limits = {**self._watch(profile), **self._limits}
                ran = await run.run(profile, self._env, limits, self._deadline, self._report_start)
            except StartFailed as error:
                log.warning("%s: %s", self._agent, error)
                if at + 1 == len(profiles):
                    raise self._gave_up(State.FAILED, str(error), "start") from error
                self._told.append(events.Error(text=str(error)))
                self._told.append(events.Note(text=f"falls back on {profiles[at + 1].name}"))
            else:
                self.exit, self._said, self._last = ran.exit, ran.said, ran.last
                self._told += ran.told
                self._told += left_behind(ran.exit)
                return ran
        raise AssertionError  # a task without an agent is refused with its plan

    async def _look(self) -> tuple[list[str], object]:
        return await changed_files(self._site.repository, self._agent, self._worktree, self._base, self._not_work)

    def _tell(self, told: Sequence[events.Event]) -> None:
        if self._observer is not None:
            self._observer.take(told)

    async def _missing(self) -> list[str]:
        """Return what would be refused if the agent ended now."""
        paths, _ = await self._look()
        scope = Scope.parse(self._task.spec.get("writes") or ())
        litter = self._profile.litter if self._profile else ()
        outside = [path for path in paths if not scope.matches(path) and not is_litter(path, litter)]
        missing = [f"{path!r} is outside the task's write scope: undo that change" for path in outside[:SHOWN_FILES]]
        if self._task.spec.get("writes") and not paths:
            missing.append("nothing was changed")
        missing += self._subtasks.missing()
        for command in self._task.spec.get("checks") or ():
            code, tail = await self._shell(command, self._env, "contract")
            if code != 0:
                missing.append(f"check failed: {command}: {last_line(tail)}")
        return missing

    async def _report_start(self, process: AgentProcess, observer: Observer) -> None:
        self._observer, self._began = observer, asyncio.get_running_loop().time()
        found = await asyncio.to_thread(proctree.read_process, process.pid)
        if self._contract is not None and found is not None:
            self._contract.begin(found.parent)
        log.info("%s runs as process %s in %s", self._agent, process.pid, self._worktree)
        await self._claim.report(
            events.Note(text=f"started in {self._worktree}"),
            *self._watching(),
            pid=process.pid,
            branch=self._agent,
            worktree=self._worktree,
            logs=self._logs,
        )

    def _watch(self, profile: Profile) -> dict[str, float]:
        """Return the thresholds of detectors that profile and task set."""
        return {**profile.watch, **(self._task.spec.get("watch") or {})}

    def _watching(self) -> list[events.Event]:
        profile = self._profile
        return [events.Watching(profile=profile.name, thresholds=self._watch(profile))] if profile else []

    async def _save(self) -> str:
        """Commit what the agent left uncommitted; return the commit its work ends at."""
        message = f"{self._agent}: {self._task.name}"
        await self._site.repository.commit_leftovers(self._agent, self._worktree, message, self._not_work)
        return await self._site.repository.head(self._agent, self._worktree, self._base)

    def _judge_run(self, ran: Ran) -> None:
        """Refuse what was not done: stopped, killed, failed by its exit status or its own words, or nothing at all."""
        self._judge_stop(ran.stop)
        if self._contract is not None and self._contract.completed:
            self._said = self._contract.completed
        wrong = refusal(ran, self._task.spec, self._contract, changed=self._commit != self._base)
        if wrong is not None:
            raise self._gave_up(State.FAILED, *wrong)

    def _judge_stop(self, *limits: Stop) -> None:
        """End the attempt when it was stopped: as failed at a limit, as cancelled otherwise."""
        for stop in (self._stop, *limits):
            if stop.asked:
                state = State.CANCELLED if stop.code in (CANCELLED, INTERRUPTED) else State.FAILED
                seconds = f" of {self._limits['deadline']:g} s" if stop.code == "deadline" else ""
                if stop.code in self._limits:
                    evidence = {"limit": self._limits[stop.code]}
                    verdict = events.Verdict(detector=stop.code, action="stop", reason=stop.reason, evidence=evidence)
                    self._told.append(verdict)
                raise self._gave_up(state, f"{stop.reason}{seconds}", stop.code)

    async def _judge_files(self, commit: str) -> None:
        """Refuse changes outside the write scope, and what no agent may change."""
        if commit == self._base:
            return
        repository = self._site.repository
        paths = await repository.changed_paths(self._base, commit)
        self._told.append(events.FilesChanged(paths=tuple(paths[:SHOWN_FILES]), count=len(paths)))
        scope = Scope.parse(self._task.spec.get("writes") or ())
        broken = await inspect(repository.path, self._base, commit, scope.matches)
        if broken:
            said = "; ".join(violation.sentence for violation in broken[:SHOWN_FILES])
            raise self._gave_up(State.FAILED, f"refused: {said}", "scope")

    async def _command(self, command: str, env: Mapping[str, str], what: str) -> None:
        """Run one of the plan's own commands in the worktree; end the attempt when it fails."""
        code, tail = await self._shell(command, env, what)
        passed = code == 0
        self._told.append(events.CheckRun(command=command, ok=passed, code=code, output="" if passed else tail))
        self._judge_stop()
        if not passed:
            raise self._gave_up(State.FAILED, f"{what} failed: {command}: {last_line(tail)}", what)

    async def _shell(self, command: str, env: Mapping[str, str], what: str) -> tuple[int | None, str]:
        """Run a command in the worktree; return its exit status and the end of its output."""
        capture = Capture(self._logs, name=what, secrets=secret_values(env))
        process = await self._site.guardian.spawn(
            ["sh", "-c", command], cwd=self._worktree, env=env, stdin=None, capture=capture, label=self._agent
        )
        found = await wait_for(process, (self._stop,), self._deadline)
        self._told += left_behind(found)
        return found.code, await asyncio.to_thread(capture.tail, TAIL)

    def _gave_up(self, state: State, reason: str, code: str | None = None) -> GaveUp:
        if state is State.FAILED:
            self._told.append(events.Error(text=reason))
        return GaveUp(Outcome(state, reason, code, self._commit, self._told, self._said, self._last))
