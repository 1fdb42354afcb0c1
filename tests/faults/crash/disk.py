"""What may be on a disk after the power went: the operations on it, what forces them there, and every legal rest.

Theory. Everything done to files is cut into operations that a disk keeps or loses one by one:

- the bytes of a write, one operation per page of 4 KiB; a file grows with the piece that is kept;
- the cut of a file to a length;
- a name that appears in a directory, goes, or moves (a move is atomic, and belongs to the directory moved to).

`fdatasync` of a file forces the operations on its bytes that were done before, and nothing else, its name least of
all; `fsync` of a directory forces those on the names in it. A directory whose own name is lost takes what is in it
along. Nothing else orders anything: of what is not forced any subset may be there. After a sync of bytes that failed,
what it should have forced is never forced again, whatever a second one says; a directory's names a second one forces.

A *recording* is a start and a row of events: operations, syncs and acknowledgements. At each point of it the power
may go: the states are the forced operations with all subsets of the pending ones, up to six of these; of more, the
telling subsets: none, all, each one missing, each one alone, every prefix, all of the newest four, and forty at random.
"""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import random
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from pathlib import Path

PAGE = 4096
ALL_SUBSETS = 6
RANDOM_SUBSETS = 40
NEWEST = 4
ROOT = 0


class Ack(NamedTuple):
    """An actor was told that so many of its deeds are done; `word` is what else it was told."""

    actor: str
    deeds: int
    word: str = ""


class Bytes(NamedTuple):
    """A piece of a page that was written."""

    home: int
    offset: int
    data: bytes


class Cut(NamedTuple):
    """A file that was cut, or grown with zeros."""

    home: int
    length: int


class Name(NamedTuple):
    """A name in the directory `home` that from now on means a node, or nothing."""

    home: int
    name: str
    node: int | None


class Move(NamedTuple):
    """A name that moved into the directory `home`."""

    home: int
    name: str
    source: int
    old: str
    node: int


class Sync(NamedTuple):
    """The operations, by their place among the events, that were forced."""

    forced: frozenset[int]


Operation = Bytes | Cut | Name | Move
Event = Operation | Sync | Ack


@dataclass
class Disk:
    """Files and directories, by node; the root is a directory."""

    files: dict[int, bytearray] = field(default_factory=dict)
    folders: dict[int, dict[str, int]] = field(default_factory=lambda: {ROOT: {}})

    def copy(self) -> Disk:
        """Return another one that is the same."""
        files = {node: bytearray(data) for node, data in self.files.items()}
        return Disk(files, {node: dict(names) for node, names in self.folders.items()})

    def add(self, *, folder: bool) -> int:
        """Make a node that has no name yet."""
        node = len(self.files) + len(self.folders)
        if folder:
            self.folders[node] = {}
        else:
            self.files[node] = bytearray()
        return node

    def find(self, path: str) -> int | None:
        """Return the node at a path below the root."""
        node = ROOT
        for name in path.split("/") if path else ():
            found = self.folders.get(node, {}).get(name)
            if found is None:
                return None
            node = found
        return node

    def apply(self, operation: Operation) -> None:
        """Do one operation, whatever became of those before it."""
        match operation:
            case Bytes(node, offset, data):
                file = self.files[node]
                file.extend(bytes(max(offset - len(file), 0)))
                file[offset : offset + len(data)] = data
            case Cut(node, length):
                file = self.files[node]
                del file[length:]
                file.extend(bytes(length - len(file)))
            case Name(folder, name, None):
                self.folders[folder].pop(name, None)
            case Name(folder, name, node) if node is not None:
                self.folders[folder][name] = node
            case Move(folder, name, source, old, node):
                # That the old name was lost before does not hinder: the new one is what was made to last.
                if self.folders[source].get(old) == node:
                    del self.folders[source][old]
                self.folders[folder][name] = node

    def walk(self, node: int = ROOT, path: str = "") -> Iterator[tuple[str, bytes | None]]:
        """Yield what can be reached: path and bytes, None for a directory."""
        for name, below in sorted(self.folders[node].items()):
            where = f"{path}/{name}" if path else name
            if below in self.folders:
                yield where, None
                yield from self.walk(below, where)
            else:
                yield where, bytes(self.files[below])

    def digest(self) -> bytes:
        """Return what tells this state from others."""
        check = hashlib.blake2b(digest_size=16)
        for path, data in self.walk():
            check.update(f"{path} {-1 if data is None else len(data)} ".encode())
            check.update(data or b"")
        return check.digest()

    def pour(self, root: Path) -> None:
        """Write this state into a real directory."""
        for path, data in self.walk():
            if data is None:
                (root / path).mkdir(mode=0o700)
            else:
                (root / path).write_bytes(data)
                (root / path).chmod(0o600)

    @classmethod
    def scoop(cls, root: Path) -> Disk:
        """Return what a real directory holds."""
        disk = cls()
        for path in sorted(root.rglob("*")):
            node = disk.add(folder=path.is_dir())
            if not path.is_dir():
                disk.files[node][:] = path.read_bytes()
            parent = disk.find(path.parent.relative_to(root).as_posix().removeprefix("."))
            disk.folders[ROOT if parent is None else parent][path.name] = node
        return disk


