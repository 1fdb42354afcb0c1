"""A session as its keys tell it: task states are computed from assignments here, and nowhere stored.

Cheap to import and to build (no pydantic): every read command, the orchestrator and the workers use it.
A view is made from one cut and kept up to date by a watch of the session's prefix.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from coordstore.errors import InvalidKey
from coordstore.session.keys import SessionKeys, split_agent
from coordstore.session.states import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from coordstore.model import Batch, Change, Entry

__all__ = ["Attempt", "SessionView", "Task"]

LOST = "lost: its worker is gone"
STATES = frozenset(str(state) for state in State)


@dataclass(slots=True)
class Attempt:
    """One attempt: the keys below ``agents/<agent>``.

    Args:
        agent: Its name, ``<task>.<attempt>``.
        entries: Its keys by their last segment.
    """

    agent: str
    entries: dict[str, Entry] = field(default_factory=dict)

    @property
    def task(self) -> str:
        """Return the task's id."""
        return split_agent(self.agent)[0]

    @property
    def number(self) -> int:
        """Return which attempt of its task it is, from 1."""
        return split_agent(self.agent)[1]

    @property
    def state(self) -> State:
        """Return its state; a status that is no state counts as failed."""
        status = self.text("status") or "pending"
        return State(status) if status in STATES else State.FAILED

    @property
    def lost(self) -> bool:
        """Whether it is said to run but nobody holds its claim any more."""
        return self.state is State.RUNNING and "claim" not in self.entries

    @property
    def result(self) -> dict[str, Any]:
        """Return how it ended, as its worker or the orchestrator wrote it."""
        return self.json("result")

    @property
    def reason(self) -> str | None:
        """Return why it is in its state, in words, or None."""
        said = self.result.get("reason")
        return str(said) if said else (LOST if self.lost else None)

    def text(self, name: str) -> str | None:
        """Return one of its values as text, or None."""
        entry = self.entries.get(name)
        return entry.value.decode(errors="replace") if entry else None

    def number_of(self, name: str) -> int | None:
        """Return one of its values as a number, or None."""
        text = self.text(name)
        return int(text) if text and text.isdigit() else None

    def json(self, name: str) -> dict[str, Any]:
        """Return one of its values as an object (empty when absent)."""
        return _object(self.entries.get(name))

    def as_json(self) -> dict[str, Any]:
        """Return what `coord inspect --json` shows of it."""
        return {
            "agent": self.agent,
            "state": str(self.state),
            "reason": self.reason,
            "step": self.number_of("step"),
            "pid": self.number_of("pid"),
            "host": self.text("host"),
            "branch": self.text("branch"),
            "worktree": self.text("worktree"),
            "started": self.text("started"),
            "ended": self.text("ended"),
        }


@dataclass(slots=True)
class Task:
    """One task: its specification and its attempts in order."""

    id: str
    spec: dict[str, Any]
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def latest(self) -> Attempt | None:
        """Return the attempt that counts."""
        return self.attempts[-1] if self.attempts else None

    @property
    def state(self) -> State:
        """Return the state, computed: the latest attempt's; pending before the first."""
        return self.latest.state if self.latest else State.PENDING

    @property
    def reason(self) -> str | None:
        """Return why, in words, or None."""
        return self.latest.reason if self.latest else None

    @property
    def needs(self) -> list[str]:
        """Return the tasks it depends on."""
        return list(self.spec.get("needs", ()))

    @property
    def name(self) -> str:
        """Return the name shown to people."""
        return str(self.spec.get("name") or self.id)


