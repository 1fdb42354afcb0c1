"""Git processes as jobs on threads: started, fed, waited for, and killed when the caller is cancelled.

Start and wait both block, hence the threads. Each process has a process group of its own, so that Ctrl-C at a terminal
reaches the orchestrator only.
"""

from __future__ import annotations

import asyncio
import functools
import os
import shutil
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

from coordstore_orchestrator.git.errors import GitError, GitMissing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["MINIMUM", "Command", "GitResult", "Job", "on_thread", "to_end"]

P = ParamSpec("P")
T = TypeVar("T")

MINIMUM: Final = (2, 38)
"""The first git with `merge-tree --write-tree`."""
_THREADS: Final = ThreadPoolExecutor(max_workers=8, thread_name_prefix="git")


@dataclass(frozen=True, slots=True)
class GitResult:
    """What a git process left: its output, its words, its exit status."""

    stdout: bytes
    stderr: bytes
    returncode: int


@functools.cache
def _executable(path: str) -> str:
    """Return where git is, looked up once: else each start tries every folder of PATH."""
    return shutil.which("git", path=path) or "git"


@dataclass(frozen=True, slots=True)
class Command:
    """What it takes to start one process: arguments, environment, umask for what it creates."""

    argv: list[str]
    env: dict[str, str]
    umask: int


class Job:
    """One git process, or two joined by a pipe; runs on a thread, can be killed from another.

    Args:
        commands: One or two.
        cwd: Where they run; None: the current folder.
        stdin: What the first reads; None: nothing.
    """

    def __init__(self, commands: list[Command], cwd: str | Path | None, stdin: bytes | None) -> None:
        self.commands = commands
        self._cwd = cwd
        self._stdin = stdin
        self._guard = threading.Lock()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._killed = False

    def run(self) -> list[GitResult]:
        """Start, feed and wait; return what each left.

        Raises:
            GitMissing: There is no git.
            GitError: There is no such folder to run it in.
        """
        try:
            self._start()
        except OSError as error:
            self._give_up()
            if self._cwd is not None and not os.path.isdir(self._cwd):
                message = f"cannot run git in {os.fspath(self._cwd)!r}: there is no such folder"
                raise GitError(message, argv=self.commands[0].argv) from error
            message = (
                f"git cannot be started ({error.strerror}): install git {MINIMUM[0]}.{MINIMUM[1]} or newer on PATH"
            )
            raise GitMissing(message) from error
        return self._finish()

    def _start(self) -> None:
        with self._guard:
            source: int | None = subprocess.DEVNULL if self._stdin is None else subprocess.PIPE
            for command in self.commands:
                process = self._spawn(command, source)
                self._processes.append(process)
                source = process.stdout.fileno() if process.stdout else None
            if self._killed:
                self._kill_all()

    def _spawn(self, command: Command, source: int | None) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command.argv,
            executable=_executable(command.env.get("PATH", os.defpath)),
            cwd=self._cwd,
            env=command.env,
            stdin=source,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,
            umask=command.umask,
        )

    def _finish(self) -> list[GitResult]:
        if len(self._processes) == 1:
            return [_result(self._processes[0], self._stdin)]
        first, last = self._processes
        if first.stdout:
            first.stdout.close()  # only the second reads it: when that one dies, the first must get SIGPIPE
            first.stdout = None
        done: list[GitResult] = []
        feeder = threading.Thread(target=lambda: done.append(_result(first, self._stdin)), name="git-feeder")
        feeder.start()
        result = _result(last, None)
        feeder.join()
        return [*done, result]

    def _give_up(self) -> None:
        """End what was started before the rest could not be."""
        self.kill()
        for process in self._processes:
            process.communicate()

    def kill(self) -> None:
        """End it now; a job that has not started will end as soon as it does."""
        with self._guard:
            self._killed = True
            self._kill_all()

    def _kill_all(self) -> None:
        for process in self._processes:
            process.kill()  # knows when the process was already waited for


def _result(process: subprocess.Popen[bytes], stdin: bytes | None) -> GitResult:
    stdout, stderr = process.communicate(stdin)
    return GitResult(stdout or b"", stderr, process.returncode)


async def on_thread(job: Job) -> list[GitResult]:
    """Run a job on a thread; return what each process left.

    Args:
        job: What to run.

    Raises:
        GitMissing: There is no git.
        GitError: There is no such folder to run it in.

    Cancelled: its processes were killed and have ended.
    """
    return await _ended(asyncio.get_running_loop().run_in_executor(_THREADS, job.run), job.kill)


async def to_end(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a function on a thread, and return only when it has ended.

    Args:
        function: What to run; short, since it cannot be stopped.
        args: Its arguments.
        kwargs: Its named arguments.

    Cancelled: the function has run to its end, so nothing of it goes on behind the caller's back.
    """
    return await _ended(asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs)), _nothing)


def _nothing() -> None:
    """Do not hurry what is short anyway."""


async def _ended(future: asyncio.Future[T], hurry: Callable[[], None]) -> T:
    """Return a future's result; when cancelled, hurry it and wait until it is done."""
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        hurry()
        while not future.done():
            try:
                await asyncio.wait([future])
            except asyncio.CancelledError:
                continue  # asked again: it is being waited for already
        future.exception()  # looked at: the caller is told of the cancellation instead
        raise
