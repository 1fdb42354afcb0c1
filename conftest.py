"""What every test and every documented example lives with: a guard against blocking calls, and a clean environment."""

from __future__ import annotations

import fcntl
import gc
import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import ref

import blockbuster
import grpc
import hypothesis
import pytest
from blockbuster import blockbuster as blockbuster_module
from sybil import Sybil
from sybil.evaluators.doctest import NUMBER
from sybil.integration.pytest import SybilItem
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser
from sybil.parsers.rest import DocTestParser
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OURS = ["coordstore", "coordstore_etcd", "coordstore_file", "coordstore_orchestrator", "coordstore_sqlite"]
ALSO_BLOCKING: list[tuple[Any, str]] = [
    (fcntl, "flock"),
    (fcntl, "lockf"),
    (os, "fdatasync"),
    (os, "fsync"),
    (subprocess, "run"),
    (subprocess.Popen, "communicate"),
    (subprocess.Popen, "wait"),
]
# A deadline per example would measure the machine; each test has its timeout.
hypothesis.settings.register_profile("here", deadline=None)
hypothesis.settings.load_profile("here")

KEPT = ("COORD_TEST_", "COORD_REQUIRE_")
DECLARED = "declared:"


# Blocking calls ------------------------------------------------------------------------------------------------------

blocked: list[str] = []


class Blocked(blockbuster.BlockingError):
    """A blocking call inside a coroutine; noted as it is made, so that no broad handler can hide it."""

    def __init__(self, func: str) -> None:
        super().__init__(func)
        blocked.append(func)


@pytest.fixture(scope="session", autouse=True)
def guard_against_blocking() -> Iterator[blockbuster.BlockBuster]:
    """Watch for blocking calls that our packages make on a thread whose event loop runs."""
    patch = pytest.MonkeyPatch()
    patch.setattr(blockbuster_module, "BlockingError", Blocked)
    # The shipped suite is a test: it may look at files between its steps, the store under it may not.
    guard = blockbuster.BlockBuster(OURS, excluded_modules=["coordstore.testing"])
    for module, name in ALSO_BLOCKING:
        guard.functions[f"{module.__name__}.{name}"] = blockbuster.BlockBusterFunction(
            module, name, scanned_modules=OURS, excluded_modules=["coordstore.testing"]
        )
    for function in guard.functions.values():
        # A plugin, a driver or a command is imported at its first use: once in a process, and nothing to await.
        function.can_block_in("<frozen importlib._bootstrap>", "_find_and_load")
        # A log line is a short buffered write, and a program says where it goes.
        function.can_block_in("logging/__init__.py", "emit")
        # A relative path is made absolute: the kernel knows the current folder without waiting for anything.
        function.can_block_in("coordstore/url.py", "path")
        # The entry points are read once in a process; whoever opens a store has to know them first.
        function.can_block_in("coordstore/plugins.py", "plugin_manager")
    guard.activate()
    yield guard
    guard.deactivate()
    patch.undo()


@pytest.fixture(autouse=True)
def no_blocking_call(guard_against_blocking: blockbuster.BlockBuster) -> Iterator[list[str]]:
    """Fail a test in whose coroutines something blocked, also when the error was swallowed; yield what was noted."""
    blocked.clear()
    yield blocked
    assert not blocked, f"blocking calls inside a coroutine: {', '.join(blocked)}; move them to a thread"


# Channels ------------------------------------------------------------------------------------------------------------

channels: list[ref[Any]] = []


@pytest.fixture(scope="session", autouse=True)
def note_channels() -> Iterator[None]:
    """Note every channel to an etcd that is made."""
    patch = pytest.MonkeyPatch()
    for name in ("insecure_channel", "secure_channel"):
        patch.setattr(grpc.aio, name, noted(getattr(grpc.aio, name)))
    yield
    patch.undo()


def noted(make: Callable[..., Any]) -> Callable[..., Any]:
    """Return what makes a channel and notes it."""

    def made(*args: Any, **options: Any) -> Any:
        channel = make(*args, **options)
        channels.append(ref(channel))
        return channel

    return made


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol() -> Any:
    """Collect what is left of a test's channels when its fixtures are gone too.

    With the last channel grpc waits for a thread of its own, and must not do so in another test's loop.
    """
    done = yield
    if channels:
        gc.collect()
        channels[:] = [channel for channel in channels if channel() is not None]
    return done


# Environment ---------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a test an empty home and no COORD_* or GIT_* of the person who runs it; return that home."""
    home = tmp_path_factory.mktemp("home")
    for name in os.environ:
        if name.startswith(("COORD_", "GIT_", "XDG_")) and not name.startswith(KEPT):
            monkeypatch.delenv(name)
    for name in ("COLUMNS", "LINES"):  # of somebody's terminal, or of what runs the suite in several processes
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "state"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    return home


# Skips ---------------------------------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Any:
    """Turn skips into failures under COORD_REQUIRE_ALL, but for those that a backend declared."""
    return refuse_skip((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Any:
    """Do the same for a whole module that skips itself."""
    return refuse_skip((yield))


def refuse_skip(report: Any) -> Any:
    """Return the report, failed if it is a skip that nobody declared and COORD_REQUIRE_ALL is set."""
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("COORD_REQUIRE_ALL"):
        reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
        if not reason.removeprefix("Skipped: ").startswith(DECLARED):
            report.outcome = "failed"
            report.longrepr = f"COORD_REQUIRE_ALL is set, but this was skipped: {reason}"
    return report


# Documented examples -------------------------------------------------------------------------------------------------


def enter_scratch_folder(namespace: dict[str, Any]) -> None:
    """Let the examples of one document find themselves in an empty folder."""
    namespace["_scratch"] = tempfile.TemporaryDirectory(), Path.cwd()
    os.chdir(namespace["_scratch"][0].name)


def leave_scratch_folder(namespace: dict[str, Any]) -> None:
    """Go back, and remove the folder."""
    scratch, before = namespace["_scratch"]
    os.chdir(before)
    scratch.cleanup()


pytest_collect_file = Sybil(
    parsers=[DocTestParser(optionflags=NUMBER), PythonCodeBlockParser(), SkipParser()],
    patterns=["*.md", "*.py"],
    setup=enter_scratch_folder,
    teardown=leave_scratch_folder,
).pytest()


WAITING = ("tests/etcd/", "tests/faults/", "tests/recipes/", "tests/run/", "tests/bench/", "tests/conformance/")
"""Where tests wait for leases and servers: begun first, or the last of them would be waited for alone."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long; put the examples of a document back into its order: they are one story."""
    examples = [item for item in items if isinstance(item, SybilItem)]
    examples.sort(key=lambda item: (str(item.path), item.example.line))
    tests = [item for item in items if not isinstance(item, SybilItem)]
    tests.sort(key=lambda item: not item.nodeid.startswith(WAITING))
    items[:] = [*tests, *examples]


# Several processes ---------------------------------------------------------------------------------------------------


class ByFile(LoadScopeScheduling):  # type: ignore[misc]  # xdist brings no types
    """Keeps a file's tests in one process, for they share what is dear to set up; fault trials go where room is."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid if nodeid.startswith("tests/faults/") else nodeid.partition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Start two processes for each processor: half of the time a test waits for a lease to end or a disk to sync."""
    return 2 * (os.cpu_count() or 1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    """Hand out tests file by file when several processes run the suite."""
    return ByFile(config, log)
