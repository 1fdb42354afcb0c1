"""The `coord` command: finds the command that was asked for, imports nothing else, and turns errors into sentences.

Exit codes: 0 done; 2 the command line or a plan is wrong; 4 the store cannot be reached or used; 130 interrupted;
1 any other error. An error class may carry an ``exit_code`` of its own.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from typing import TYPE_CHECKING, Final, NoReturn

import click

from coordstore.cli.context import Settings
from coordstore.cli.text import clean
from coordstore.errors import (
    CoordError,
    Corrupt,
    InvalidTransition,
    StoreReplaced,
    Unavailable,
    Unsupported,
    VersionMismatch,
)
from coordstore.plugins import commands, load

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from click.shell_completion import CompletionItem

    from coordstore.plugins import Registered

__all__ = ["BUILT_IN", "cli", "exit_code", "main"]

BUILT_IN: Final[dict[str, tuple[str, str]]] = {
    "backends": ("coordstore.cli.backends:backends", "List the store backends that are installed."),
    "completion": ("coordstore.cli.completion:completion", "Print what makes your shell complete commands and names."),
    "copy": ("coordstore.cli.copy:copy", "Copy a live store into another one, and verify it."),
    "doctor": (
        "coordstore.cli.doctor:doctor",
        "Look for what is wrong with store or installation.",
    ),
    "events": ("coordstore.cli.events:events", "Show what happened in a session, in order."),
    "inspect": ("coordstore.cli.inspecting:inspect", "Show sessions, their tasks and agents, and what is stuck."),
    "logs": ("coordstore.cli.logs:logs", "Show what an agent printed."),
    "metrics": ("coordstore.cli.metrics.command:metrics", "Print numbers for Prometheus."),
    "report": ("coordstore.cli.report.command:report", "Tell what became of a session: text, JSON, or one HTML page."),
    "schema": ("coordstore.cli.schema:schema", "Print the JSON schema of what a command prints with --json."),
}
"""Commands of this package: where they are, imported at the first use, and their line in the help."""

USAGE, STORE, INTERRUPTED, CLOSED_PIPE = 2, 4, 130, 141
NEWLINE: Final = "\n"
STORE_ERRORS = (Unavailable, Corrupt, VersionMismatch, StoreReplaced, Unsupported)


class ClosedPipe(Exception):
    """Whoever read our output has gone; click would make an exit code of 1 of the `BrokenPipeError`."""


class Commands(click.Group):
    """A group whose commands are imported when they are called, the plugins only when the name is none of ours."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted({*super().list_commands(ctx), *BUILT_IN, *_plugged()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command, or return None when there is none of that name."""
        if cmd_name in BUILT_IN:
            return _load(BUILT_IN[cmd_name][0])
        if cmd_name.startswith("-") or not (found := _plugged().get(cmd_name)):
            return super().get_command(ctx, cmd_name)
        return _load(found.target) if isinstance(found.target, str) else found.target

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command of a command line; an unknown one is answered with the likely ones."""
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None and not ctx.resilient_parsing:
            ctx.fail(f"there is no command {name!r}{self._likely(ctx, name)}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command that was found."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise ClosedPipe from error

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands that begin so, without importing one of them."""
        from click.shell_completion import CompletionItem

        lines = {name: summary for name, (_, summary) in BUILT_IN.items()}
        lines.update((name, found.summary) for name, found in _plugged().items())
        found = [CompletionItem(name, help=lines[name]) for name in sorted(lines) if name.startswith(incomplete)]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing one of them."""
        del ctx
        lines = {name: summary for name, (_, summary) in BUILT_IN.items()}
        lines.update((name, found.summary) for name, found in _plugged().items())
        with formatter.section("Commands"):
            formatter.write_dl(sorted(lines.items()))

    def _likely(self, ctx: click.Context, name: str) -> str:
        import difflib  # only for a mistake

        close = difflib.get_close_matches(name, self.list_commands(ctx), n=3, cutoff=0.5)
        return f": did you mean {' or '.join(close)}?" if close else ""


def _plugged() -> Mapping[str, Registered[str | click.Command]]:
    """Return the commands of plugins that do not try to replace one of ours."""
    return {name: found for name, found in commands().items() if name not in BUILT_IN}


def _load(target: str) -> click.Command:
    command = load(target)
    if not isinstance(command, click.Command):
        message = f"{target} is no click command: its plugin must register one"
        raise TypeError(message)
    return command


def _version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:  # noqa: FBT001  (click's signature)
    if value and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"coord {version('coordstore')}")
        ctx.exit()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--store",
    metavar="URL",
    envvar="COORD_STORE",
    show_envvar=True,
    help="Where the sessions live: sqlite:PATH, file:PATH, etcd://HOST:PORT/PREFIX; by default the repository's own.",
)
@click.option("--quiet", "-q", is_flag=True, help="Leave out notices; what was asked for, and errors, are still told.")
@click.option("--no-color", is_flag=True, help="No colours in whatever follows, as with NO_COLOR.")
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Print the version."
)
@click.pass_context
def cli(ctx: click.Context, store: str | None, *, quiet: bool, no_color: bool) -> None:
    """Run several coding agents at once on one repository, watch them, and merge what they did."""
    ctx.obj = Settings(store, quiet=quiet)
    if no_color and "NO_COLOR" not in os.environ:
        os.environ["NO_COLOR"] = "1"  # for whatever is called from here, too
        ctx.call_on_close(lambda: os.environ.pop("NO_COLOR", None))


def exit_code(error: BaseException) -> int:
    """Return the exit code of an error: its own if it has one, else by what it means."""
    own = getattr(error, "exit_code", None)
    if isinstance(own, int):
        return own
    if isinstance(error, STORE_ERRORS):
        return STORE
    wrong_input = isinstance(error, CoordError) and isinstance(error, ValueError)
    return USAGE if wrong_input and not isinstance(error, InvalidTransition) else 1


def main(args: Sequence[str] | None = None) -> int:
    """Run `coord` and return its exit code: the console script.

    Args:
        args: The command line without the program's name; None: the process's, which then ends here.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that cannot show a character gets a '?', no traceback
    code = _run(args)
    if args is None:
        _leave(code)
    return code


