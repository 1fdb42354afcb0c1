"""`coord agent`: what an agent reports to its worker. Well-formed lines never come here, see `start`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from coordstore_orchestrator import agent as api
from coordstore_orchestrator.agent import main

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["agent"]


@click.group()
def agent() -> None:
    """Report to the worker that runs this agent; works inside an agent only.

    Exit status: 0 taken, 1 something is missing, 2 usage or refused, 4 no worker listens.
    """


@agent.command("report-progress")
@click.argument("status")
@click.option("--next", "next_steps", metavar="TEXT", help="What comes next.")
def report_progress(status: str, next_steps: str | None) -> int:
    """Say how far the work is."""
    return _main(["report-progress", status, *(["--next", next_steps] if next_steps else [])])


@agent.command("mark-complete")
@click.argument("summary")
@click.option(
    "--evidence",
    nargs=2,
    multiple=True,
    metavar="CRITERION TEXT",
    help="How a criterion is met; the criterion by its number, from 1, or its text. Once for each.",
)
def mark_complete(summary: str, evidence: Sequence[tuple[str, str]]) -> int:
    """Say that the task is done; prints what is missing, if anything is."""
    return _main(["mark-complete", summary, *(word for pair in evidence for word in ("--evidence", *pair))])


@agent.command("mark-failed")
@click.argument("reason")
def mark_failed(reason: str) -> int:
    """Say that the task cannot be done, and why."""
    return _main(["mark-failed", reason])


@agent.command("read-messages")
def read_messages() -> int:
    """Print the messages that have come for this agent; other reports print them too."""
    return _main(["read-messages"])


@agent.command("send-message")
@click.argument("to")
@click.argument("text")
def send_message(to: str, text: str) -> int:
    """Send TEXT to a task, to one of its attempts, or to "orchestrator"."""
    api.send_message(to, text)
    return 0


def _main(args: Sequence[str]) -> int:
    code = main(args)
    if code is None:
        message = "a text begins with '-': put another word before it"
        raise click.UsageError(message)
    return code