class SessionView:
    """What is known of one session.

    Args:
        session: Its name.
    """

    def __init__(self, session: str) -> None:
        self.keys = SessionKeys(session)
        self.session = session
        self.revision = 0
        self.entries: dict[str, Entry] = {}
        self.tasks: dict[str, Task] = {}
        self._attempts: dict[str, Attempt] = {}
        self._resetting = False

    @classmethod
    def of(cls, session: str, entries: Iterable[Entry], revision: int) -> SessionView:
        """Make a view from one cut of the session's prefix."""
        view = cls(session)
        for entry in entries:
            view._set(entry.key, entry)
        view.revision = revision
        return view

    def apply(self, batch: Batch) -> None:
        """Take in what a watch of the session's prefix delivered."""
        if batch.reset and not self._resetting:
            self.__init__(self.session)  # type: ignore[misc]  # a reset forgets everything, as construction does
        self._resetting = batch.reset and not batch.complete
        for change in batch.changes:
            self._change(change)
        self.revision = batch.revision

    @property
    def meta(self) -> dict[str, Any]:
        """Return the session's own record."""
        return _object(self.entries.get(self.keys.meta))

    @property
    def result(self) -> dict[str, Any]:
        """Return what landed: ref, commit, tasks; empty before."""
        return _object(self.entries.get(self.keys.result))

    @property
    def leader(self) -> dict[str, Any]:
        """Return who orchestrates it now; empty: nobody."""
        return _object(self.entries.get(self.keys.leader))

    @property
    def tip(self) -> str | None:
        """Return the integrated commit, or None before there is one."""
        entry = self.entries.get(self.keys.tip)
        return entry.value.decode() if entry else None

    def attempt(self, agent: str) -> Attempt | None:
        """Return an attempt by its name."""
        return self._attempts.get(agent)

    def merged(self, task: str) -> dict[str, Any]:
        """Return how a task's work was integrated, or refused (empty: neither yet)."""
        return _object(self.entries.get(self.keys.merged(task)))

    def left_out(self, task: str) -> str | None:
        """Return why completed work was not integrated, or None."""
        return self.merged(task).get("refused")

    def landed(self, task: str) -> bool:
        """Tell whether a task's work is in the user's repository."""
        return task in self.result.get("landed", ())

    def reason(self, task: Task) -> str | None:
        """Return why a task is where it is, merge included, or None."""
        return self.left_out(task.id) or task.reason

    @property
    def state(self) -> str:
        """Return the session's state in one word: running, stopped, completed, partial, failed or cancelled."""
        if self.result.get("final"):
            return str(self.result["final"])
        return "running" if self.leader else "stopped"

    def as_json(self) -> dict[str, Any]:
        """Return what `coord inspect --json` shows of it."""
        return {
            "id": self.session,
            "goal": self.meta.get("goal"),
            "state": self.state,
            "result_ref": self.result.get("ref"),
            "leader": self.leader or None,
            "tasks": [
                {
                    "id": task.id,
                    "name": task.name,
                    "state": str(task.state),
                    "landed": self.landed(task.id),
                    "reason": self.reason(task),
                    "attempts": [attempt.as_json() for attempt in task.attempts],
                }
                for task in self.ordered()
            ],
        }

    def ordered(self) -> list[Task]:
        """Return the tasks in the order of the plan."""
        order = {task: at for at, task in enumerate(self.meta.get("order", ()))}
        return sorted(self.tasks.values(), key=lambda task: (order.get(task.id, len(order)), task.id))

    def _change(self, change: Change) -> None:
        if change.entry is not None:
            self._set(change.key, change.entry)
        elif self.entries.pop(change.key, None) is not None:
            kind, _, rest = change.key.removeprefix(self.session + "/").partition("/")
            agent, _, name = rest.partition("/")
            if kind == "agents" and agent in self._attempts:
                self._attempts[agent].entries.pop(name, None)

    def _set(self, key: str, entry: Entry) -> None:
        self.entries[key] = entry
        kind, _, rest = key.removeprefix(self.session + "/").partition("/")
        if kind == "tasks":
            self._task(rest).spec = _object(entry)
        elif kind == "agents":
            agent, _, name = rest.partition("/")
            if agent in self._attempts or self._add_attempt(agent):
                self._attempts[agent].entries[name] = entry

    def _add_attempt(self, agent: str) -> bool:
        try:
            task, _ = split_agent(agent)
        except InvalidKey:
            return False
        self._attempts[agent] = Attempt(agent)
        attempts = self._task(task).attempts
        attempts.append(self._attempts[agent])
        attempts.sort(key=lambda each: each.number)
        return True

    def _task(self, task: str) -> Task:
        return self.tasks.setdefault(task, Task(task, {}))


def _object(entry: Entry | None) -> dict[str, Any]:
    """Return an entry's JSON object; anything else that somebody wrote there counts as empty."""
    if entry is None:
        return {}
    try:
        found: Mapping[str, Any] | object = json.loads(entry.value)
    except (ValueError, RecursionError):
        return {}
    return dict(found) if isinstance(found, dict) else {}