def _run(args: Sequence[str] | None) -> int:
    try:
        code = cli.main(args, prog_name="coord", standalone_mode=False)
        sys.stdout.flush()
    except (BrokenPipeError, ClosedPipe):
        return _closed_pipe()
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001  (reported, with its exit code, as the last thing this process does)
        return _report(_innermost(error))
    return code if isinstance(code, int) else 0


def _leave(code: int) -> NoReturn:
    """End the process without taking the interpreter apart, which would cost a sixth of a cold start.

    All that registered for the exit runs as usual; with another thread still alive, nothing is cut short.
    """
    if threading.active_count() > 1:
        sys.exit(code)
    atexit._run_exitfuncs()  # noqa: SLF001  (there is no public way to run them early)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _report(error: Exception) -> int:
    """Say on stderr what went wrong, and return the exit code."""
    if os.environ.get("COORD_DEBUG") == "1":
        import traceback

        traceback.print_exception(error)
    if isinstance(error, click.UsageError):
        print(f"coord: {_usage(error)} [usage]", file=sys.stderr)
    elif isinstance(error, click.ClickException):
        print(f"coord: {error.format_message()} [usage]", file=sys.stderr)
    elif isinstance(error, CoordError):
        print(f"coord: {clean(str(error), keep=NEWLINE)} [{error.code()}]", file=sys.stderr)
    else:
        hint = "this should not happen; COORD_DEBUG=1 shows where"
        print(f"coord: {type(error).__name__}: {clean(str(error), keep=NEWLINE)} ({hint}) [internal]", file=sys.stderr)
    return exit_code(error)


def _usage(error: click.UsageError) -> str:
    command = error.ctx.command_path if error.ctx else "coord"
    said = error.format_message().rstrip(".")
    if isinstance(error, click.NoSuchOption) and error.option_name == "--store":
        return f"--store stands before the command: coord --store URL {command.removeprefix('coord ')}"
    return f"{said[:1].lower()}{said[1:]} (try '{command} --help')"


def _innermost(error: Exception) -> Exception:
    """Return the one error of a task group instead of the group."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _closed_pipe() -> int:
    """Leave quietly when the reader of our output has gone, as `head` does."""
    # What is still buffered must not be written at exit, where it would make noise.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return CLOSED_PIPE
