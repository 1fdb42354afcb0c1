"""Plugins: a stranger's distribution brings a backend, and a bad one is named."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from coordstore.plugins import PluginError, Registry, backends

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.req("S10")

PLUGIN = """
from coordstore.hookspecs import hookimpl

@hookimpl
def register_backends(register):
    register("{scheme}", "stranger_store:open_stranger", summary="a stranger's")
"""
STORE = """
from coordstore.testing import MemoryStore

async def open_stranger(url):
    return MemoryStore()
"""
USE = """
import asyncio, sys
from coordstore import open_store
from coordstore.plugins import PluginError

async def main():
    async with open_store("stranger:anything") as store:
        print(await store.put("a", b"1"), "stranger_store" in sys.modules)

try:
    asyncio.run(main())
except PluginError as error:
    print("refused:", error)
"""


def _install(site: Path, name: str, plugin: str) -> None:
    """Lay a distribution with one plugin into a folder, as an installer does."""
    (site / f"{name}.py").write_text(plugin)
    (site / "stranger_store.py").write_text(STORE)
    info = site / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[coordstore]\n{name} = {name}\n")


def _use(site: Path) -> str:
    path = os.pathsep.join([str(site), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", USE], env={"PYTHONPATH": path}, capture_output=True, text=True, check=True, timeout=50
    )
    return done.stdout.strip()


def test_a_strangers_distribution_brings_a_backend(tmp_path: Path) -> None:
    _install(tmp_path, "stranger", PLUGIN.format(scheme="stranger"))
    assert _use(tmp_path) == "1 True"


def test_a_plugin_that_cannot_be_imported_is_named_with_its_distribution(tmp_path: Path) -> None:
    _install(tmp_path, "strange", "import no_such_module_anywhere\n")
    said = _use(tmp_path)
    assert said.startswith("refused: plugin 'strange' of strange cannot be loaded")
    assert "no_such_module_anywhere" in said


def test_two_plugins_that_claim_one_scheme_are_an_error(tmp_path: Path) -> None:
    for name in ("one", "two"):
        _install(tmp_path, name, PLUGIN.format(scheme="stranger"))
    assert "two plugins claim the scheme 'stranger'" in _use(tmp_path)


def test_a_registry_refuses_a_name_twice_and_names_both() -> None:
    registry: Registry[str] = Registry("scheme")
    registry("x", "one:open", summary="")
    with pytest.raises(PluginError, match=r"'x' \(one:open and two:open\)"):
        registry("x", "two:open", summary="")


def test_the_built_in_backends_are_registered_with_a_sentence() -> None:
    found = backends()
    assert {"memory", "sqlite"} <= set(found)
    assert all(backend.summary and ":" in backend.target for backend in found.values())


@pytest.mark.parametrize("module", ["coordstore", "coordstore.testing", "coordstore.plugins"])
def test_importing_the_library_imports_no_test_tools_and_no_driver(module: str) -> None:
    heavy = ["pytest", "hypothesis", "aiosqlite", "sqlite3", "grpc"]
    code = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=50)
    assert done.stdout.strip() == "[]"
