"""Reads a session as it stands into one account: what each task and attempt did, cost and came to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from coordstore.cli.advice import standing
from coordstore.cli.reading import one_session
from coordstore.cli.report.tally import Tally
from coordstore.cli.telling import parse_event
from coordstore.cli.times import parse_time
from coordstore.session.cursor import take_events
from coordstore.session.keys import SESSION_STREAM
from coordstore.session.states import State

if TYPE_CHECKING:
    from datetime import datetime

    from coordstore.model import Record
    from coordstore.session.task import Attempt, Task
    from coordstore.session.view import SessionView
    from coordstore.store import CoordStore

__all__ = ["Account", "read_account"]


@dataclass(slots=True)
class Account:
    """One session, with what its events add up to.

    Args:
        view: The session.
        now: When it was looked at; what still runs is counted up to then.
        tallies: What each attempt's events add up to, by agent; those of the session as a whole under ``session``.
    """

    view: SessionView
    now: datetime
    tallies: dict[str, Tally] = field(default_factory=dict)

    def tally(self, agent: str) -> Tally:
        """Return what an attempt's events add up to."""
        return self.tallies.setdefault(agent, Tally())

    def span(self, attempt: Attempt) -> tuple[datetime, datetime] | None:
        """Return when an attempt began and ended, or None when it never began."""
        begin = parse_time(attempt.text("started"))
        return (begin, max(begin, parse_time(attempt.text("ended")) or self.now)) if begin else None

    def seconds(self, attempt: Attempt) -> float | None:
        """Return how long an attempt ran, or None when it never began."""
        span = self.span(attempt)
        return (span[1] - span[0]).total_seconds() if span else None

    @property
    def attempts(self) -> list[Attempt]:
        """Return all attempts, by task in the order of the plan."""
        return [attempt for task in self.view.ordered() for attempt in task.attempts]

    @property
    def bounds(self) -> tuple[datetime, datetime]:
        """Return when the first attempt began, or the session, and when the last one ended."""
        spans = [span for attempt in self.attempts if (span := self.span(attempt))]
        created = parse_time(str(self.view.meta.get("created") or ""))
        begin = min([*(span[0] for span in spans), *([created] if created else [])], default=self.now)
        ended = parse_time(str(self.view.result.get("ended") or ""))
        end = max([*(span[1] for span in spans), *([ended] if ended else [])], default=self.now)
        return begin, max(begin, end)

    @property
    def failures(self) -> list[Task]:
        """Return the tasks that need a look, those that failed by themselves before those they took with them."""
        bad = [task for task in self.view.ordered() if self.failed(task)]
        return sorted(bad, key=lambda task: (task.state is State.CANCELLED, task.state is not State.FAILED))

    def failed(self, task: Task) -> bool:
        """Tell whether a task's work is lost, left out, or will not come."""
        lost = task.latest is not None and task.latest.lost
        return lost or bool(self.view.left_out(task.id)) or task.state in (State.FAILED, State.CANCELLED)

    @property
    def cost(self) -> float | None:
        """Return what all attempts cost in US dollars, or None when none said."""
        costs = [cost for attempt in self.attempts if (cost := self.tally(attempt.agent).cost_usd) is not None]
        return sum(costs) if costs else None

    def totals(self) -> dict[str, Any]:
        """Return the sums over all attempts."""
        tallies = [self.tally(attempt.agent) for attempt in self.attempts]
        begin, end = self.bounds
        names = ("steps", "tool_calls", "tool_failures", "errors", "input_tokens", "output_tokens")
        return {
            "tasks": len(self.view.tasks),
            "landed": sum(self.view.landed(task) for task in self.view.tasks),
            "attempts": len(tallies),
            "seconds": (end - begin).total_seconds(),
            "agent_seconds": sum(self.seconds(attempt) or 0.0 for attempt in self.attempts),
            **{name: sum(getattr(tally, name) for tally in tallies) for name in names},
            "cost_usd": self.cost,
        }

    def as_json(self) -> dict[str, Any]:
        """Return what `coord report --json` shows of the session."""
        begin, end = self.bounds
        return {
            **self.view.as_json(),
            "commit": _text(self.view.result.get("commit")),
            "base": _text(self.view.meta.get("base")),
            "begin": begin.isoformat(),
            "end": end.isoformat(),
            "totals": self.totals(),
            "failed": [task.id for task in self.failures],
            "tasks": [self._task_json(task) for task in self.view.ordered()],
        }

    def _task_json(self, task: Task) -> dict[str, Any]:
        return {
            "id": task.id,
            "name": task.name,
            "parent": task.parent,
            "state": str(task.state),
            "work": standing(self.view, task) or None,
            "landed": self.view.landed(task.id),
            "reason": self.view.reason(task),
            "needs": task.needs,
            "attempts": [self._attempt_json(attempt) for attempt in task.attempts],
        }

    def _attempt_json(self, attempt: Attempt) -> dict[str, Any]:
        tally = self.tally(attempt.agent)
        names = ("tool_calls", "tool_failures", "errors", "files", "input_tokens", "output_tokens", "cost_usd")
        return {
            **attempt.as_json(),
            "seconds": self.seconds(attempt),
            **{name: getattr(tally, name) for name in names},
            "verdicts": [verdict._asdict() for verdict in tally.verdicts],
            "last_errors": list(tally.last_errors),
            "last_words": list(tally.last_words),
        }


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


async def read_account(store: CoordStore, session: str, now: datetime) -> Account:
    """Read a session and all its events, one at a time; what is recorded meanwhile is left to the next one."""
    view = await one_session(store, session)
    account = Account(view, now)
    skip = len(view.keys.events) + 1

    def take(record: Record) -> None:
        agent = record.stream[skip:]
        if agent == SESSION_STREAM or view.attempt(agent) is not None:
            account.tally(agent).take(parse_event(record.data))

    await take_events(store, view.keys.events, take)
    return account
