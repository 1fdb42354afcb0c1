"""Five trivial agents (write one file, commit), start to merged, against a plain git script that does the same."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

from benchmarks.repository import coord, environment, git, make_repository, plan_of
from benchmarks.table import Row, median, timed

__all__ = ["measure"]

AGENTS: Final = 5
ROUNDS: Final = 7
LIMIT: Final = 3.0
AGENT: Final = "echo work {n} > out{n}.txt && git add out{n}.txt && git commit --quiet -m 'work {n}'"
FLOOR: Final = r"""
set -e
for n in 0 1 2 3 4; do git worktree add --quiet --no-track -b "$1-$n" "$2/$1-$n" main; done
for n in 0 1 2 3 4; do (
    cd "$2/$1-$n" && echo "work $n" > "out$n.txt" && git add "out$n.txt" && git commit --quiet -m "work $n"
) & done
wait
git checkout --quiet -b "$1" main
for n in 0 1 2 3 4; do git merge --quiet --no-ff -m "merge $n" "$1-$n"; done
git checkout --quiet main
for n in 0 1 2 3 4; do git worktree remove --force "$2/$1-$n"; git branch --quiet -D "$1-$n"; done
"""


def measure(scale: float = 1.0) -> list[Row]:
    """Time both in turn, so that a slow moment meets both; check that both made the same tree."""
    rounds = max(round(ROUNDS * scale), 1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        repository = make_repository(folder)
        env = environment(folder)
        plan = plan_of(folder, AGENTS, AGENT)
        ours, floor = [], []
        for turn in range(rounds + 1):
            floor.append(timed(["sh", "-c", FLOOR, "floor", f"plain{turn}", str(folder)], repository, env))
            ours.append(timed([coord(), "run", str(plan), "--session", f"s{turn}", "--quiet"], repository, env))
            same = git(repository, "rev-parse", f"plain{turn}^{{tree}}") == git(
                repository, "rev-parse", f"coord/s{turn}^{{tree}}"
            )
            assert same, "the two results differ"
    ratio = median([ours[turn] / floor[turn] for turn in range(1, rounds + 1)])
    figure = f"{ratio:.2f}× ({median(ours[1:]):.2f} s against {median(floor[1:]):.2f} s, median of {rounds})"
    return [Row("five trivial agents merged, durability=full", f"≤ {LIMIT:g}× plain git", figure, ratio <= LIMIT)]
