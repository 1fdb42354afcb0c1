"""Where campaigns play: processes forked from a server that has everything imported, spoken to in packets.

A trial would otherwise wait for an interpreter each time. A process here is a real one: it can be stopped, killed and
traced, and shares nothing with the campaign but its end of the line.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import os
import socket
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    import signal
    from collections.abc import Awaitable, Callable, Iterable, Iterator
    from types import TracebackType

__all__ = ["BACKENDS", "Actor", "Line", "actors", "folder", "now", "url_in"]

BACKENDS: Final = ("file", "sqlite")
LONG: Final = 1200.0
"""Seconds after which a process that says nothing is taken to hang."""
_PLACES: Final = {"file": "store", "sqlite": "store.db"}
_CONTEXT: Final = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        "coordstore",
        "coordstore.testing.history",
        "coordstore_file.compaction",
        "coordstore_file.handle",
        "coordstore_file.plugin",
        "coordstore_sqlite.handle",
        "coordstore_sqlite.plugin",
        "tests.faults.stage",
    ]
)


def now() -> float:
    """Return seconds on the clock that leases are counted on; all processes share it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def url_in(backend: str, where: Path, options: str = "") -> str:
    """Return the URL of a backend's store in a folder."""
    return f"{backend}:{where / _PLACES[backend]}{options}"


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """Give a trial a folder of its own, in memory where there is such a place: nothing here is about disks."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="faults-", dir=memory, ignore_cleanup_errors=True) as name:
        yield Path(name)


class Line:
    """One end of a line on which each packet is one text.

    Args:
        end: A socket that keeps packets apart.
    """

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def say(self, *words: object) -> None:
        """Send the words; who has hung up does not hear them."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._end.send(" ".join(map(str, words)).encode())

    def hear(self, seconds: float | None = LONG) -> list[str] | None:
        """Return the words of the next packet, None when the other end is gone; blocks.

        Raises:
            TimeoutError: Nothing came.
        """
        self._end.settimeout(seconds)
        try:
            found = self._end.recv(65536)
        except ConnectionResetError:
            return None
        finally:
            self._end.settimeout(None)
        return found.decode().split() if found else None

    async def heard(self) -> list[str] | None:
        """Do the same without keeping the event loop, however long it takes: the other end sets the time."""
        return await asyncio.to_thread(self.hear, None)

    def fileno(self) -> int:
        """Return the socket's descriptor, for `select`."""
        return self._end.fileno()

    def close(self) -> None:
        """Hang up."""
        self._end.close()


class Actor:
    """A process that plays a role; ``with`` kills it at the end.

    Args:
        role: A coroutine function of a module, called with the process's end of the line and the arguments.
        args: What it is to know.
    """

    def __init__(self, role: Callable[..., Awaitable[None]], *args: object) -> None:
        mine, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.line = Line(mine)
        self.process: Any = _CONTEXT.Process(target=_play, args=(other, role, args), daemon=True)
        self.process.start()
        other.close()

    def __enter__(self) -> Self:
        """Return the actor."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        self.end()

    @property
    def pid(self) -> int:
        """The process."""
        return int(self.process.pid)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def words(self) -> list[str]:
        """Return what it says next; blocks.

        Raises:
            RuntimeError: It is gone, or has something to complain about.
        """
        found = self.line.hear()
        if found is None or found[0] == "!":
            message = f"a process of the campaign ended: {' '.join(found or ['without a word'])}"
            raise RuntimeError(message)
        return found

    def rest(self) -> list[list[str]]:
        """Return all that it still says until it is gone; blocks."""
        found = []
        while (words := self.line.hear()) is not None:
            found.append(words)
        return found

    def end(self) -> None:
        """Kill it, reap it, hang up."""
        self.process.kill()
        self.process.join()
        self.line.close()


@contextlib.contextmanager
def actors(made: Iterable[Actor]) -> Iterator[list[Actor]]:
    """Have several actors, and end them all."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(one) for one in made]


def _play(end: socket.socket, role: Callable[..., Any], args: tuple[object, ...]) -> None:
    # What the library logs here about faults is expected, and whoever reads a pipe of the test's might not be there.
    logging.disable(logging.CRITICAL)
    line = Line(end)
    try:
        asyncio.run(role(line, *args))
    except Exception as error:  # noqa: BLE001  (told to the campaign, which fails)
        line.say("!", repr(error))
