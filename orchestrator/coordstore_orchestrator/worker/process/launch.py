"""Prepares what the guardian needs to start an agent, so that what can be refused is refused with a sentence."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from coordstore_orchestrator.worker.process.errors import StartFailed
from coordstore_orchestrator.worker.process.inlet import Inlet
from coordstore_orchestrator.worker.process.plumbing import pack

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from coordstore_orchestrator.worker.process.capture import Capture

__all__ = ["Launch"]


@dataclass(slots=True)
class Launch:
    """An agent that is about to start.

    Args:
        argv: The command.
        cwd: Where it starts.
        env: Its whole environment.
        stdin: A file that it reads from, or what is written to it while it runs.
        capture: Takes its output.
        label: Its name for people.
        writable: Where alone it may write; empty: it is not confined.
    """

    argv: Sequence[str]
    cwd: Path
    env: Mapping[str, str]
    stdin: Path | Inlet | None
    capture: Capture
    label: str
    writable: Sequence[Path] = ()
    descriptors: list[int] = field(default_factory=list)

    def prepare(self) -> None:
        """Find the command, open its input and the pipes for its output; blocks. `close` must follow.

        Afterwards `descriptors` holds the request, stdin, stdout and stderr.

        Raises:
            StartFailed: The command, the folder or the input is not there or not usable.
            CaptureFailed: The output has no safe place to go.
        """
        request = self._request()
        self.descriptors.append(os.memfd_create("request", os.MFD_CLOEXEC))
        os.write(self.descriptors[0], request)
        self.descriptors.append(self._open_input())
        self.descriptors.extend(self.capture.open())

    def close(self) -> None:
        """Close our copies of the descriptors."""
        while self.descriptors:
            os.close(self.descriptors.pop())

    def abandon(self) -> None:
        """Close what would be written to an agent that does not run."""
        if isinstance(self.stdin, Inlet):
            self.stdin.close()

    def refusal(self, step: str, number: int) -> StartFailed:
        """Return the error for a start that failed at a step with an error number."""
        sentence = _STEPS.get(step) or _NUMBERS.get(number, "{command!r} cannot start ({said})")
        message = sentence.format(command=self.argv[0], cwd=self.cwd, said=os.strerror(number))
        return StartFailed(message)

    def _request(self) -> bytes:
        if not self.argv or not self.argv[0]:
            message = f"agent {self.label} has no command: give its argv, the program first"
            raise StartFailed(message)
        pairs = [f"{name}={value}" for name, value in self.env.items()]
        if any("\0" in text for text in (*self.argv, str(self.cwd), *map(str, self.writable), *pairs)):
            message = (
                f"{self.argv[0]!r} cannot start with a NUL byte in its arguments or environment: pass it in a file"
            )
            raise StartFailed(message)
        if not self.cwd.is_dir():
            raise self.refusal(step="cwd", number=errno.ENOENT)
        executable = _find(self.argv[0], self.cwd, self.env)
        folder = os.path.abspath(self.cwd)  # noqa: PTH100 - links stay
        paths = [str(len(self.writable)), *map(str, self.writable)]
        return pack(executable, folder, len(self.argv), *self.argv, *paths, *pairs)

    def _open_input(self) -> int:
        if isinstance(self.stdin, Inlet):
            return self.stdin.open()
        try:
            return os.open(self.stdin or os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            message = f"the input {self.stdin} of {self.label} cannot be read ({error.strerror}): write it first"
            raise StartFailed(message) from error


_STEPS: Final = {
    "cwd": "{command!r} cannot start in {cwd} ({said}): the folder must exist and be yours to enter",
    "confine": "{command!r} cannot be confined to its folder ({said}): the kernel needs Landlock, or leave confine out",
    "fork": "no process left for {command!r} ({said}): use fewer slots, or raise `ulimit -u`",
}

_NUMBERS: Final = {
    errno.ENOEXEC: "{command!r} is no program: a script begins with a line such as #!/bin/sh",
    errno.ENOENT: "the interpreter that {command!r} names in its first line was not found: install it",
    errno.E2BIG: "{command!r} gets more arguments or environment than the kernel takes: pass a file",
}


def _find(command: str, cwd: Path, env: Mapping[str, str]) -> str:
    """Return the path of the program; a command with a slash is looked for from the agent's folder.

    Raises:
        StartFailed: There is none, or it may not be executed.
    """
    folders = [""] if "/" in command else env.get("PATH", os.defpath).split(os.pathsep)
    refused: Path | None = None
    for folder in folders:
        path = cwd / folder / command
        if path.is_file():
            if os.access(path, os.X_OK):
                return os.path.abspath(path)  # noqa: PTH100 - a program may go by the name of its link
            refused = path
    if refused is not None:
        message = f"{command!r} is not executable: `chmod +x {refused}`, or name its interpreter first"
    elif "/" in command:
        message = f"command {command!r} not found below {cwd}: check the path, it starts at the agent's own folder"
    else:
        message = f"command {command!r} not found; install it, or give its whole path (PATH is {env.get('PATH')})"
    raise StartFailed(message)
