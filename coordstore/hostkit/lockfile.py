"""Files under a flock: the store's lock, in which its holder is named, and the base of the lease side file.

A flock ends with its holder, however that dies, and is never broken: who waits too long is told by whom. filelock
takes it once, when the file has been made (the native lock only, without its fallback to a file's mere existence, and
the file is never unlinked), which shows that the file system has it. From then on each turn is a flock of the
descriptor that stays open: the same lock, at a sixtieth of the cost, and whoever only reads never imports filelock.
Should somebody else unlink the file, the next turn notices and goes on with the file at the path, as everybody else
does.

Who finds it taken tries again for a moment, then stands in the kernel's line: of many processes each has its turn, and
none of them takes the holder's time by trying.

A forked child has no part in the lock: it lets go of the descriptor.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Final, NamedTuple

from coordstore.errors import CoordError, StoreReplaced, Unavailable
from coordstore.hostkit.line import Place
from coordstore.hostkit.paths import check_file, create_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["LockedFile", "StoreLock"]

_PAUSE: Final = 0.0004
"""Seconds between two tries while somebody else holds it."""
_TRIES: Final = 3
"""Tries before standing in line, which costs a thread."""
_LINE: Final = 128


class _Turn(NamedTuple):
    """How long somebody waits for the lock: until when, and how long that was; and what he does meanwhile."""

    give_up: float
    patience: float
    meanwhile: Callable[[], None] | None


_open_files: weakref.WeakSet[LockedFile] = weakref.WeakSet()


class LockedFile:
    """A private file and its flock; excludes the threads of this process from each other as well.

    Args:
        path: The file, in a private directory; created when it is not there.
        wait: Seconds to wait for the lock before giving up.

    Attributes:
        crowded: Whether the last turn was had in line; then others stand there, likely.
    """

    def __init__(self, path: Path, wait: float) -> None:
        self.path = path
        self.wait = wait
        self.fd = -1
        self.crowded = False
        self._by = -1
        self._left: list[int] = []
        self._place: Place | None = None
        self._gate = threading.Lock()
        self._mutex = threading.Lock()
        _open_files.add(self)

    def __repr__(self) -> str:
        """Show the file."""
        return f"<{type(self).__name__} {self.path}>"

    @contextlib.contextmanager
    def held(self, wait: float | None = None, meanwhile: Callable[[], None] | None = None) -> Iterator[None]:
        """Hold the lock for the body; blocks.

        Args:
            wait: Seconds, instead of the usual ones.
            meanwhile: What to do now and then while standing in line.

        Raises:
            Unavailable: Somebody else held it all the time, who is named; or the file cannot be used.
            StoreReplaced: The directory that it was in has gone.
        """
        patience = self.wait if wait is None else wait
        give_up = time.monotonic() + patience
        # Whoever waits for the mutex holds the gate, so a thread that takes the lock again at once is behind him.
        if not self._gate.acquire(timeout=patience):
            raise self._waited(patience)
        try:
            taken = self._mutex.acquire(timeout=max(give_up - time.monotonic(), 0))
        finally:
            self._gate.release()
        if not taken:
            raise self._waited(patience)
        try:
            self._enter(_Turn(give_up, patience, meanwhile))
            try:
                yield
            finally:
                self._unlock()
        finally:
            self._mutex.release()

    def close(self) -> None:
        """Let the file go. No other thread may be using it any more; a later use opens it anew."""
        for descriptor in (self.fd, *self._left):
            if descriptor >= 0:
                os.close(descriptor)
        self.fd, self._by, self._left, self._place = -1, -1, [], None

    def forget(self) -> None:
        """Let go in a forked child, whatever the parent was doing."""
        self.close()

    def holder(self) -> str:
        """Return who holds or held the lock, in words; blocks."""
        return "another process"

    def entered(self) -> None:
        """Do what is to be done whenever the lock has just been taken."""

    def opened(self) -> None:
        """Do what is to be done, under the lock, whenever the file at the path has been opened."""

    def _enter(self, turn: _Turn) -> None:
        try:
            while not self._entered(turn):
                """The file was unlinked meanwhile: once more, with the one at the path."""
            self._sign()
        except CoordError:
            raise
        except FileNotFoundError as error:
            if self._left:
                message = f"{self.path.parent} was removed under this handle: not applied; open the store anew"
                raise StoreReplaced(message) from error
            raise self._unusable(error) from error
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> Unavailable:
        return Unavailable(f"{self.path} cannot be locked ({error.strerror or error}): not applied")

    def _sign(self) -> None:
        try:
            self.entered()
        except BaseException:
            self._unlock()
            raise

    def _entered(self, turn: _Turn) -> bool:
        """Take the lock of the open file, opened when it is not; tell whether that is the file at the path."""
        fresh, made = self.fd < 0, False
        if fresh:
            self.fd, made = self._open()
        try:
            if made:
                self._prove()
            self._lock(turn)
            if self.at_path() and os.path.samestat(os.fstat(self.fd), os.fstat(self._by)):
                if fresh:
                    self.opened()
                return True
            self._unlock()
        except BaseException:
            self._unlock()
            if fresh:
                self._leave()
            raise
        self._leave()
        return False

    def _leave(self) -> None:
        # Another thread may be reading the old file: it is closed at the end.
        self._left.append(self.fd)
        self.fd = -1

    def _lock(self, turn: _Turn) -> None:
        tries, self.crowded = 1 if self.crowded else _TRIES, False
        for _ in range(tries):
            if self._taken():
                return
            if tries == 1:
                break
            if time.monotonic() + _PAUSE >= turn.give_up:
                raise self._waited(turn.patience)
            time.sleep(_PAUSE)
        if self._place is None or not self._place.kept():
            self._place = Place(self.path)
        if not self._place.wait(max(turn.give_up - time.monotonic(), 0), turn.meanwhile):
            raise self._waited(turn.patience)
        self._by, self.crowded = self._place.fd, True

    def _taken(self) -> bool:
        """Take the lock if nobody else has it."""
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        self._by = self.fd
        return True

    def _unlock(self) -> None:
        by, self._by = self._by, -1
        if by < 0:
            return
        if self._place is not None and by == self._place.fd:
            self._place.leave()
            self._place = None
        else:
            fcntl.flock(by, fcntl.LOCK_UN)

    def _prove(self) -> None:
        """Try the native lock once by way of filelock, which refuses where there is none; taken is as good as free."""
        from filelock import FileLock, Timeout  # a tenth of a cold start, so only where a file was made

        native = FileLock(self.path, mode=0o600, thread_local=False, fallback_to_soft=False, preserve_lock_file=True)
        with contextlib.suppress(Timeout):
            native.acquire(timeout=0)
            native.release()

    def _waited(self, patience: float) -> Unavailable:
        message = f"{self.path} was held for {patience:g} s by {self.holder()}: not applied; look at that process"
        return Unavailable(message)

    def _open(self) -> tuple[int, bool]:
        """Return the open file, and whether it was made just now."""
        for _ in range(3):
            if check_file(self.path) is None:
                with contextlib.suppress(FileExistsError):
                    return create_file(self.path), True
            with contextlib.suppress(FileNotFoundError):
                return os.open(self.path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC), False
        message = f"{self.path} appears and disappears: something else uses that name"
        raise Unavailable(message)

    def at_path(self) -> bool:
        """Tell whether the open file is still the one at the path; blocks for a moment."""
        try:
            there = os.lstat(self.path)
        except FileNotFoundError:
            return False
        return os.path.samestat(there, os.fstat(self.fd))


class StoreLock(LockedFile):
    """The lock of a store's writers; the file says who took it last and what revision was committed last."""

    def entered(self) -> None:
        """Sign, unless the last signature is ours."""
        line = _signature(os.getpid())
        if os.pread(self.fd, _LINE, 0) != line:
            os.pwrite(self.fd, line, 0)

    def ring(self, revision: int) -> None:
        """Note a revision in the file, after its commit: whoever watches the file with inotify wakes up."""
        os.pwrite(self.fd, b"revision %-20d\n" % revision, _LINE)

    def holder(self) -> str:
        """Return who took the lock last, in words; blocks."""
        try:
            words = self.path.read_text(encoding="utf-8").split()
        except (OSError, UnicodeDecodeError):
            return "an unknown process"
        return f"process {words[1]} on {words[3]}" if words[:1] == ["pid"] else "an unknown process"


@functools.lru_cache(maxsize=2)
def _signature(pid: int) -> bytes:
    text = f"pid {pid} host {os.uname().nodename or '?'}"
    return text.encode()[: _LINE - 1].ljust(_LINE - 1) + b"\n"


def _let_go() -> None:
    for file in list(_open_files):
        file.forget()


os.register_at_fork(after_in_child=_let_go)
