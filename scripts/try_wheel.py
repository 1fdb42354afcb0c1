"""Build the wheel and try it the way a stranger would: installed, away from the checkout, on every Python at hand.

The names that the wheel would put at the top of site-packages are asserted first. Then it is installed into a fresh
environment of this interpreter without any extra, which must bring few distributions and megabytes, then with what the
tests need, but without the etcd extra, where all the other modules are imported, `coord` says its
version, and the shipped conformance suite runs against the installed packages; with the extra every module is imported.
The same happens on Python 3.12 and 3.13 where they are found, side by side: what each printed comes in one piece.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from scripts.interpreters import find

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "constraints.txt"
OTHERS = ("3.12", "3.13")
THIS = f"{sys.version_info.major}.{sys.version_info.minor}"
SUITE = ROOT / "tests" / "conformance"

IMPORT_ALL = """
import importlib, pathlib, pkgutil, sys
here = pathlib.Path(sys.prefix)
count = 0
for name in sys.argv[1:]:
    package = importlib.import_module(name)
    assert here in pathlib.Path(package.__file__).parents, f"{name} came from {package.__file__}, not from the wheel"
    for module in pkgutil.walk_packages(package.__path__, name + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
            count += 1
print(f"imported {count} modules on Python {sys.version.split()[0]}")
"""

ALONE = ("coordstore", "coordstore_file", "coordstore_orchestrator", "coordstore_sqlite")
ETCD = "coordstore_etcd"  # its modules need what the extra "etcd" installs

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


DISTRIBUTIONS_MAX = 16
MEGABYTES_MAX = 30
WEIGH = """
import importlib.metadata, pathlib, sys, sysconfig
tools = {"pip", "setuptools", "wheel"}
found = {each.name.lower(): each for each in importlib.metadata.distributions()}
ours = {name: each for name, each in found.items() if name not in tools}
files = [pathlib.Path(each.locate_file(file)) for each in ours.values() for file in each.files or ()]
size = sum(file.stat().st_size for file in files if file.is_file()) / 1e6
print(f"{len(ours)} distributions, {size:.1f} MB: {', '.join(sorted(ours))}")
sys.exit(len(ours) > int(sys.argv[1]) or size > float(sys.argv[2]))
"""


def run(*argv: str | Path, cwd: Path = ROOT) -> str:
    """Run a command with nothing of the checkout on its import path; return what it printed, or end with that."""
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    words = [str(word) for word in argv]
    done = subprocess.run(
        words, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{done.stdout}failed with {done.returncode}: {' '.join(words)[:200]}")
    return done.stdout


def build(folder: Path) -> Path:
    """Build the wheel into a folder, assert what it puts at the top level, and return its path."""
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT)
    (wheel,) = folder.glob("*.whl")
    run(sys.executable, "-m", "check_wheel_contents", "--config", ROOT / "pyproject.toml", wheel)
    return wheel


def install(python: Path, wheel: Path, extra: str = "") -> None:
    """Install the wheel, with one of its extras or none."""
    what = f"{wheel}[{extra}]" if extra else wheel
    run(python, "-m", "pip", "install", "--quiet", "--constraint", CONSTRAINTS, what)


def attempt(python: Path, wheel: Path, folder: Path) -> str:
    """Install, import, ask `coord` for its version, run the conformance suite; all outside the checkout."""
    scratch, inside = folder / "scratch", folder / "venv" / "bin" / "python"
    scratch.mkdir(parents=True)
    run(python, "-m", "venv", folder / "venv")
    install(inside, wheel)
    told = run(inside, "-I", "-c", WEIGH, str(DISTRIBUTIONS_MAX), str(MEGABYTES_MAX), cwd=scratch)
    install(inside, wheel, "testing")
    told += run(inside, "-I", "-c", IMPORT_ALL, *ALONE, cwd=scratch)
    told += run(inside.parent / "coord", "--version", cwd=scratch)
    if SUITE.is_dir():
        suite = shutil.copytree(SUITE, scratch / "conformance", ignore=shutil.ignore_patterns("__pycache__"))
        (suite / "pytest.ini").write_text(SETTINGS)
        told += run(inside, "-m", "pytest", "-q", "-p", "no:cacheprovider", suite, cwd=scratch)
    install(inside, wheel, "etcd")
    return told + run(inside, "-I", "-c", IMPORT_ALL, *ALONE, ETCD, cwd=scratch)


def main() -> None:
    """Try the wheel on this interpreter and on the others that are found."""
    found = {version: find(version) for version in OTHERS if version != THIS}
    for version, python in found.items():
        print(f"Python {version}: {python or 'not found, not tried'}", flush=True)
    interpreters = [Path(sys.executable), *(python for python in found.values() if python)]
    with tempfile.TemporaryDirectory(prefix="coordstore-wheel-") as made:
        folder = Path(made)
        wheel = build(folder)
        with ThreadPoolExecutor() as pool:
            tried = [pool.submit(attempt, python, wheel, folder / str(n)) for n, python in enumerate(interpreters)]
            for python, attempted in zip(interpreters, tried, strict=True):
                print(f"== {wheel.name} on {python}\n{attempted.result()}", flush=True)


if __name__ == "__main__":
    main()
