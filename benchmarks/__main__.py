"""Prints what is claimed of speed, measured here and now: ``python -m benchmarks [NAME…]``."""

from __future__ import annotations

import sys

from benchmarks import cold_start, five_agents, recipes
from benchmarks.table import format_table

MEASURES = {"five_agents": five_agents.measure, "cold_start": cold_start.measure, "recipes": recipes.measure}


def main(names: list[str]) -> int:
    """Measure and print; return 1 when a goal was missed."""
    unknown = set(names) - set(MEASURES)
    if unknown:
        print(f"no benchmark {', '.join(unknown)}: there are {', '.join(MEASURES)}", file=sys.stderr)
        return 2
    rows = [row for name in names or MEASURES for row in MEASURES[name]()]
    print(format_table(rows))
    return int(any(row.ok is False for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
