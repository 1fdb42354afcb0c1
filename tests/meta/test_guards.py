"""The guards of this suite work: a blocking call, a foreign environment and an undeclared skip do not pass unseen."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import blockbuster
import pytest

import coordstore

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]


def planted(source: str) -> Callable[..., Any]:
    """Return the function `act` of a source that pretends to be a module of ours."""
    namespace: dict[str, Any] = {}
    exec(compile(source, str(Path(coordstore.__path__[0]) / "planted.py"), "exec"), namespace)  # noqa: S102 - our own text
    act: Callable[..., Any] = namespace["act"]
    return act


@pytest.fixture
def forgive(no_blocking_call: list[str]) -> Callable[[], list[str]]:
    """Return what was noted so far, and forget it: here it is what the test is about."""

    def taken() -> list[str]:
        noted = list(no_blocking_call)
        no_blocking_call.clear()
        return noted

    return taken


@pytest.mark.parametrize(
    "source",
    [
        "import time\ndef act(): time.sleep(0)",
        "import os\ndef act(): os.fsync(1)",
        "import subprocess\ndef act(): subprocess.run(['true'])",
        "import sqlite3\ndef act(): sqlite3.connect(':memory:').execute('select 1')",
    ],
)
async def test_a_blocking_call_of_ours_is_caught_even_when_swallowed(
    source: str, forgive: Callable[[], list[str]]
) -> None:
    with contextlib.suppress(Exception):
        planted(source)()
    assert forgive()


async def test_blocking_in_a_thread_is_fine() -> None:
    await asyncio.to_thread(planted("import time\ndef act(): time.sleep(0)"))


async def test_a_test_itself_may_block() -> None:
    time.sleep(0)  # noqa: ASYNC251 - that it is allowed is what is tested
    assert not isinstance(time.sleep, blockbuster.BlockingError)


def test_the_home_is_empty_and_nothing_of_the_outside_is_seen(clean_environment: Path) -> None:
    assert Path.home() == clean_environment
    assert list(clean_environment.iterdir()) == []
    kept = ("COORD_TEST_", "COORD_REQUIRE_")
    assert [name for name in os.environ if name.startswith("COORD_") and not name.startswith(kept)] == []


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        ("def test_it(): pytest.skip('no daemon')", "1 failed"),
        ("def test_it(): pytest.skip('declared: no leases')", "1 skipped"),
        ("pytest.importorskip('no_such_module_anywhere')", "1 error"),
    ],
)
def test_an_undeclared_skip_fails_where_everything_is_required(tmp_path: Path, body: str, outcome: str) -> None:
    (tmp_path / "conftest.py").write_text((ROOT / "conftest.py").read_text(encoding="utf-8"))
    (tmp_path / "test_it.py").write_text(f"import pytest\n{body}\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)],
        env={**os.environ, "COORD_REQUIRE_ALL": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome in done.stdout.splitlines()[-1]
