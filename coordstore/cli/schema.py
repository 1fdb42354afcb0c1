"""`coord schema`: prints the JSON schema of what a command prints with --json."""

from __future__ import annotations

import json

import click

from coordstore.cli.schemas import SCHEMAS

__all__ = ["schema"]


@click.command(short_help="Print the JSON schema of what a command prints with --json.")
@click.argument("name", required=False, metavar="[NAME]", type=click.Choice(sorted(SCHEMAS)))
def schema(name: str | None) -> None:
    """Print the JSON schema of what the command NAME prints with --json; without NAME, list the names."""
    print(json.dumps(SCHEMAS[name], indent=2) if name else "\n".join(sorted(SCHEMAS)))
