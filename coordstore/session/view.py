"""A session as its keys tell it: all its tasks, who leads it, what became of the work.

Cheap to import and to build (no pydantic): every read command, the orchestrator and the workers use it.
A view is made from one cut and kept up to date by a watch of the session's prefix.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from coordstore.errors import InvalidKey
from coordstore.session.keys import SessionKeys, is_task, split_agent
from coordstore.session.lineage import path_of, whole_of
from coordstore.session.task import Attempt, Task
from coordstore.session.values import as_object, strings, words

if TYPE_CHECKING:
    from collections.abc import Iterable

    from coordstore.model import Batch, Change, Entry

__all__ = ["SessionView"]


class SessionView:
    """What is known of one session.

    Args:
        session: Its name.

    Attributes:
        changed: The tasks that the last batch said something of; after a reset all, those that are gone too.
    """

    def __init__(self, session: str) -> None:
        self.keys = SessionKeys(session)
        self.session = session
        self._meta, self._result = self.keys.meta, self.keys.result
        self.revision = 0
        self.entries: dict[str, Entry] = {}
        self.tasks: dict[str, Task] = {}
        self.changed: set[str] = set()
        self._all_tasks: dict[str, Task] = {}
        self._attempts: dict[str, Attempt] = {}
        self._line: dict[str, Entry] = {}
        self._objects: dict[str, dict[str, Any]] = {}
        self._landed: frozenset[str] | None = None
        self._order: dict[str, int] | None = None
        self._ordered: list[Task] | None = None
        self._skip = len(session) + 1
        self._parts: list[Change] = []

    @classmethod
    def of(cls, session: str, entries: Iterable[Entry], revision: int) -> SessionView:
        """Make a view from one cut of the session's prefix."""
        view = cls(session)
        for entry in entries:
            view._set(entry.key, entry)
        view.revision = revision
        return view

    def apply(self, batch: Batch) -> None:
        """Take in what a watch of the session's prefix delivered; the parts of a reset all at once, with the last."""
        self._parts.extend(batch.changes)
        if not batch.complete:
            return
        self.changed = set(self.tasks) if batch.reset else set()
        if batch.reset:
            for held in (self.entries, self.tasks, self._all_tasks, self._attempts, self._line, self._objects):
                held.clear()
            self._landed = self._order = self._ordered = None
        for change in self._parts:
            self._change(change)
        self._parts.clear()
        self.revision = batch.revision

    @property
    def meta(self) -> dict[str, Any]:
        """Return the session's own record."""
        return self._object(self.keys.meta)

    @property
    def ready(self) -> bool:
        """Whether all its tasks have been written."""
        return bool(self.meta.get("ready"))

    @property
    def paused(self) -> bool:
        """Whether nothing new is to start."""
        return self.keys.paused in self.entries

    @property
    def result(self) -> dict[str, Any]:
        """Return what landed: ref, commit, tasks; empty before."""
        return self._object(self.keys.result)

    @property
    def leader_entry(self) -> Entry | None:
        """Return the key of who orchestrates it now: the eldest of the line; None: nobody."""
        line = self._candidates()
        return line[0] if line else None

    @property
    def leader(self) -> dict[str, Any]:
        """Return who orchestrates it now; empty: nobody."""
        return as_object(self.leader_entry)

    @property
    def standbys(self) -> list[dict[str, Any]]:
        """Return who waits to take over, the next one first."""
        return [as_object(entry) for entry in self._candidates()[1:]]

    @property
    def leader_shown(self) -> dict[str, str | int | float]:
        """Return what can be shown of the leader: its plain values."""
        return {name: value for name, value in self.leader.items() if isinstance(value, str | int | float)}

    @property
    def tip(self) -> str | None:
        """Return the integrated commit, or None before there is one."""
        entry = self.entries.get(self.keys.tip)
        return entry.value.decode(errors="replace") if entry else None

    def attempt(self, agent: str) -> Attempt | None:
        """Return an attempt by its name; None before it was assigned."""
        found = self._attempts.get(agent)
        return found if found and "status" in found.entries else None

    def merged(self, task: str) -> dict[str, Any]:
        """Return how a task's work was integrated, or refused (empty: neither yet)."""
        return self._object(self.keys.merged(task))

    def left_out(self, task: str) -> str | None:
        """Return why completed work was not integrated, or None; of work that went back to its agent: None."""
        record = self.merged(task)
        return None if record.get("returned") else words(record.get("refused"))

    def landed(self, task: str) -> bool:
        """Tell whether a task's work is in the user's repository: a subtask's, as part of its parent's."""
        if self._landed is None:
            self._landed = frozenset(strings(self.result.get("landed")))
        return whole_of(self, task) in self._landed

    def reason(self, task: Task) -> str | None:
        """Return why a task is where it is, merge included, or None."""
        return self.left_out(task.id) or task.reason

    @property
    def state(self) -> str:
        """Return the session's state in one word: running, stopped, completed, partial, failed or cancelled."""
        return words(self.result.get("final")) or ("running" if self.leader else "stopped")

    def as_json(self) -> dict[str, Any]:
        """Return what `coord inspect --json` shows of it."""
        return {
            "id": self.session,
            "goal": words(self.meta.get("goal")),
            "state": self.state,
            "result_ref": words(self.result.get("ref")),
            "leader": self.leader_shown or None,
            "tasks": [
                {
                    "id": task.id,
                    "name": task.name,
                    "parent": task.parent,
                    "state": str(task.state),
                    "landed": self.landed(task.id),
                    "reason": self.reason(task),
                    "attempts": [attempt.as_json() for attempt in task.attempts],
                }
                for task in self.ordered()
            ],
        }

    def ordered(self, names: Iterable[str] | None = None) -> list[Task]:
        """Return the tasks in the order of the plan, subtasks behind their parents: all, or those of these names."""
        if names is None and self._ordered is not None:
            return [*self._ordered]
        if self._order is None:
            self._order = {task: at for at, task in enumerate(strings(self.meta.get("order")))}
        order = self._order

        def place(name: str) -> list[tuple[int, str]]:
            first, *below = path_of(self, name)
            return [(order.get(first, len(order)), first), *((len(each), each) for each in below)]

        chosen = self.tasks if names is None else self.tasks.keys() & names
        found = [self.tasks[name] for name in sorted(chosen, key=place)]
        if names is None:
            self._ordered = [*found]
        return found

    def planned(self) -> list[Task]:
        """Return the tasks without the subtasks that agents made, in the order of the plan."""
        return [task for task in self.ordered() if task.parent is None]

    def _candidates(self) -> list[Entry]:
        return sorted(self._line.values(), key=lambda entry: entry.create_revision)

    def _object(self, key: str) -> dict[str, Any]:
        """Return a key's JSON object, parsed once; it is not to be changed."""
        found = self._objects.get(key)
        if found is None:
            found = self._objects[key] = as_object(self.entries.get(key))
        return found

    def _change(self, change: Change) -> None:
        if change.entry is not None:
            self._set(change.key, change.entry)
        elif self.entries.pop(change.key, None) is not None:
            self._remove(change.key)

    def _forget(self, key: str) -> None:
        """Forget what was made of a key's value."""
        self._objects.pop(key, None)
        if key == self._result:
            self._landed = None
        elif key == self._meta:
            self._order = self._ordered = None

    def _set(self, key: str, entry: Entry) -> None:
        self.entries[key] = entry
        kind, _, rest = key[self._skip :].partition("/")
        if kind == "agents":
            self._set_agent(rest, entry)
            return
        self._forget(key)
        if kind == "tasks" and is_task(rest):
            task = self._task(rest)
            task.spec = as_object(entry)
            self.tasks[rest] = task
            self._ordered = None
            self.changed.add(rest)
        elif kind == "leader" and (not rest or rest.startswith("line/")):
            self._line[key] = entry
        else:
            self._touch(kind, rest)

    def _touch(self, kind: str, rest: str) -> None:
        """Count the task as changed that a record beside its own keys is about."""
        if kind == "merged":
            self.changed.add(rest)
        elif kind == "changes":
            self.changed.add(rest.rpartition(".")[0])

    def _set_agent(self, rest: str, entry: Entry) -> None:
        agent, _, name = rest.partition("/")
        attempt = self._attempts.get(agent)
        if attempt is None:
            try:
                split_agent(agent)
            except InvalidKey:
                return
            attempt = self._attempts[agent] = Attempt(agent)
        if name == "status" and name not in attempt.entries:
            attempts = self._task(attempt.task).attempts
            attempts.append(attempt)
            attempts.sort(key=lambda each: each.number)
        attempt.entries[name] = entry
        self.changed.add(attempt.task)

    def _remove(self, key: str) -> None:
        kind, _, rest = key[self._skip :].partition("/")
        agent, _, name = rest.partition("/")
        self._forget(key)
        if kind == "tasks":
            self.tasks.pop(rest, None)
            self._ordered = None
            self.changed.add(rest)
        elif kind == "leader":
            self._line.pop(key, None)
        elif kind == "agents" and agent in self._attempts:
            attempt = self._attempts[agent]
            self.changed.add(attempt.task)
            attempt.entries.pop(name, None)
            if name == "status":
                self._task(attempt.task).attempts.remove(attempt)
            if not attempt.entries:
                del self._attempts[agent]
        else:
            self._touch(kind, rest)

    def _task(self, task: str) -> Task:
        """Return a task, also one that only attempts or nothing are known of yet: it counts once it is specified."""
        return self._all_tasks.setdefault(task, Task(task, {}))
