"""Write docs/cli.md from the commands themselves, or check it.

    python scripts/cli_docs.py            write
    python scripts/cli_docs.py --check    exit 1 when the page is not what would be written

Only commands of this distribution are described, whatever other plugins are installed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from coordstore.cli.main import BUILT_IN, cli
from coordstore.plugins import commands

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "cli.md"
WIDTH: Final = 96

HEAD: Final = """\
# Command line

Generated from the commands themselves: `make docs` writes it, `make lint` checks it.

`coord [--store URL] COMMAND …` finds the store of the repository that you stand in, also inside an agent's worktree.
Errors are one sentence on standard error; `COORD_DEBUG=1` adds where it happened. Looking never creates or changes
anything.

| exit status | meaning |
|---|---|
| 0 | done; of `coord run`: all tasks landed |
| 1 | of `coord run`: nothing landed; of others: an error that is none of the following |
| 2 | the command line or a plan is wrong; nothing was done |
| 3 | of `coord run`: some tasks landed |
| 4 | the store cannot be reached or used |
| 5 | of `coord run`: another orchestrator leads this session |
| 130 | interrupted |
| 141 | whoever read the output went away |

| variable | meaning |
|---|---|
| `COORD_STORE` | the store's URL, as `--store` |
| `COORD_HOME` | where stores and worktrees of all repositories are kept; by default `$XDG_STATE_HOME/coord` |
| `NO_COLOR` | no colours |
| `COORD_DEBUG` | `1`: tracebacks |
"""


def main(args: list[str]) -> int:
    """Write the page, or with ``--check`` compare it."""
    page = "\n".join([HEAD, *sections()])
    if args != ["--check"]:
        PAGE.write_text(page, encoding="utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == page:
        return 0
    print(f"{PAGE} is not what the commands say: run `make docs`", file=sys.stderr)
    return 1


def sections() -> Iterator[str]:
    """Yield the page's parts: the command itself, then every command below it by name."""
    context = click.Context(cli, info_name="coord", terminal_width=WIDTH, **cli.context_settings)
    ours = {*BUILT_IN, *(name for name, found in commands().items() if found.distribution == "coordstore")}
    for name in sorted(ours):
        command = cli.get_command(context, name)
        if command is not None:
            yield from described(command, context, name)


def described(command: click.Command, parent: click.Context, name: str, level: int = 2) -> Iterator[str]:
    """Yield a command's heading and help, then those of its own commands."""
    context = click.Context(command, info_name=name, parent=parent, terminal_width=WIDTH)
    yield f"{'#' * level} {context.command_path}\n\n```text\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            found = command.get_command(context, inner)
            if found is not None:
                yield from described(found, context, inner, level + 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
