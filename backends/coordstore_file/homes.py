r"""The streams' JSON-lines files: what a line looks like, how lines are laid out in files, and how they are read back.

    {"sequence":7,"revision":42,"check":"5c1e0b9a","record":{"type":"step","n":3}}

A record that is JSON text (and has no line break) stands as it is, other UTF-8 text as ``"text"``, anything else as
``"base64"``; whichever it is, the bytes read back are the bytes appended, or the check fails. A record that was not
the first one of its transaction also tells its ``"position"`` there.

A file is named for the revision of its first record, ``@000000000042.jsonl``: no segment of a key looks like that,
names sort as the records do, and no two files ever have the same name, even when a stream is dropped and begun anew.
A file that has grown long is followed by another one, never within a transaction.
"""

from __future__ import annotations

import base64
import bisect
import contextlib
import json
import re
import zlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

from coordstore.errors import Corrupt
from coordstore.model import Record
from coordstore_file.pace import paced

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from coordstore_file._fs import FileSystem
    from coordstore_file.replica import HomeFile, Stream

__all__ = [
    "FILE_NAME",
    "ROLL",
    "Line",
    "Piece",
    "Reader",
    "Vanished",
    "damaged",
    "file_name",
    "layout_lines",
    "line_of",
    "lines",
    "parse",
]

FILE_NAME: Final = re.compile(r"@\d{12,}\.jsonl")
ROLL: Final = 1024 * 1024
"""Bytes after which a file is followed by another one."""
_LINE: Final = re.compile(
    rb'\{"sequence":(\d+),"revision":(\d+),(?:"position":(\d+),)?"check":"([0-9a-f]{8})",'
    rb'"(record|text|base64)":([^\n]*)\}\n'
)
_PLACE: Final = re.compile(rb'\{"sequence":(\d+),"revision":(\d+),')
_CHUNK: Final = 64 * 1024
_GLANCE: Final = 4096
_NEAR: Final = 16 * 1024
"""Bytes within which a search goes on line by line."""


class Line(NamedTuple):
    """A line as it was read, and where it begins."""

    record: Record
    position: int
    offset: int


class Piece(NamedTuple):
    """Bytes that belong into one file from one offset on; the sequence of the first record."""

    revision: int
    offset: int
    data: bytes
    sequence: int


def file_name(revision: int) -> str:
    """Return the name of the file that begins with a record of this revision."""
    return f"@{revision:012}.jsonl"


def line_of(record: Record, position: int) -> bytes:
    """Return a record as a line."""
    kind, shown = _shown(record.data)
    at = b'"position":%d,' % position if position else b""
    check = _check(record.stream, record.sequence, record.revision, position, record.data)
    head = b'{"sequence":%d,"revision":%d,%b"check":"%08x",' % (record.sequence, record.revision, at, check)
    return b'%b"%b":%b}\n' % (head, kind, shown)


def parse(stream: str, raw: bytes) -> tuple[Record, int] | None:
    """Return the record of a line and its position, None when it is damaged."""
    found = _LINE.fullmatch(raw)
    if found is None:
        return None
    sequence, revision, position = (int(part or 0) for part in found.group(1, 2, 3))
    data = _data(found[5], found[6])
    if data is None or int(found[4], 16) != _check(stream, sequence, revision, position, data):
        return None
    return Record(stream, sequence, revision, data), position


def layout_lines(
    files: Iterable[HomeFile], records: Iterable[tuple[Record, int]], length: int | None = None
) -> list[Piece]:
    """Lay records out behind the files that are there; the same records always come to lie in the same places.

    Args:
        files: The files, in order.
        records: Records with their positions, in order.
        length: How long the last file is, if not what it says itself.
    """
    last = list(files)[-1:]
    at = last[0].length if last and length is None else length or 0
    revision = last[0].revision if last else 0
    begin, seen = at, 0
    pieces: list[Piece] = []
    parts: list[bytes] = []
    first = 0
    for record, position in paced(records):
        if not revision or (at >= ROLL and record.revision != seen):
            if parts:
                pieces.append(Piece(revision, begin, b"".join(parts), first))
            revision, begin, at, parts = record.revision, 0, 0, []
        first = record.sequence if not parts else first
        parts.append(line_of(record, position))
        at, seen = at + len(parts[-1]), record.revision
    if parts:
        pieces.append(Piece(revision, begin, b"".join(parts), first))
    return pieces


