"""Runs an attempt's agent: the profile that is asked for, and when that cannot start, those it falls back on."""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from coordstore.session import events
from coordstore_orchestrator.agents.output import open_reader
from coordstore_orchestrator.worker.observe import START, Observer, Sight
from coordstore_orchestrator.worker.process import Capture, Redactor, StartFailed, landlock, proctree, secret_values
from coordstore_orchestrator.worker.pulse import PULSE, cpu_seconds
from coordstore_orchestrator.worker.talk import Talk

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from coordstore.session.claim import Claim
    from coordstore_orchestrator.agents import Profile
    from coordstore_orchestrator.worker.post import Post
    from coordstore_orchestrator.worker.process import AgentProcess, Exit, Guardian
    from coordstore_orchestrator.worker.stop import Stop

__all__ = ["GRACE", "AgentRun", "Ran", "wait_for"]

log = logging.getLogger(__name__)

GRACE: Final = 5.0
"""Seconds between asking an agent to end and killing it."""
TAIL: Final = 4000
"""Characters of an agent's output that are searched for why it did not start."""
RECORD_MAX: Final = 1 << 26
"""Bytes of an agent's own record that are read; a larger one is left alone."""


@dataclass(frozen=True, slots=True)
class Ran:
    """How an agent's run ended.

    Args:
        profile: Which profile it was.
        exit: How its process ended.
        failed: Why it failed, by its own words.
        said: The last thing it said.
        stop: Asked when it was stopped at a limit.
        told: Events that are not written yet.
        quiet: Whether it printed nothing at all.
        last: The last things it said, in full.
    """

    profile: Profile
    exit: Exit
    failed: str | None
    said: str | None
    stop: Stop
    told: list[events.Event]
    quiet: bool
    last: tuple[str, ...] = ()


class AgentRun:
    """Starts an agent in its worktree and sees it to its end.

    Args:
        claim: Where its events go.
        guardian: Starts processes.
        worktree: Where it works.
        logs: Where its output goes.
        prompt: The file with its input.
        stop: Tells the attempt to stop.
        files: See `Sight`.
        label: Its name.
        repository: The repository that its branch is in.
        post: What is sent to it while it runs, if it reads that.
    """

    def __init__(
        self,
        claim: Claim,
        guardian: Guardian,
        *,
        worktree: Path,
        logs: Path,
        prompt: Path,
        stop: Stop,
        files: Callable[[], Awaitable[tuple[list[str], object]]],
        label: str,
        repository: Path,
        post: Post,
    ) -> None:
        self._claim = claim
        self._guardian = guardian
        self._worktree = worktree
        self._logs = logs
        self._prompt = prompt
        self._stop = stop
        self._files = files
        self._label = label
        self._repository = repository
        self._post = post
        self._runs = 0

    async def run(
        self,
        profile: Profile,
        env: Mapping[str, str],
        limits: Mapping[str, float],
        deadline: float | None,
        started: Callable[[AgentProcess, Observer], Awaitable[None]],
    ) -> Ran:
        """Run one profile to its end.

        Args:
            profile: How.
            env: The agent's whole environment.
            limits: What it may use.
            deadline: When it must have ended, on the loop's clock.
            started: Called once it runs.

        Raises:
            StartFailed: It cannot start; the message says what to do.

        Cancelled, nothing of the agent is left running.
        """
        secrets = secret_values(env)
        record = _Record(self._prompt.with_name("trace.json"), secrets)
        use = _Use()
        sight = Sight(self._files, record.read, use.measure, pulse_of(limits))
        observer = Observer(self._claim, open_reader(profile.output), limits, sight)
        talk = Talk(self._prompt, self._post) if profile.talks else None
        on_line = partial(talk.hear, observer) if talk else observer.line
        capture = Capture(self._logs, self._next_name(profile), secrets=secrets, on_line=on_line)
        process = await self._guardian.spawn(
            profile.command(prompt_file=self._prompt, worktree=self._worktree),
            cwd=self._worktree,
            env=env,
            stdin=talk.inlet if talk else profile.stdin(self._prompt),
            capture=capture,
            label=self._label,
            writable=self._writable(profile, env, observer),
        )
        use.begin(process, capture)
        beside = [asyncio.create_task(each.run()) for each in (observer, talk) if each]
        try:
            await started(process, observer)
            found = await wait_for(process, (self._stop, observer.stop), deadline)
        finally:
            await _end(process, beside)
            if talk is not None:
                talk.close()
        told = await observer.finish()
        await asyncio.to_thread(record.redact)
        self._check_start(profile, observer, found, capture)
        reader, quiet = observer.reader, capture.statistics().stdout_bytes == 0
        return Ran(profile, found, reader.failed, reader.said, observer.stop, told, quiet, tuple(reader.last))

    def _next_name(self, profile: Profile) -> str:
        """Return how this run's logs are called: the first run has the plain names."""
        self._runs += 1
        return profile.name if self._runs > 1 else ""

    def _writable(self, profile: Profile, env: Mapping[str, str], observer: Observer) -> list[Path]:
        """Return where an agent may write; nothing: anywhere, and when that was not wanted it is told."""
        if profile.confine is None:
            return []
        if landlock.abi() == 0:
            observer.take([events.Note(text="not confined: this kernel has no Landlock")])
            return []
        home = env.get("HOME", "")
        extra = [Path(home + each[1:] if each.startswith("~") else each) for each in profile.confine]
        record = self._prompt.with_name("trace.json")
        if "{trace_file}" in profile.argv:
            record.touch(mode=0o600)
        return [self._worktree, self._repository, record, Path("/dev"), Path(env.get("TMPDIR", "/tmp")), *extra]  # noqa: S108  (where programs look for it)

    def _check_start(self, profile: Profile, observer: Observer, found: Exit, capture: Capture) -> None:
        """Raise when the agent never got going, for a reason that its words tell."""
        went_wrong = found.code != 0 or observer.reader.failed or observer.stop.code == START
        if profile.verbatim or self._stop.asked or not went_wrong:
            return
        trouble = observer.trouble(capture.tail(TAIL))
        if trouble is not None:
            said = observer.reader.failed or (observer.errors[-1] if observer.errors else "")
            message = f"{profile.name} did not start: {trouble.advice}" + (f" (it said: {said[:300]})" if said else "")
            raise StartFailed(message)


