"""Reading what an agent printed while it may still be written.

    stdout.log                       the beginning
    stdout.<15 digits>.log           later parts; the number is the place in the stream where the part begins

Parts in the middle are removed when an agent prints more than is kept; a line counts what is missing.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["LogReader"]

CHUNK: Final = 1 << 20


class LogReader:
    """Reads one stream of an attempt from the beginning on; blocks, so call it in a thread.

    Args:
        folder: The attempt's logs.
        name: ``stdout`` or ``stderr``.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.place = 0
        self._folder = folder
        self._pattern = re.compile(re.escape(name) + r"(?:\.(\d{15}))?\.log")

    def __repr__(self) -> str:
        """Show the folder and the place."""
        return f"<LogReader {self._folder} at {self.place}>"

    def read(self) -> bytes:
        """Return the next piece of what there is; empty at its present end."""
        for start, path in self._parts():
            try:
                with path.open("rb") as file:
                    file.seek(max(0, self.place - start))
                    data = file.read(CHUNK)
            except FileNotFoundError:
                continue  # removed since it was listed, as too much was printed: counted as missing below
            if not data:
                continue
            missing = start - self.place
            self.place = max(self.place, start) + len(data)
            return b"\n[%d bytes left out]\n" % missing + data if missing > 0 else data
        return b""

    def _parts(self) -> Iterator[tuple[int, Path]]:
        """Yield the parts that are kept, in order, each with its place in the stream."""
        if not self._folder.is_dir():
            return
        found = ((self._pattern.fullmatch(path.name), path) for path in self._folder.iterdir())
        yield from sorted((int(match[1] or 0), path) for match, path in found if match)
