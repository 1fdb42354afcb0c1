"""Reads what strace recorded into a recording: every system call that can change what lies below one directory.

A call that is not known here and touches that directory is an error, as is a shared writable mapping of anything but
SQLite's index: what is not understood must not pass for harmless. Nothing here needs a name twice: an open file is
told by the path that strace shows for its descriptor, which follows renames as our own tree of names does.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.faults.crash.disk import ROOT, Ack, Cut, Disk, Move, Name, Recording

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

KNOWN = (
    *("open", "openat", "creat", "write", "pwrite64", "rename", "renameat", "renameat2", "unlink", "unlinkat"),
    *("mkdir", "mkdirat", "rmdir", "ftruncate", "fsync", "fdatasync", "mmap", "fallocate"),
)
FOREIGN = (
    *("openat2", "writev", "pwritev", "pwritev2", "link", "linkat", "symlink", "symlinkat", "mknod", "mknodat"),
    *("truncate", "sync", "syncfs", "sync_file_range", "copy_file_range", "sendfile", "splice", "vmsplice"),
    *("io_uring_setup", "msync"),
)
BY_PATH = (
    *(
        "open",
        "openat",
        "openat2",
        "creat",
        "rename",
        "renameat",
        "renameat2",
        "unlink",
        "unlinkat",
        "mkdir",
        "mkdirat",
    ),
    *("rmdir", "link", "linkat", "symlink", "symlinkat", "mknod", "mknodat", "truncate", "copy_file_range", "splice"),
)
LINE = re.compile(r"(?P<pid>\d+) +(?:<\.\.\. (?P<resumed>\w+) resumed>|(?P<call>\w+)\()(?P<rest>.*)")
TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"|<((?:\\x[0-9a-f]{2})*)>')
UNFINISHED = " <unfinished ...>"
DELETED = " (deleted)"


class Unknown(AssertionError):
    """A system call that this reader does not understand touched the store."""


@dataclass
class Call:
    """One system call: its arguments with text in clear, when it began and when it was over (in lines)."""

    name: str
    args: str
    began: int
    texts: list[bytes] = field(default_factory=list)
    value: str = ""
    over: int = 0

    def path(self, which: int = 0) -> str:
        """Return the path that comes n-th among its texts."""
        return os.fsdecode(self.texts[which]).removesuffix(DELETED)


def calls(lines: Iterable[str]) -> list[Call]:
    """Return the calls in the order in which they began."""
    found: list[Call] = []
    open_calls: dict[str, Call] = {}
    for number, line in enumerate(lines):
        match = LINE.match(line)
        if match is None:
            continue
        rest = match["rest"].rstrip("\n")
        if match["resumed"]:
            call = open_calls.pop(match["pid"])
            call.args += rest
        else:
            call = Call(match["call"], rest, number)
            found.append(call)
        if rest.endswith(UNFINISHED):
            call.args = call.args.removesuffix(UNFINISHED)
            open_calls[match["pid"]] = call
            continue
        finish(call, number)
    for call in open_calls.values():
        # Its process was killed inside: it may have happened.
        finish(call, len(found) and 2**62)
    return found


def finish(call: Call, number: int) -> None:
    """Take a call apart that is complete."""
    call.over = number
    call.args, _, call.value = call.args.rpartition(" = ") if ") " in call.args else (call.args, "", "?")
    call.texts = [bytes.fromhex((one or other).replace("\\x", "")) for one, other in TEXT.findall(call.args)]
    call.args = TEXT.sub("T", call.args)


class Reader:
    """Makes a recording of calls.

    Args:
        root: The directory, as an absolute path.
        start: What was in it.
        volatile: The endings of names of files whose bytes never count.
    """

    def __init__(self, root: str, start: Disk, volatile: tuple[str, ...] = ()) -> None:
        self.recording = Recording(start)
        self._root = f"{root}/"
        self._volatile = volatile
        self._ends: list[int] = []
        self._gone: dict[str, int] = {}
        self.mutating: list[str] = []

    def read(self, lines: Iterable[str]) -> Recording:
        """Read all of a trace."""
        for call in calls(lines):
            before = len(self.recording.events)
            if call.value.startswith("-1") or not self._concerns(call):
                continue
            if call.name not in KNOWN:
                message = f"{call.name}({call.args}) on {call.texts}: not understood"
                raise Unknown(message)
            getattr(self, f"_{call.name}")(call)
            self._ends += [call.over] * (len(self.recording.events) - before)
        return self.recording

    def _concerns(self, call: Call) -> bool:
        if call.name == "write" and call.texts[-1].startswith(b"ACK "):
            return True
        # What is written may begin like a path of ours: where the file is told by its descriptor, that alone counts.
        texts = call.texts if call.name in BY_PATH else call.texts[:1]
        return any(f"{os.fsdecode(text)}/".startswith(self._root) for text in texts)

    def _below(self, path: str) -> str:
        return f"{path}/".removeprefix(self._root).removesuffix("/")

    def _place(self, path: str) -> tuple[int, str]:
        folder, _, name = self._below(path).rpartition("/")
        found = self.recording.now.find(folder)
        assert found is not None, f"{path}: its directory is not known"
        return found, name

    def _node(self, path: str) -> int:
        found = self.recording.now.find(self._below(path))
        return self._gone[path] if found is None else found

    def _note(self, call: Call, path: str) -> None:
        self.mutating.append(f"{call.name} {self._below(path)}")

    def _open(self, call: Call) -> None:
        path = call.path()
        node = self.recording.now.find(self._below(path))
        if "O_CREAT" in call.args and node is None:
            self._note(call, path)
            self.recording.make(*self._place(path), is_folder=False)
        elif "O_TRUNC" in call.args and node is not None:
            self._note(call, path)
            self.recording.do(Cut(node, 0))

    def _openat(self, call: Call) -> None:
        # Before the path stands the directory that it is relative to; ours are absolute.
        # Before the path stands the directory that it is relative to, and behind it the path of the descriptor.
        call.texts = [os.fsencode(path) for path in self._paths(call)][:1]
        self._open(call)

    def _write(self, call: Call) -> None:
        if call.texts[-1].startswith(b"ACK "):
            _, actor, deeds, *word = call.texts[-1].decode().split()
            self.recording.ack(Ack(actor, int(deeds), " ".join(word)))
            return
        message = f"write without an offset to {call.path()}"
        raise Unknown(message)

    def _pwrite64(self, call: Call) -> None:
        path = call.path()
        self._note(call, path)
        if path.endswith(self._volatile or ("\0",)):
            return
        offset = int(call.args.rpartition(", ")[2].rstrip(") "))
        written = int(call.value) if call.value.isdecimal() else len(call.texts[1])
        self.recording.write(self._node(path), offset, call.texts[1][:written])

    def _ftruncate(self, call: Call) -> None:
        path = call.path()
        self._note(call, path)
        if not path.endswith(self._volatile or ("\0",)):
            self.recording.do(Cut(self._node(path), int(call.args.rpartition(", ")[2].rstrip(") "))))

    def _fallocate(self, call: Call) -> None:
        if not call.path().endswith(self._volatile or ("\0",)):
            message = f"fallocate of {call.path()}"
            raise Unknown(message)

    def _fdatasync(self, call: Call) -> None:
        path = call.path()
        self._note(call, path)
        under_way = [at for at, end in enumerate(self._ends) if end > call.began]
        self.recording.sync(ROOT if f"{path}/" == self._root else self._node(path), under_way=under_way)

    _fsync = _fdatasync

    def _rename(self, call: Call) -> None:
        old, new = self._paths(call)
        self._note(call, new)
        source, name = self._place(old)
        folder, target = self._place(new)
        replaced = self.recording.now.folders[folder].get(target)
        if replaced is not None:
            self._gone[new] = replaced
        moved = self.recording.now.folders[source][name]
        self.recording.do(Move(folder, target, source, name, moved))

    _renameat = _renameat2 = _rename

    def _paths(self, call: Call) -> Iterator[str]:
        for text in call.texts:
            path = os.fsdecode(text)
            if f"{path}/".startswith(self._root):
                yield path

    def _unlink(self, call: Call) -> None:
        path = next(self._paths(call))
        self._note(call, path)
        folder, name = self._place(path)
        self._gone[path] = self.recording.now.folders[folder].get(name, ROOT)
        self.recording.do(Name(folder, name, None))

    _unlinkat = _rmdir = _unlink

    def _mkdir(self, call: Call) -> None:
        path = next(self._paths(call))
        self._note(call, path)
        self.recording.make(*self._place(path), is_folder=True)

    _mkdirat = _mkdir

    def _mmap(self, call: Call) -> None:
        if "MAP_SHARED" in call.args and "PROT_WRITE" in call.args and not call.path().endswith("-shm"):
            message = f"a shared writable mapping of {call.path()}"
            raise Unknown(message)
