"""The JSON-lines files of streams as they are written: at first a view, then, synced and checked, a durable home."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from coordstore.model import Record
from coordstore_file.frames import decode
from coordstore_file.homes import FILE_NAME, damaged, file_name, layout_lines, lines, parse
from coordstore_file.log import unpack_place
from coordstore_file.replica import Home, HomeFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from coordstore_file.homes import Piece
    from coordstore_file.journal import Journal
    from coordstore_file.replica import Stream

__all__ = ["Positioned", "StreamView"]

_GLANCE: Final = 4096

Positioned: TypeAlias = tuple[Record, int]
"""A record and its position among the records of its transaction."""


class _End(NamedTuple):
    """Where the lines of a stream end: the file (its revision), its length, the last sequence; of which stream."""

    born: int
    revision: int
    length: int
    sequence: int


class StreamView:
    """The lines of all streams; used by one thread, under the upkeep lock.

    Args:
        journal: The store.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._fs = journal.fs
        self._root = journal.layout.root
        self._ends: dict[str, _End] = {}

    # --- as a view --------------------------------------------------------------------------------------

    def append(self, name: str, records: Sequence[Positioned]) -> None:
        """Add lines for records that are not there yet."""
        stream = self._stream(name)
        if stream is None:
            return
        end = self._end(name, stream)
        missing = [item for item in records if item[0].sequence > end.sequence]
        if not missing:
            return
        if missing[0][0].sequence != end.sequence + 1:
            missing = list(self._logged(name, stream, end.sequence + 1))
        files = [HomeFile(0, end.revision, end.length)] if end.revision else []
        for piece in layout_lines(files, missing):
            self._write(name, piece)
            end = _End(stream.born, piece.revision, piece.offset + len(piece.data), end.sequence)
        self._ends[name] = end._replace(sequence=missing[-1][0].sequence if missing else end.sequence)

    def rewrite(self, name: str) -> None:
        """Write the lines that are no durable home anew."""
        stream = self._stream(name)
        if stream is None:
            return
        self._reset(name, stream)
        self.append(name, list(self._logged(name, stream, stream.home.upto + 1)))

    def clear(self, name: str, stream: Stream | None, upto: int) -> None:
        """Remove the files that hold no record any more.

        Args:
            name: The stream.
            stream: What it is, None when it is gone.
            upto: The revision at which that is so; later files stay.
        """
        trimmed = {file.revision for file in stream.home.files} - {f.revision for f in stream.files()} if stream else ()
        for revision in self._files(name):
            if revision <= upto and (stream is None or revision < stream.born or revision in trimmed):
                self._fs.unlink(self._path(name, revision))

    # --- as a home --------------------------------------------------------------------------------------

    def settle(self, name: str, stream: Stream, records: Sequence[Positioned]) -> tuple[Home, bool]:
        """Make the lines of records durable behind a stream's home; return the longer home and whether a file is new.

        Raises:
            OSError: They could not be made durable.
            Corrupt: The home is shorter than it was.
        """
        files, new = list(stream.files()), False
        for piece in layout_lines(files, records):
            self._settle_piece(name, piece)
            if piece.offset:
                files[-1] = files[-1]._replace(length=piece.offset + len(piece.data))
            else:
                files.append(HomeFile(piece.sequence, piece.revision, len(piece.data)))
                new = True
        last = records[-1][0]
        return Home(last.sequence, last.revision, tuple(files)), new

    def _settle_piece(self, name: str, piece: Piece) -> None:
        path = self._path(name, piece.revision)
        handle = self._fs.create(path) if self._fs.find(path) is None else self._fs.open(path)
        try:
            if self._fs.size(handle) < piece.offset:
                raise damaged(path, self._fs.size(handle))
            if self._fs.read(handle, len(piece.data), piece.offset) != piece.data:
                self._ends.pop(name, None)
                self._fs.truncate(handle, piece.offset)
                for later in self._files(name):
                    if later > piece.revision:
                        self._fs.unlink(self._path(name, later))
            # Also where it is there already: after a sync that failed it may be in memory only, and a second sync of
            # the same pages would say nothing.
            self._fs.write_all(handle, piece.data, piece.offset)
            self._fs.fdatasync(handle)
        finally:
            self._fs.close(handle)

    # --- what is there ----------------------------------------------------------------------------------

    def _stream(self, name: str) -> Stream | None:
        with self._journal.mutex:
            return self._journal.replica.streams.get(name)

    def _path(self, name: str, revision: int) -> Path:
        return self._root / name / file_name(revision)

    def _files(self, name: str) -> list[int]:
        """Return the revisions that the files of a stream are named for, sorted."""
        found = self._fs.find(self._root / name)
        names = self._fs.list(self._root / name) if found is not None and found.kind == "folder" else []
        return sorted(int(each[1:-6]) for each in names if FILE_NAME.fullmatch(each))

    def _end(self, name: str, stream: Stream) -> _End:
        """Return where the lines end, from memory when nobody else wrote meanwhile."""
        known = self._ends.get(name)
        if known is not None and known.born == stream.born and known.sequence >= stream.home.upto:
            found = self._fs.find(self._path(name, known.revision))
            if found is not None and found.size == known.length:
                return known
        end = self._found_end(name, stream)
        return self._reset(name, stream) if end is None else end

    def _found_end(self, name: str, stream: Stream) -> _End | None:
        """Look for the end in the last file; None when what is there makes no sense."""
        files = [revision for revision in self._files(name) if revision >= stream.born]
        home = stream.home.files[-1] if stream.home.files else None
        if not files or (home is not None and files[-1] < home.revision):
            return None
        durable = home.length if home is not None and home.revision == files[-1] else 0
        sequence = stream.home.upto if durable else 0
        path = self._path(name, files[-1])
        handle = self._fs.open(path)
        try:
            size = self._fs.size(handle)
            last = self._last(name, handle, durable, size)
            if last is not None:
                return _End(stream.born, files[-1], size, last.sequence)
            end = durable
            for offset, raw in lines(self._fs, handle, durable, size):
                found = parse(name, raw)
                if found is None:
                    self._fs.truncate(handle, offset)
                    break
                end, sequence = offset + len(raw), found[0].sequence
        finally:
            self._fs.close(handle)
        return _End(stream.born, files[-1], end, sequence) if sequence else None

    def _last(self, name: str, handle: int, durable: int, size: int) -> Record | None:
        """Return the record of the last line, None when that is long or damaged; the lines before it are not read."""
        begin = max(durable, size - _GLANCE)
        before, found, line = (b"\n" + self._fs.read(handle, size - begin, begin)).rpartition(b"\n{")
        if not found or (begin > durable and not before):
            return None
        told = parse(name, b"{" + line)
        return told[0] if told else None

    def _reset(self, name: str, stream: Stream) -> _End:
        """Take away all lines that are no durable home."""
        home = stream.home.files[-1] if stream.home.files else None
        for revision in self._files(name):
            if home is None or revision > home.revision:
                self._fs.unlink(self._path(name, revision))
        if home is None:
            return _End(stream.born, 0, 0, 0)
        handle = self._fs.open(self._path(name, home.revision))
        try:
            self._fs.truncate(handle, min(home.length, self._fs.size(handle)))
        finally:
            self._fs.close(handle)
        return _End(stream.born, home.revision, home.length, stream.home.upto)

    def _logged(self, name: str, stream: Stream, sequence: int) -> Iterator[Positioned]:
        """Yield the records from a sequence on, as the log has them."""
        last = -1
        with self._journal.mutex:
            places = list(stream.places[max(sequence - stream.home.upto - 1, 0) :])
        for place in places:
            if place == last:
                continue
            last = place
            with self._journal.mutex:
                commit = decode(self._journal.log.frame(unpack_place(place)).content)
            for position, record in enumerate(commit.records):
                if record.stream == name and record.sequence >= sequence:
                    yield record, position

    def _write(self, name: str, piece: Piece) -> None:
        path = self._path(name, piece.revision)
        handle = self._fs.create(path) if self._fs.find(path) is None else self._fs.open(path)
        try:
            self._fs.write_all(handle, piece.data, piece.offset)
        finally:
            self._fs.close(handle)
