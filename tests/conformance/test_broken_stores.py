"""The conformance suite can fail: it catches every planted-broken store in the topic that the bug belongs to."""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from coordstore.testing.broken import BROKEN, BrokenStore
from coordstore.testing.suite import TOPICS

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.req("S10")

# As a backend's author would write it, in a project of its own: no conftest of ours, pytest-asyncio in strict mode.
PROJECT = """
import pytest
from coordstore.testing import Clock, Memory, MemoryStore, StoreTests
from coordstore.testing.broken import BROKEN
from coordstore.testing.suite import TOPICS

def case(topic, store):
    class Case(topic):
        patience = 0.5
        deadline = 3.0

        @pytest.fixture
        def clock(self):
            return Clock()

        @pytest.fixture
        def open_store(self, clock):
            memory = Memory(clock)
            return lambda: store(memory)

        @pytest.fixture
        def advance(self, clock):
            return clock.advance

    return Case

class TestSound(case(StoreTests, MemoryStore)):
    pass

for broken in BROKEN:
    name = "Test" + broken.__name__
    globals()[name] = type(name, (case(TOPICS[broken.caught_by], broken),), {})
"""
SETTINGS = """
[pytest]
asyncio_mode = strict
asyncio_default_fixture_loop_scope = function
"""


@pytest.fixture(scope="module")
def caught(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """Run the suite against all broken stores in one process; return, by store, what each failed test said."""
    project: Path = tmp_path_factory.mktemp("project")
    (project / "pytest.ini").write_text(SETTINGS)
    (project / "test_broken.py").write_text(PROJECT)
    options = ["-q", "--tb=no", "-p", "no:randomly", "-p", "no:cacheprovider", "--junitxml=report.xml"]
    command = [sys.executable, "-m", "pytest", *options]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    cases = list(ET.parse(project / "report.xml").iter("testcase"))  # noqa: S314  (written by the lines above)
    tests: dict[str, dict[str, str]] = defaultdict(dict)
    for case in cases:
        failure = case.find("failure")
        if failure is not None:
            store = case.get("classname", "").rpartition(".Test")[2]
            tests[store][case.get("name", "")] = failure.get("message", "")
    return tests


def _in_time(failed: dict[str, str]) -> dict[str, str]:
    """Leave out what only ran into a deadline, as a busy machine makes it."""
    return {name: message for name, message in failed.items() if "TimeoutError" not in message}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
def test_the_suite_catches(broken: type[BrokenStore], caught: dict[str, dict[str, str]]) -> None:
    failed = caught[broken.__name__] if broken.hangs else _in_time(caught[broken.__name__])
    assert failed, f"{broken.caught_by} passes a store that does this: {broken.__doc__}"


def test_a_sound_store_passes_in_a_project_of_its_own(caught: dict[str, dict[str, str]]) -> None:
    assert _in_time(caught["Sound"]) == {}


def test_every_topic_has_a_broken_store_that_it_catches() -> None:
    assert {broken.caught_by for broken in BROKEN} == set(TOPICS)
