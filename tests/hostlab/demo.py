"""The demonstration of several hosts, `make demo-hosts`: ten tasks, one host cut off and back, another one dead."""

from __future__ import annotations

import json
import shutil
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any, Final

from tests.hostlab.lab import Lab, eventually

PACKAGES: Final = (
    "asyncio",
    "collections",
    "concurrent",
    "email",
    "html",
    "http",
    "json",
    "logging",
    "urllib",
    "xml",
)


def fill(folder: Path) -> None:
    """Make the repository: parts of Python's standard library."""
    library = Path(sysconfig.get_path("stdlib"))
    for package in PACKAGES:
        shutil.copytree(library / package, folder / "lib" / package, ignore=shutil.ignore_patterns("__pycache__"))


def plan(folder: Path) -> Path:
    """Write the plan: a page of documentation for each package; two of them come after all others."""
    tasks: list[dict[str, Any]] = []
    for number, package in enumerate(PACKAGES):
        page = f"docs/{package}.md"
        shell = f"sleep 6; mkdir -p docs; grep -rhoE '^(class|def) \\w+' lib/{package} | sort > {page}"
        row = {"id": package, "name": f"Page on {package}", "prompt": f"Write {page}.", "writes": [page]}
        needs = list(PACKAGES[:-2]) if number >= len(PACKAGES) - 2 else []
        tasks.append({**row, "needs": needs, "agent": {"command": ["sh", "-c", shell]}})
    path = folder / "plan.json"
    path.write_text(json.dumps({"goal": "A page for each package", "tasks": tasks}))
    return path


class Show:
    """Prints what happens, with the time."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def __call__(self, text: str) -> None:
        print(f"{time.monotonic() - self._began:6.1f} s  {text}", flush=True)  # noqa: T201  (what a demonstration is for)


def completed(lab: Lab) -> list[str]:
    """Return the tasks that are completed."""
    return [name for name, task in lab.tasks().items() if task["state"] == "completed"]


def cut_off(lab: Lab, show: Show) -> None:
    """Cut off the host of a worker with work under way, and let it come back."""
    agents = eventually(lambda: completed(lab) and lab.running("h2"), "h2 runs something")
    lab.cut("h2")
    show(f"h2 is cut off while it runs {', '.join(agents)}")
    tasks = [agent.partition(".")[0] for agent in agents]
    eventually(
        lambda: all(len(lab.tasks()[task]["attempts"]) > 1 for task in tasks if task in lab.tasks()),
        "the work of h2 goes to another host",
    )
    again = [lab.tasks()[task]["attempts"][1] for task in tasks]
    show(f"given out again: {', '.join(each['agent'] for each in again)}")


def main() -> int:
    """Show it; return 0 when all went well."""
    show = Show()
    with Lab(fill) as lab:
        path = plan(lab.folder)
        show(f"three hosts, an etcd on each; {len(PACKAGES)} tasks; git at {lab.git_url}")
        workers = {host: lab.worker(host, "--slots", "2") for host in ("h2", "h3")}
        leader = lab.orchestrator("h1", path)
        eventually(lambda: lab.session().get("leader"), "h1 leads")
        heir = lab.orchestrator("h3", path, "--standby")
        eventually(lambda: "standing by" in heir.said(), "h3 stands by")
        show("h1 orchestrates, h2 and h3 work, h3 stands by")
        cut_off(lab, show)
        lab.heal()
        eventually(lambda: workers["h2"].said().count("serving it") > 1, "h2 serves again")
        show(f"h2 is back; it says: {line_with(workers['h2'].said(), 'stopped')}")
        done = eventually(lambda: completed(lab), "something is completed")
        assert leader.outer.poll() is None, leader.said()
        lab.die("h1", leader)
        show(f"h1 is dead, with {len(done)} of {len(PACKAGES)} tasks completed")
        eventually(lambda: (lab.session().get("leader") or {}).get("host") == "h3", "h3 leads")
        show("h3 has taken over")
        status = heir.ended()
        show(f"coord run on h3 ended with status {status}:")
        print(heir.said()[heir.said().rfind("\nsession s:") :].strip())  # noqa: T201
        merges, tip = lab.merges(), lab.git("rev-parse", "--short", "coord/s").strip()
        once = merges == sorted(PACKAGES)
        show(f"coord/s of the shared repository is at {tip}: {len(set(merges))} tasks merged, twice: {not once}")
        return int(status != 0 or not once)


def line_with(text: str, word: str) -> str:
    """Return the last line that has a word in it."""
    return next((line for line in reversed(text.splitlines()) if word in line), "(nothing)")


if __name__ == "__main__":
    sys.exit(main())
