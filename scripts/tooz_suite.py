"""Run the test-suite of the library tooz against this one: ``python scripts/tooz_suite.py [BACKEND=URL…]``.

The suite comes in tooz's wheel, which goes into a folder of its own (`.venv-tooz`). Nothing may be skipped but what the
suite keeps for other drivers: a driver that lost a method would otherwise stay green.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DRIVER = ROOT / "tests" / "tooz"
FOLDER = ROOT / ".venv-tooz"
TESTS = 83
SKIPPED = {
    "test_connection_error_bad_host",  # of drivers for several hosts
    "test_watch_join_group_disappear",  # of three drivers, by their names
}


def install() -> None:
    """Bring tooz and what its suite needs, once."""
    ready, wanted = FOLDER / ".ready", (DRIVER / "requirements.txt").read_text(encoding="utf-8")
    if ready.exists() and ready.read_text(encoding="utf-8") == wanted:
        return
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--upgrade", "--target", str(FOLDER)]
    subprocess.run([*pip, "--requirement", str(DRIVER / "requirements.txt")], check=True)
    ready.write_text(wanted, encoding="utf-8")


def suite(backend: str, url: str, home: str) -> list[str]:
    """Run the suite on one backend; return what was wrong."""
    env = {
        **os.environ,
        "HOME": home,
        "PYTHONPATH": os.pathsep.join((str(DRIVER), str(FOLDER))),
        "TOOZ_TEST_URL": f"coordstore://?store={url}",
    }
    # The suite leaves coordinators open; what is not closed ends with its process.
    argv = [sys.executable, "-W", "ignore::ResourceWarning", "-m", "unittest", "-v", "tooz.tests.test_coordination"]
    done = subprocess.run(argv, env=env, cwd=home, capture_output=True, text=True, check=False)
    ran = re.search(r"^Ran (\d+) tests", done.stderr, re.MULTILINE)
    number = int(ran[1]) if ran else 0
    skipped = set(re.findall(r"(test_\w+) \.\.\. skipped", done.stderr))
    print(f"tooz on {backend}: {number} ran, {len(skipped)} of them kept for other drivers", flush=True)
    wrong = [f"{backend}: {name} was skipped" for name in sorted(skipped - SKIPPED)]
    if number != TESTS or done.returncode:
        wrong.append(f"{backend}: {number} of {TESTS} tests ran, or some failed\n{done.stderr[-4000:]}")
    return wrong


def main(arguments: list[str]) -> int:
    """Run the suite on each backend; return 1 when anything failed."""
    install()
    with tempfile.TemporaryDirectory() as folder:
        urls = {"sqlite": f"sqlite:{folder}/store.db", "file": f"file:{folder}/store"}
        if arguments:
            urls = dict(argument.partition("=")[::2] for argument in arguments)
        wrong = [line for backend, url in urls.items() for line in suite(backend, url, folder)]
    print("\n".join(wrong), file=sys.stderr)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
