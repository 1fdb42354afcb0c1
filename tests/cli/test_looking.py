"""What only looks creates nothing and takes no lock for longer than a read, whatever lies at the store's place."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LOOKING = (["inspect"], ["events"], ["logs", "t1.1"], ["report"], ["metrics"], ["doctor"])


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Return what lies in a folder: sizes and times of changes."""
    found = {str(path): path.lstat() for path in folder.rglob("*")}
    return {path: (each.st_size, each.st_mtime_ns) for path, each in found.items()}


@pytest.mark.req("C1")
@pytest.mark.parametrize("args", LOOKING, ids=" ".join)
@pytest.mark.parametrize("what", ["nothing", "empty file", "empty folder"])
def test_looking_creates_nothing(tmp_path: Path, coord: Callable[..., Any], args: list[str], what: str) -> None:
    place = tmp_path / "here"
    if what == "empty file":
        place.touch(mode=0o600)
    elif what == "empty folder":
        place.mkdir(mode=0o700)
    scheme = "file" if what == "empty folder" else "sqlite"
    before = tree(tmp_path)
    found = coord("--store", f"{scheme}:{place}", *args)
    assert tree(tmp_path) == before, found.err
    assert "Traceback" not in found.err


@pytest.mark.req("C1")
@pytest.mark.parametrize("scheme", ["sqlite", "file"])
def test_a_read_does_not_wait_for_a_writer_that_is_stopped(
    tmp_path: Path, story: Callable[..., None], coord_process: Callable[..., Any], scheme: str
) -> None:
    url = f"{scheme}:{tmp_path}/store"
    story(url)
    lock = tmp_path / ("store-lock" if scheme == "sqlite" else "store/.coord/lock")
    assert stat.S_ISREG(lock.stat().st_mode)
    held = os.open(lock, os.O_RDWR)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        for args in (["inspect"], ["inspect", "--json"], ["report"], ["metrics"]):
            found = coord_process("--store", url, *args)
            assert found.code == 0, found.err
            assert "shop" in found.out
    finally:
        os.close(held)


@pytest.mark.req("C1")
@pytest.mark.parametrize("args", [*LOOKING[:-1], ["metrics", "--no-events"], ["inspect", "--json"]], ids=" ".join)
def test_looking_imports_neither_pydantic_nor_grpc_nor_yaml(
    tmp_path: Path, story: Callable[..., None], args: list[str]
) -> None:
    url = f"sqlite:{tmp_path}/store"
    story(url)
    program = (
        "import sys; from coordstore.cli.main import main; main(sys.argv[1:]);"
        "sys.exit(' '.join({'pydantic', 'grpc', 'yaml', 'google', 'opentelemetry'} & sys.modules.keys()) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "--store", url, *args], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
