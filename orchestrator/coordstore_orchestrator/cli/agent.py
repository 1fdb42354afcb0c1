"""`coord agent`: what an agent reports to its worker. Well-formed lines never come here, see `start`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from coordstore_orchestrator import agent as api
from coordstore_orchestrator.agent import main

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["agent"]

OPEN: Final = 3


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


@agent.command("delegate")
@click.argument("prompt")
@click.option("--writes", multiple=True, metavar="PATTERN", help="What it may change, within one's own; several times.")
@click.option("--reads", multiple=True, metavar="PATTERN", help="What it relies on; several times.")
@click.option("--accept", multiple=True, metavar="TEXT", help="A criterion by which it is done; several times.")
@click.option("--agent", "profile", default="", metavar="PROFILE", help="Who does it; one's own profile by default.")
@click.option("--name", default="", help="Shown to people.")
@click.option("--request", default="", metavar="NAME", help="A name for this request: the same one is made once only.")
def delegate(prompt: str, **more: Any) -> int:  # noqa: ANN401  (what click hands in)
    """Have another agent do what PROMPT says, from the last commit here on; prints the subtask's id.

    It is made once only, however often the same is asked for. What came of it is a message: coord agent await.
    """
    print(api.delegate(prompt, more.pop("writes"), **more))
    return 0


@agent.command("await")
@click.argument("tasks", nargs=-1, metavar="[TASK…]")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Wait that long at most.")
@click.option("--all", "everything", is_flag=True, help="Wait until all have ended, however often one is woken.")
def await_tasks(tasks: Sequence[str], timeout: float | None, *, everything: bool) -> int:
    """Wait, asleep, until a subtask ends, or for five minutes; prints where all are, and the messages that came.

    Exit status: 0 all have completed, 1 all have ended and one has not completed, 3 one is still open: call it again.
    """
    while True:
        found = api.await_tasks(tasks, timeout)
        for message in api.received():
            click.echo(f"message from {message['from']}: {message['text']}")
        if not (everything and any(each["open"] for each in found)):
            break
    for each in found:
        click.echo(f"{each['task']}: {'open, ' if each['open'] else ''}{each['state']}")
    if any(each["open"] for each in found):
        return OPEN
    return 0 if all(each["state"] == "completed" for each in found) else 1


def _main(args: Sequence[str]) -> int:
    code = main(args)
    if code is None:
        message = "a text begins with '-': put another word before it"
        raise click.UsageError(message)
    return code
