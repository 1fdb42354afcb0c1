"""Build the wheel and try it the way a stranger would: installed, away from the checkout, on every Python at hand.

The names that the wheel would put at the top of site-packages are asserted first. Then it is installed into a fresh
environment of this interpreter, where every module is imported, `coord` says its version, and the shipped conformance
suite runs against the installed packages. The same happens on Python 3.12 and 3.13 where they are found.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "constraints.txt"
OTHERS = ("3.12", "3.13")
THIS = f"{sys.version_info.major}.{sys.version_info.minor}"
SUITE = ROOT / "tests" / "conformance"

IMPORT_ALL = """
import importlib, pathlib, pkgutil, sys
here = pathlib.Path(sys.prefix)
names = ["coordstore", "coordstore_etcd", "coordstore_file", "coordstore_orchestrator", "coordstore_sqlite"]
count = 0
for name in names:
    package = importlib.import_module(name)
    assert here in pathlib.Path(package.__file__).parents, f"{name} came from {package.__file__}, not from the wheel"
    for module in pkgutil.walk_packages(package.__path__, name + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
            count += 1
print(f"imported {count} modules on Python {sys.version.split()[0]}")
"""

SETTINGS = """\
[pytest]
addopts = --import-mode=importlib --strict-config --strict-markers
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
filterwarnings = error
markers =
    req(*ids): the requirements that a test shows
    timeout(seconds): for pytest-timeout, which is not installed here
"""


def run(*argv: str | Path, cwd: Path = ROOT) -> None:
    """Run a command with nothing of the checkout on its import path, or end with its status."""
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    done = subprocess.run([str(word) for word in argv], cwd=cwd, env=environment, check=False)
    if done.returncode:
        sys.exit(f"failed with {done.returncode}: {' '.join(str(word) for word in argv)[:200]}")


def works(candidate: str | Path, version: str) -> bool:
    """Tell whether an interpreter starts, is of that version, and can make environments."""
    code = "import ensurepip, sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([str(candidate), "-c", code], capture_output=True, text=True, check=False)
    except OSError:
        return False
    return done.returncode == 0 and done.stdout.strip() == version


def find(version: str) -> Path | None:
    """Return a working interpreter of a version, from PATH or from pyenv's folder."""
    on_path = shutil.which(f"python{version}")
    installed = sorted(Path.home().glob(f".pyenv/versions/{version}*/bin/python"))
    candidates = [*([Path(on_path)] if on_path else []), *installed]
    return next((candidate for candidate in candidates if works(candidate, version)), None)


def build(folder: Path) -> Path:
    """Build the wheel into a folder, assert what it puts at the top level, and return its path."""
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT)
    (wheel,) = folder.glob("*.whl")
    run(sys.executable, "-m", "check_wheel_contents", "--config", ROOT / "pyproject.toml", wheel)
    return wheel


def environment(python: Path | str, folder: Path, wheel: Path) -> Path:
    """Make an environment with the wheel in it and return its interpreter."""
    run(python, "-m", "venv", "--clear", folder)
    inside = folder / "bin" / "python"
    run(inside, "-m", "pip", "install", "--quiet", "--constraint", CONSTRAINTS, f"{wheel}[testing]")
    return inside


def attempt(python: Path, scratch: Path) -> None:
    """Import everything, ask `coord` for its version, and run the conformance suite, all outside the checkout."""
    run(python, "-I", "-c", IMPORT_ALL, cwd=scratch)
    run(python.parent / "coord", "--version", cwd=scratch)
    if SUITE.is_dir():
        suite = shutil.copytree(SUITE, scratch / "conformance", ignore=shutil.ignore_patterns("__pycache__"))
        (suite / "pytest.ini").write_text(SETTINGS)
        run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", suite, cwd=scratch)


def main() -> None:
    """Try the wheel on this interpreter and on the others that are found."""
    found = {version: find(version) for version in OTHERS if version != THIS}
    for version, python in found.items():
        print(f"Python {version}: {python or 'not found, not tried'}", flush=True)
    interpreters = [Path(sys.executable), *(python for python in found.values() if python)]
    with tempfile.TemporaryDirectory(prefix="coordstore-wheel-") as made:
        folder = Path(made)
        wheel = build(folder)
        for number, python in enumerate(interpreters):
            scratch = folder / f"scratch-{number}"
            scratch.mkdir()
            print(f"== {wheel.name} on {python}", flush=True)
            attempt(environment(python, folder / f"venv-{number}", wheel), scratch)


if __name__ == "__main__":
    main()
