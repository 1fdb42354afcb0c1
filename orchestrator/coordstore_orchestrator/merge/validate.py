"""Runs a plan's validation commands on merged commits, each in a scratch worktree of its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from coordstore_orchestrator.agents import environment, resolve_agent
from coordstore_orchestrator.merge.search import Failure
from coordstore_orchestrator.worker.process import Capture, secret_values

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from coordstore_orchestrator.merge.scratch import Scratch
    from coordstore_orchestrator.worker.process import Guardian

__all__ = ["Validator"]

TAIL: Final = 2000
"""Characters of a failed command's output that are kept in the record; all of it is in the log."""


class Validator:
    """Runs validation commands.

    Args:
        scratch: Where the commits are checked out.
        logs: The folder for what the commands print, one below it per commit.
        guardian: Starts processes and leaves none behind.
        commands: What to run, each with ``sh -c``.
        environ: The environment that the commands' variables are taken from.
        width: How many commits to validate at a time; more wait.
    """

    def __init__(
        self,
        scratch: Scratch,
        logs: Path,
        guardian: Guardian,
        commands: Sequence[str],
        environ: Mapping[str, str],
        width: int = 1,
    ) -> None:
        self._scratch = scratch
        self._logs = logs
        self._guardian = guardian
        self._commands = commands
        self._environ = environ
        self._free = asyncio.Semaphore(max(width, 1))
        self.count = 0
        """How many commits were validated."""

    async def run(self, commit: str) -> Failure | None:
        """Run all commands on a commit, in order, up to the first that fails; return how it failed, or None.

        Cancelled: the running command is killed.
        """
        if not self._commands:
            return None
        async with self._free, self._scratch.checkout(commit) as tree:
            self.count += 1
            for number, command in enumerate(self._commands, 1):
                failed = await self._one(number, command, tree, commit)
                if failed:
                    return failed
        return None

    async def _one(self, number: int, command: str, tree: Path, commit: str) -> Failure | None:
        env = environment(resolve_agent({"command": ["sh"]}, {}), self._environ, {})
        capture = Capture(self._logs / commit[:12], name=f"command{number}", secrets=secret_values(env))
        process = await self._guardian.spawn(
            ["sh", "-c", command], cwd=tree, env=env, stdin=None, capture=capture, label="validate"
        )
        try:
            found = await process.wait()
        except BaseException:
            await process.kill()
            raise
        if found.code == 0:
            return None
        said = capture.tail(TAIL).strip().splitlines()
        return Failure(f"{command} ({said[-1] if said else 'no output'})", str(capture.folder))
