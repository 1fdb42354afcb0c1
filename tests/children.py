"""Other processes for the tests of stores on this host: each a real interpreter, spoken to in lines."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterator
    from pathlib import Path

PRELUDE = """
import asyncio, os, sys
from coordstore import open_store
from coordstore.errors import *
from coordstore.model import *

PATH, ARGS = sys.argv[1], sys.argv[2:]

def say(*words):
    print(*words, flush=True)

async def heard():
    return (await asyncio.to_thread(sys.stdin.readline)).strip()

def opened(options=""):
    return open_store(f"SCHEME:{PATH}{options}")
"""


def source_of(scheme: str, script: str) -> str:
    """Return the program that runs a script inside a coroutine, against a store of a scheme."""
    body = textwrap.indent(textwrap.dedent(script), "    ")
    prelude = PRELUDE.replace("SCHEME", scheme)
    return f"{prelude}\nasync def main():\n{body}\n\nasyncio.run(main())\n"


class Child:
    """A child process that runs a script against the store."""

    def __init__(self, scheme: str, script: str, *args: str) -> None:
        command = [sys.executable, "-c", source_of(scheme, script), *args]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, bufsize=1)

    @property
    def pid(self) -> int:
        return self.process.pid

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def tell(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    def lines(self) -> list[str]:
        """Return the lines that are still in the pipe, until the end of the process."""
        assert self.process.stdout is not None
        found = [line.strip() for line in self.process.stdout if line.endswith("\n")]
        self.process.wait()
        return found

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(BrokenPipeError):
                if pipe is not None:
                    pipe.close()
        self.process.wait()


def children(scheme: str, path: Path) -> Iterator[Callable[..., Child]]:
    """Yield what starts a child against a store, and end them all afterwards: the body of a fixture."""
    started: list[Child] = []

    def start(script: str, *args: str) -> Child:
        started.append(Child(scheme, script, str(path), *args))
        return started[-1]

    yield start
    for one in started:
        one.end()
