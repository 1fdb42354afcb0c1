"""Another user who does, as fast as it goes, whatever could disturb a run: a program, for `test_security_attack`.

It is given a directory of everybody's, a name in it that it plants and takes away again and again (a link, then a
directory, in turn), and a directory of its own that the link leads to. It attacks what it sees in the first, and the
paths that it reads from standard input, until that ends; then it says how much it tried, and what worked.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import select
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NOBODY = 65534


def planted(name: Path, own: Path) -> Iterator[None]:
    """Put something of ours at a name and take it away again, in turn."""
    for turn in itertools.count():
        with contextlib.suppress(OSError):
            if turn % 2:
                name.mkdir(mode=0o755)
            else:
                name.symlink_to(own)
        yield
        with contextlib.suppress(OSError):
            name.rmdir() if turn % 2 else name.unlink()
        yield


def create(path: Path) -> None:
    """Make a file in a directory."""
    os.close(os.open(path / "planted", os.O_CREAT | os.O_EXCL | os.O_WRONLY))


def read(path: Path) -> None:
    """Open for reading, a directory too."""
    os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))


def write(path: Path) -> None:
    """Open for writing."""
    os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))


def connect(path: Path) -> None:
    """Speak to a socket."""
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(str(path))


def is_ours(path: Path) -> bool:
    """Tell whether something is there that we made."""
    try:
        return path.lstat().st_uid == NOBODY
    except OSError:
        return False


def attacks(own: Path) -> dict[str, Callable[[Path], object]]:
    """Return what can be done to a path, by name; `own` is a directory of ours."""
    return {
        "create": create,
        "read": read,
        "write": write,
        "connect": connect,
        "remove": os.unlink,
        "remove directory": os.rmdir,
        "take away": lambda path: path.rename(own / "taken"),
        "replace": lambda path: _fresh(own / "mine").rename(path),
        "link": (own / "second").hardlink_to,
        "open up": lambda path: path.chmod(0o777),
        "touch": os.utime,
    }


def _fresh(path: Path) -> Path:
    path.touch()
    return path


def told(paths: set[Path], rest: bytearray) -> bool:
    """Take in the paths that were named, one a line; tell whether more may come. `rest` is a line not yet complete."""
    while select.select([0], [], [], 0)[0]:
        data = os.read(0, 65536)
        if not data:
            return False
        *lines, rest[:] = (bytes(rest) + data).split(b"\n")
        paths.update(Path(os.fsdecode(line)) for line in lines)
    return True


def seen(folder: Path) -> Iterator[Path]:
    """Yield what can be seen below a directory, and the sockets there that the kernel lists for everybody."""
    for path, folders, files in os.walk(folder):
        yield from (Path(path, name) for name in (*folders, *files))
    for line in Path("/proc/net/unix").read_text(encoding="utf-8", errors="replace").splitlines()[1:]:
        _, found, rest = line.partition(f" {folder}/")
        if found:
            yield folder / rest


def main(folder: Path, name: Path, own: Path) -> None:
    """Attack until nobody speaks to us any more."""
    named: set[Path] = set()
    rest = bytearray()
    tried, worked = 0, set()
    planting, doing = planted(name, own), attacks(own)
    while told(named, rest):
        for path in {*named, *seen(folder)}:
            next(planting)
            for what, attack in doing.items():
                if is_ours(path) or (name in path.parents and is_ours(name)):
                    continue  # we may do anything with it
                tried += 1
                with contextlib.suppress(OSError):
                    attack(path)
                    if (what, path) != ("replace", name):  # where nothing is, that is one more planting
                        worked.add(f"{what} {path}")
        next(planting)
    sys.stdout.write(json.dumps({"tried": tried, "worked": sorted(worked)}))


if __name__ == "__main__":
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    main(*map(Path, sys.argv[1:]))
