"""`coord backends`: which kinds of store are installed, and whose they are."""

from __future__ import annotations

import json
import sys

import click

from coordstore.cli.text import Cell, Column, Style, clean, table
from coordstore.plugins import backends as registered

__all__ = ["backends"]

COLUMNS = (Column("SCHEME"), Column("WHAT IT IS", least=20), Column("FROM", least=10))


@click.command(short_help="List the store backends that are installed.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document; `coord schema backends` describes it.")
def backends(*, as_json: bool) -> None:
    """List the store backends that are installed: what stands before the colon of a store's URL."""
    found = sorted(registered().values(), key=lambda each: each.name)
    if as_json:
        rows = [
            {"scheme": each.name, "summary": each.summary, "distribution": each.distribution, "opener": each.target}
            for each in found
        ]
        print(json.dumps({"schema": 1, "backends": rows}, indent=2))
        return
    cells = [[Cell(each.name, "bold"), Cell(clean(each.summary)), Cell(each.distribution, "dim")] for each in found]
    print("\n".join(table(COLUMNS, cells, Style.of(sys.stdout))))