class State(NamedTuple):
    """The disk after a power cut: when it came (how many events were over), what was lost, what is left."""

    point: int
    lost: tuple[int, ...]
    disk: Disk


class Recording:
    """What was done to a disk, event by event.

    Args:
        start: The disk before; all of it survives.
    """

    def __init__(self, start: Disk) -> None:
        self.start = start
        self.now = start.copy()
        self.events: list[Event] = []
        self._doomed: set[int] = set()

    def do(self, operation: Operation) -> int:
        """Take note of an operation and do it; return its place."""
        self.now.apply(operation)
        self.events.append(operation)
        return len(self.events) - 1

    def write(self, node: int, offset: int, data: bytes) -> None:
        """Write bytes, in pieces that end where pages do."""
        at = 0
        while at < len(data):
            size = min(PAGE - (offset + at) % PAGE, len(data) - at)
            self.do(Bytes(node, offset + at, data[at : at + size]))
            at += size

    def make(self, folder: int, name: str, *, is_folder: bool) -> int:
        """Make a file or a directory; return its node."""
        node = self.now.add(folder=is_folder)
        if is_folder:
            self.start.folders[node] = {}
        else:
            self.start.files[node] = bytearray()
        self.do(Name(folder, name, node))
        return node

    def sync(self, home: int, *, under_way: Collection[int] = (), failed: bool = False) -> None:
        """Force what was done to a node, but for what was not over when it began; when it failed: nothing, ever."""
        done = set(range(len(self.events))) - self._doomed - set(under_way)
        mine = {at for at in done if getattr(self.events[at], "home", None) == home}
        if failed:
            self._doomed |= mine
        else:
            self.events.append(Sync(frozenset(mine)))

    def ack(self, ack: Ack) -> None:
        """Take note of an acknowledgement."""
        self.events.append(ack)

    # --- the states -------------------------------------------------------------------------------------

    def points(self) -> range:
        """Return where the power may go."""
        return range(len(self.events) + 1)

    def acks(self, point: int) -> list[Ack]:
        """Return what had been acknowledged at a point."""
        return [event for event in self.events[:point] if isinstance(event, Ack)]

    def pending(self, point: int) -> tuple[list[int], list[int]]:
        """Return the places of the operations that were forced at a point, and of those that were not."""
        forced: set[int] = set()
        done = []
        for at, event in enumerate(self.events[:point]):
            if isinstance(event, Sync):
                forced |= event.forced
            elif not isinstance(event, Ack):
                done.append(at)
        return [at for at in done if at in forced], [at for at in done if at not in forced]

    def state(self, point: int, lost: Iterable[int]) -> State:
        """Return the disk when the power goes at a point and these operations are lost."""
        gone, disk = frozenset(lost), self.start.copy()
        for at, event in enumerate(self.events[:point]):
            if at not in gone and not isinstance(event, Sync | Ack):
                disk.apply(event)
        return State(point, tuple(sorted(gone)), disk)

    def losses(self, point: int, chance: random.Random) -> Iterator[frozenset[int]]:
        """Yield what may be lost at a point; the extremes first."""
        _, pending = self.pending(point)
        every = frozenset(pending)
        yield every
        if not pending:
            return
        yield frozenset()
        if len(pending) <= ALL_SUBSETS:
            sizes = range(1, len(pending))
            yield from map(frozenset, itertools.chain(*(itertools.combinations(pending, size) for size in sizes)))
            return
        yield from telling(pending)
        for _ in range(RANDOM_SUBSETS):
            share = chance.random()
            yield frozenset(at for at in pending if chance.random() < share)

    def cases(self, chance: random.Random) -> list[tuple[int, frozenset[int]]]:
        """Return every point with every loss: the extremes of all points first, the others shuffled.

        Of the others, those come twice as early in which the newest operations are lost in part: they are what one
        deed did.
        """
        extremes, near, others = [], [], []
        for point in self.points():
            found = [(point, lost) for lost in self.losses(point, chance)]
            extremes += found[:2]
            others += found[2:]
            near += [(point, lost) for lost in self._newest(point)]
        chance.shuffle(others)
        chance.shuffle(near)
        mixed = [case for pair in itertools.zip_longest(near, others) for case in pair if case is not None]
        return extremes + mixed

    def _newest(self, point: int) -> Iterator[frozenset[int]]:
        _, pending = self.pending(point)
        newest = pending[-NEWEST:]
        if len(pending) > ALL_SUBSETS:
            for size in range(1, len(newest)):
                yield from map(frozenset, itertools.combinations(newest, size))


def telling(pending: Sequence[int]) -> Iterator[frozenset[int]]:
    """Yield the losses of which only one operation, all but one, or everything behind one is lost."""
    every = frozenset(pending)
    for at in pending:
        yield frozenset((at,))
        yield every - {at}
    for size in range(2, len(pending) - 1):
        yield every - frozenset(pending[:size])
