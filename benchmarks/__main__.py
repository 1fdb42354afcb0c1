"""Prints what is claimed of speed, measured here and now: ``python -m benchmarks [NAME…] [--scale SHARE]``."""

from __future__ import annotations

import argparse
import os
import platform
import sqlite3
import sys
from typing import TYPE_CHECKING, Final

from benchmarks import (
    appends,
    break_even,
    cold_start,
    etcd,
    etcd_clients,
    five_agents,
    growth,
    many_hosts,
    merge,
    orchestrators,
    peers,
    planning,
    recipes,
    two_hosts,
    watching,
)
from benchmarks.table import format_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.table import Row

MEASURES: Final[dict[str, Callable[[float], list[Row]]]] = {
    "five_agents": five_agents.measure,
    "cold_start": cold_start.measure,
    "appends": appends.measure,
    "peers": peers.measure,
    "watching": watching.measure,
    "growth": growth.measure,
    "etcd": etcd.measure,
    "etcd_clients": etcd_clients.measure,
    "merge": merge.measure,
    "recipes": recipes.measure,
    "planning": planning.measure,
    "break_even": break_even.measure,
    "orchestrators": orchestrators.measure,
    "two_hosts": two_hosts.measure,
    "many_hosts": many_hosts.measure,
}
"""By name; what each is given is the share of its full size, 1 for figures that count."""
APART: Final = frozenset({"orchestrators"})
"""Measured only when named: a quarter of an hour for one peer, and ``make bench-peers`` has a table of its own."""


def main(argv: list[str]) -> int:
    """Measure and print; return 1 when a goal was missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"what to measure, all but {', '.join(APART)} by default: {', '.join(MEASURES)}",
    )
    parser.add_argument(
        "--scale", type=float, default=1.0, help="share of the full size; below 1 it only tries the code"
    )
    given = parser.parse_args(argv)
    unknown = set(given.names) - set(MEASURES)
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}: there are {', '.join(MEASURES)}")
    rows = []
    for name in given.names or [name for name in MEASURES if name not in APART]:
        print(f"{name} …", file=sys.stderr, flush=True)
        rows += MEASURES[name](given.scale)
    print(
        f"{platform.system()} {platform.release()}, {os.cpu_count()} processors, Python {platform.python_version()}, "
        f"SQLite {sqlite3.sqlite_version}"
    )
    print(format_table(rows))
    return int(any(row.ok is False for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
