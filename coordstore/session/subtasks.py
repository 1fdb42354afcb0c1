"""Subtasks: tasks that the agent of a running attempt has made; each belongs to that attempt and ends with it.

What an attempt has delegated stands in one value of it, ``agents/<agent>/subtasks``, by subtask: under which key it
was asked for, and whether it is still wanted. Each delegation checks and moves that value under the attempt's fence.
So the same request, made again because its answer was lost, finds the subtask that is there, and the number of them
is exact whoever else writes.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from coordstore.errors import Conflict, InvalidArgument
from coordstore.model import Check, Put
from coordstore.session import events
from coordstore.session.keys import SessionKeys, is_task, split_agent
from coordstore.session.lineage import depth_of
from coordstore.session.values import as_object, as_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from coordstore.model import Entry
    from coordstore.session.claim import Claim
    from coordstore.session.task import Attempt, Task
    from coordstore.session.view import SessionView

__all__ = ["COUNT_MAX", "DEPTH_MAX", "Delegation", "delegate", "give_up", "made_by", "unwanted"]

DEPTH_MAX: Final = 2
"""How deep subtasks may lie below a task of the plan."""
COUNT_MAX: Final = 8
"""Subtasks of one attempt."""
ID_MAX: Final = 40


@dataclass(frozen=True, slots=True)
class Delegation:
    """What an agent wants to have done.

    Args:
        spec: The subtask's specification, without what is its parent's to say.
        request: The agent's own name for the request; empty: what it says stands for it.
    """

    spec: Mapping[str, Any]
    request: str = ""

    @property
    def digest(self) -> str:
        """Return what tells it from other requests; where it starts from is no part of it."""
        said = {name: value for name, value in self.spec.items() if name != "base"}
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:32]

    @property
    def key(self) -> str:
        """Return under which key it is asked for."""
        return f"request {self.request}" if self.request else self.digest


async def delegate(claim: Claim, parent: Task, wanted: Delegation) -> str:
    """Make a subtask of an attempt that we run, or find that it was made; return its id.

    Args:
        claim: Our claim on the attempt.
        parent: The attempt's task.
        wanted: What is to be done.

    Raises:
        InvalidArgument: It would be one too deep or too many, or the request's name stands for another one.
        Fenced: The attempt is no longer ours.
        OutcomeUnknown: It may have been made: calling again makes it at most once.
    """
    keys = SessionKeys(claim.session)
    record = keys.agent(claim.agent, "subtasks")
    while True:
        entry = await claim.store.get(record)
        made = _made(entry)
        if (found := _find(made, wanted, claim.agent)) is not None:
            return found
        _check(claim.agent, parent, made)
        name = await _free(claim, keys, len(made) + 1)
        body = {**wanted.spec, "parent": claim.agent, "depth": depth_of(parent.spec) + 1}
        row = {"key": wanted.key, "digest": wanted.digest}
        writes = [Put(keys.task(name), as_value(body)), Put(record, as_value({"tasks": {**made, name: row}}))]
        checks = [Check(keys.task(name), revision=0), Check(record, revision=entry.revision if entry else 0)]
        told = events.Delegated(task=name, name=str(body.get("name") or name))
        try:
            await claim.store.transact(writes, checks, [claim.append(told)], claim.fence)
        except Conflict:
            continue
        return name


async def give_up(claim: Claim, tasks: Iterable[str], reason: str) -> None:
    """Want some subtasks of an attempt that we run no longer: the orchestrator cancels those that are open.

    Raises:
        Fenced: The attempt is no longer ours.
    """
    record, dropped = SessionKeys(claim.session).agent(claim.agent, "subtasks"), set(tasks)
    while True:
        entry = await claim.store.get(record)
        if entry is None:
            return
        rows = {name: {**row, **({"dropped": reason} if name in dropped else {})} for name, row in _made(entry).items()}
        check = Check(record, revision=entry.revision)
        try:
            await claim.store.transact([Put(record, as_value({"tasks": rows}))], [check], fence=claim.fence)
        except Conflict:
            continue
        return


def made_by(attempt: Attempt | None) -> dict[str, dict[str, Any]]:
    """Return what stands of each subtask that an attempt has made, by its id, in that order."""
    return _made(attempt.entries.get("subtasks")) if attempt is not None else {}


def unwanted(view: SessionView, task: Task) -> str | None:
    """Return why nobody waits for a subtask any more, in words; None: somebody does."""
    parent = view.attempt(task.parent or "")
    if parent is None:
        return f"its parent {task.parent} is not there"
    if not parent.live:
        return f"its parent {parent.agent} has ended"
    dropped = made_by(parent).get(task.id, {}).get("dropped")
    return str(dropped) if dropped else None


def _made(entry: Entry | None) -> dict[str, dict[str, Any]]:
    rows = as_object(entry).get("tasks")
    return {name: row for name, row in rows.items() if isinstance(row, dict)} if isinstance(rows, dict) else {}


def _find(made: Mapping[str, Mapping[str, Any]], wanted: Delegation, agent: str) -> str | None:
    for name, row in made.items():
        if row.get("key") != wanted.key:
            continue
        if row.get("digest") == wanted.digest:
            return name
        message = f"{agent} has asked for something else as {wanted.request!r}, subtask {name}: give it another name"
        raise InvalidArgument(message)
    return None


def _check(agent: str, parent: Task, made: Mapping[str, object]) -> None:
    """Refuse one that is too deep or too many."""
    depth, limits = depth_of(parent.spec), parent.spec.get("limits")
    if depth >= DEPTH_MAX:
        message = f"{agent} is itself a subtask, {depth} deep, and {DEPTH_MAX} is the deepest: do it yourself"
        raise InvalidArgument(message)
    said = limits.get("subtasks") if isinstance(limits, dict) else None
    most = said if isinstance(said, int) else COUNT_MAX
    if len(made) >= most:
        message = f"{agent} has delegated {len(made)} of {most} subtasks, no more: do the rest yourself"
        raise InvalidArgument(message)


async def _free(claim: Claim, keys: SessionKeys, number: int) -> str:
    """Return an id that no task has."""
    while await claim.store.get(keys.task(name := _name(claim.agent, number))) is not None:
        number += 1
    return name


def _name(agent: str, number: int) -> str:
    """Return the id of an attempt's subtask: t1-1-2 is the second of t1.1."""
    task, attempt = split_agent(agent)
    name = f"{task}-{attempt}-{number}"
    if len(name) <= ID_MAX and is_task(name):
        return name
    tail = f"-{hashlib.sha256(agent.encode()).hexdigest()[:8]}-{number}"
    return f"{task[: ID_MAX - len(tail)]}{tail}"
