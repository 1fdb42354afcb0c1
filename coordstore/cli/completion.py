"""`coord completion`: what a shell sources to complete commands, options, sessions and agents.

A name is looked up in the store that the command line means; where that cannot be read, nothing is offered.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import click

from coordstore.cli.context import Settings, open_existing
from coordstore.errors import CoordError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from coordstore.store import CoordStore

__all__ = ["complete_agent", "complete_session", "completion"]

VARIABLE: Final = "_COORD_COMPLETE"
SHELLS: Final = ("bash", "fish", "zsh")
PLACES: Final = {
    "bash": '~/.bashrc: eval "$(coord completion bash)"',
    "fish": "~/.config/fish/config.fish: coord completion fish | source",
    "zsh": '~/.zshrc, behind compinit: eval "$(coord completion zsh)"',
}
PATIENCE: Final = 2.0
"""Seconds after which a store that does not answer is given up: somebody waits for a key."""


@click.command(short_help="Print what makes your shell complete commands and names.")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print what SHELL must source to complete commands, options, sessions and agents."""
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    if found is None:
        message = f"click knows no completion for {shell}"
        raise click.UsageError(message)
    made = found(ctx.find_root().command, {}, "coord", VARIABLE)
    print(f"# {PLACES[shell]}")
    print(made.source_template % made.source_vars())


def complete_session(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Return the sessions whose names begin so."""

    async def names(store: CoordStore) -> list[str]:
        from coordstore.session.catalog import session_names

        return await session_names(store)

    return [name for name in _looked_up(ctx, names) if name.startswith(incomplete)]


def complete_agent(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Return the tasks and agents, of the session that is named or the newest, whose names begin so."""

    async def names(store: CoordStore) -> list[str]:
        from coordstore.cli.reading import one_session
        from coordstore.session.catalog import session_names

        known = await session_names(store)
        session = ctx.params.get("session") or (known[-1] if known else "")
        if session not in known:
            return []
        view = await one_session(store, session)
        return [name for task in view.ordered() for name in (task.id, *(each.agent for each in task.attempts))]

    return [name for name in _looked_up(ctx, names) if name.startswith(incomplete)]


def _looked_up(ctx: click.Context, ask: Callable[[CoordStore], Awaitable[list[str]]]) -> list[str]:
    root = ctx.find_root()
    settings = Settings(root.params.get("store"))

    async def look() -> list[str]:
        async with asyncio.timeout(PATIENCE), open_existing(settings.store_url()) as store:
            return await ask(store) if store else []

    try:
        return asyncio.run(look())
    except (CoordError, OSError, TimeoutError):
        return []  # nothing can be told while somebody types