class Reader:
    """Reads the durable lines of streams.

    Args:
        fs: The file system.
        root: The directory of the tree.
    """

    def __init__(self, fs: FileSystem, root: Path) -> None:
        self._fs = fs
        self._root = root

    def after(self, name: str, stream: Stream, sequence: int) -> Iterator[Line]:
        """Yield the lines of a stream behind a sequence."""
        files = stream.files()
        at = max(bisect.bisect_right(files, sequence + 1, key=lambda file: file.sequence) - 1, 0)
        return self._from(name, files[at:], sequence + 1, 0)

    def since(self, name: str, stream: Stream, revision: int) -> Iterator[Line]:
        """Yield the lines of a stream above a revision."""
        files = stream.files()
        at = max(bisect.bisect_right(files, revision + 1, key=lambda file: file.revision) - 1, 0)
        return self._from(name, files[at:], 0, revision + 1)

    def _from(self, name: str, files: Iterable[HomeFile], sequence: int, revision: int) -> Iterator[Line]:
        for place, file in enumerate(files):
            path = self._root / name / file_name(file.revision)
            start = 0
            if not place:
                with self._opened(path) as handle:
                    start = self._search(path, handle, file.length, sequence, revision)
            for offset, raw in self._lines(path, start, file.length):
                found = parse(name, raw)
                if found is None:
                    raise damaged(path, offset)
                if found[0].sequence >= sequence and found[0].revision >= revision:
                    yield Line(*found, offset)

    @contextlib.contextmanager
    def _opened(self, path: Path) -> Iterator[int]:
        try:
            handle = self._fs.open(path)
        except FileNotFoundError as error:
            # Trimmed or dropped by somebody whose commit we have not seen; if not, the second try tells.
            raise Vanished(path) from error
        try:
            yield handle
        finally:
            self._fs.close(handle)

    def _lines(self, path: Path, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        """Yield lines chunk by chunk; between two chunks nothing is open, for a follow reads many streams at once."""
        length = _NEAR
        while start < end:
            with self._opened(path) as handle:
                chunk = self._fs.read(handle, min(length, end - start), start)
            stop = chunk.rfind(b"\n") + 1
            if not stop and start + length >= end:
                raise damaged(path, start)
            for raw in _split(chunk[:stop]):
                yield start, raw
                start += len(raw)
            length = _CHUNK if stop else length * 4

    def _search(self, path: Path, handle: int, end: int, sequence: int, revision: int) -> int:
        """Return the offset of a line at or before the first one that is wanted, by halving."""
        low, high = 0, end
        # No line break stands within a line, so the wanted one is where its beginning is found.
        wanted = b'\n{"sequence":%d,' % sequence
        while high - low > _NEAR:
            middle = (low + high) // 2
            offset, raw = self._line_behind(handle, middle, end)
            if not raw or offset >= high:
                high = middle
                continue
            found = _PLACE.match(raw)
            if found is None:
                raise damaged(path, offset)
            if int(found[1]) < sequence or int(found[2]) < revision:
                low = offset
            else:
                high = middle
        found_at = self._fs.read(handle, high - low + len(wanted), low).find(wanted) if sequence else -1
        return low if found_at < 0 else low + found_at + 1

    def _line_behind(self, handle: int, offset: int, end: int) -> tuple[int, bytes]:
        """Return the beginning of the first line that begins behind an offset; nothing when there is none."""
        length = _GLANCE
        while True:
            raw = self._fs.read(handle, min(length, end - offset), offset)
            start = raw.find(b"\n") + 1
            if (start and len(raw) - start >= _GLANCE // 16) or len(raw) < length:
                return offset + start, raw[start:] if start else b""
            length *= 4


class Vanished(Exception):
    """Never seen outside: a file that the state names is not there any more."""


def lines(fs: FileSystem, handle: int, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Yield the lines between two places of a file with their offsets; the last one may lack its end."""
    rest, at, offset = b"", start, start
    while at < end:
        chunk = fs.read(handle, min(_CHUNK, end - at), at)
        if not chunk:
            break
        at += len(chunk)
        *whole, rest = (rest + chunk).split(b"\n")
        for raw in whole:
            yield offset, raw + b"\n"
            offset += len(raw) + 1
    if rest or at < end:
        yield offset, rest


def _split(data: bytes) -> list[bytes]:
    return [raw + b"\n" for raw in data.split(b"\n")[:-1]]


def damaged(path: Path, offset: int) -> Corrupt:
    """Return the error for a bad line in the durable part of a file."""
    message = f"{path} is damaged at byte {offset}: restore it from a backup; nothing was changed"
    return Corrupt(message)


def _check(stream: str, sequence: int, revision: int, position: int, data: bytes) -> int:
    return zlib.crc32(data, zlib.crc32(f"{stream} {sequence} {revision} {position} ".encode()))


def _refuse(name: str) -> NoReturn:
    raise ValueError(name)


def _shown(data: bytes) -> tuple[bytes, bytes]:
    """Return how a record is shown: the name of its field, and what stands there."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return b"base64", b'"%b"' % base64.b64encode(data)
    if b"\n" not in data and b"\r" not in data and _is_json(text):
        return b"record", data
    return b"text", json.dumps(text, ensure_ascii=False).encode()


def _is_json(text: str) -> bool:
    try:
        if _scan(text, 0)[1] == len(text):
            return True
    except (StopIteration, ValueError, RecursionError):
        """There may be white space around it, which the decoder takes and its scanner does not."""
    try:
        _decoder.decode(text)
    except (ValueError, RecursionError):
        return False
    return True


def _data(kind: bytes, shown: bytes) -> bytes | None:
    """Return the bytes that were shown, None when that cannot be."""
    if kind == b"record":
        return shown
    try:
        told: Any = json.loads(shown)
        return told.encode() if kind == b"text" else base64.b64decode(told, validate=True)
    except (ValueError, AttributeError, TypeError, RecursionError):
        return None


_decoder = json.JSONDecoder(parse_constant=_refuse)
_scan = vars(_decoder)["scan_once"]