async def _end(process: AgentProcess, beside: Sequence[asyncio.Task[None]]) -> None:
    """End a process and what went on beside it, if they have not ended."""
    if process.running:
        await asyncio.shield(process.kill())
    for task in beside:
        task.cancel()
    await asyncio.gather(*beside, return_exceptions=True)


class _Use:
    """Measures what the processes of an agent use, once it runs."""

    def __init__(self) -> None:
        self._keeper = 0
        self._capture: Capture | None = None

    def begin(self, process: AgentProcess, capture: Capture) -> None:
        """Measure this one from now on."""
        found = proctree.read_process(process.pid)
        self._keeper, self._capture = found.parent if found else 0, capture

    async def measure(self) -> tuple[float, int]:
        """Return the processor time in seconds, and the bytes printed."""
        if self._capture is None:
            return 0.0, 0
        cpu = await asyncio.to_thread(cpu_seconds, self._keeper) if self._keeper else 0.0
        counted = self._capture.statistics()
        return cpu, counted.stdout_bytes + counted.stderr_bytes


def pulse_of(limits: Mapping[str, float]) -> float:
    """Return how often a quiet agent's pulse is to be taken, given the seconds after which it is judged."""
    waits = [limits[name] for name in ("stall", "tool", "silence") if limits.get(name, 0) > 0]
    return min(PULSE, *(wait / 3 for wait in waits)) if waits else PULSE


class _Record:
    """The file that an agent itself writes about what it does.

    Args:
        path: The file.
        secrets: What must not get on.
    """

    def __init__(self, path: Path, secrets: tuple[str, ...]) -> None:
        self._path = path
        self._secrets = secrets
        self._seen: tuple[int, int] | None = None

    async def read(self) -> bytes | None:
        """Return it, redacted, when it has changed."""
        try:
            found = self._path.lstat()
        except OSError:
            return None
        state = (found.st_mtime_ns, found.st_size)
        if state == self._seen or found.st_size > RECORD_MAX:
            return None
        self._seen = state
        return await asyncio.to_thread(self._load)

    def _load(self) -> bytes | None:
        try:
            handle = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        with os.fdopen(handle, "rb") as file:
            data = file.read(RECORD_MAX)
        redactor = Redactor(self._secrets)
        return redactor.feed(data) + redactor.finish()

    def redact(self) -> None:
        """Replace it by what may stay on the disk; blocks."""
        data = self._load()
        if data is not None:
            with suppress(OSError):
                self._path.unlink()
                self._path.touch(mode=0o600)
                self._path.write_bytes(data)


async def wait_for(process: AgentProcess, stops: tuple[Stop, ...], deadline: float | None) -> Exit:
    """Wait for a process; end it when asked to stop or at its deadline, which asks the first one.

    Cancelled, the process is ended.
    """
    ended = asyncio.ensure_future(process.wait())
    asked = [asyncio.ensure_future(stop.wait()) for stop in stops]
    patience = None if deadline is None else max(0.0, deadline - asyncio.get_running_loop().time())
    try:
        await asyncio.wait({ended, *asked}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            if not any(stop.asked for stop in stops):
                stops[0].ask("deadline", "stopped at its deadline")
            await process.terminate(GRACE)
        return await ended
    finally:
        for each in asked:
            each.cancel()
        if not ended.done():
            await asyncio.shield(process.terminate(GRACE))
            ended.cancel()
