"""The colours of single points of a PNG as browsers write it: eight bits a channel, not interlaced."""

from __future__ import annotations

import struct
import zlib


class Picture:
    """A decoded PNG."""

    def __init__(self, data: bytes) -> None:
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        packed, at = b"", 8
        while at < len(data):
            (size,) = struct.unpack(">I", data[at : at + 4])
            kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
            if kind == b"IHDR":
                self.width, self.height, depth, colour, _, _, laced = struct.unpack(">IIBBBBB", body)
                assert (depth, laced) == (8, 0)
                assert colour in (2, 6)
                self._step = 3 if colour == 2 else 4
            elif kind == b"IDAT":
                packed += body
            at += size + 12
        self._rows = self._unfilter(zlib.decompress(packed))

    def _unfilter(self, raw: bytes) -> list[bytearray]:
        line, step = self.width * self._step, self._step
        rows, above = [], bytearray(line)
        for y in range(self.height):
            start = y * (line + 1)
            kind, row = raw[start], bytearray(raw[start + 1 : start + 1 + line])
            for x in range(line if kind else 0):
                left = row[x - step] if x >= step else 0
                up, corner = above[x], above[x - step] if x >= step else 0
                if kind == 1:
                    guess = left
                elif kind == 2:
                    guess = up
                elif kind == 3:
                    guess = (left + up) // 2
                else:
                    p = left + up - corner
                    guess = min((abs(p - left), 0, left), (abs(p - up), 1, up), (abs(p - corner), 2, corner))[2]
                row[x] = (row[x] + guess) & 255
            rows.append(row)
            above = row
        return rows

    def at(self, x: float, y: float) -> str:
        """Return the colour of a point, as ``#rrggbb``."""
        start = int(x) * self._step
        return "#" + bytes(self._rows[int(y)][start : start + 3]).hex()
