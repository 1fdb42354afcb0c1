"""Integrates completed work: gate, merge, record; one task at a time, in a bare repository of its own."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from coordstore.model import Check, Put
from coordstore.session import State, events
from coordstore.session.changes import ChangeState, change_in, move_of
from coordstore.session.keys import agent_name
from coordstore.session.values import as_object, as_value
from coordstore_orchestrator.git.batch import missing
from coordstore_orchestrator.git.errors import GitError
from coordstore_orchestrator.git.names import is_oid
from coordstore_orchestrator.git.remote import RemoteLacks, RemoteUnreachable
from coordstore_orchestrator.merge.conflicts import as_record
from coordstore_orchestrator.merge.filters import unfiltered
from coordstore_orchestrator.merge.gate import changes, collisions, inspect
from coordstore_orchestrator.merge.integrate import Conflict
from coordstore_orchestrator.plan.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from coordstore.session import Attempt, SessionView, Task
    from coordstore.session.session import Session
    from coordstore_orchestrator.merge.gate import Violation
    from coordstore_orchestrator.merge.integrate import Integration
    from coordstore_orchestrator.monitor.decide import Integrate
    from coordstore_orchestrator.monitor.leadership import Leadership

__all__ = ["Exchange", "Merger", "merge_message", "merge_time"]

log = logging.getLogger(__name__)

NAMED_FILES = 20
"""How many files a reason names."""
REVIEWS_MAX = 5
"""How many times a review may send a task's work back."""
FILES_KEPT = 1000
"""How many files a record names."""
BROUGHT_MAX = 64
"""How many attempts' work is brought here at a time."""


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What came of one task: a new tip, or why not."""

    tip: str | None
    refused: str | None = None
    files: tuple[str, ...] = ()
    work: str | None = None
    conflicts: tuple[Conflict, ...] = ()
    sent_back: bool = False

    def record(self) -> dict[str, Any]:
        """Return what is stored of it."""
        if self.tip is not None:
            return {"merged": True, "commit": self.tip}
        found: dict[str, Any] = {
            "work": self.work,
            "review": self.sent_back,
            "files": list(self.files[:FILES_KEPT]),
            "conflicts": as_record(self.conflicts),
        }
        return {"merged": False, "refused": self.refused, **{name: value for name, value in found.items() if value}}


class Exchange(Protocol):
    """What brings work and integrated commits from host to host."""

    async def fetch_branch(self, into: Path, agent: str, oid: str, others: Mapping[str, str] | None = None) -> None:
        """Have the commit that an attempt ended at in a repository here, and those of others if they can be had."""

    async def publish(self, source: Path, *oids: str) -> None:
        """Make commits ones that attempts on all hosts, and another leader, can start from."""


class Merger:
    """Merges the work of completed attempts into one tree.

    Args:
        session: Whose work.
        leadership: That we may.
        integration: The repository that it happens in; it sees every object of the session.
        base: The commit that the first merge goes onto.
        hand_back: How many times work that conflicts goes back to its agent.
        exchange: Brings work here that was done elsewhere; None: all work is done on this host.
    """

    def __init__(
        self,
        session: Session,
        leadership: Leadership,
        integration: Integration,
        base: str,
        hand_back: int = 0,
        exchange: Exchange | None = None,
    ) -> None:
        self._session = session
        self._fence = leadership.fence
        self._integration = integration
        self._base = base
        self._hand_back = hand_back
        self._exchange = exchange
        self._ahead: dict[tuple[str, str], _Verdict] = {}
        self._published: set[str] = set()

    async def integrate(self, view: SessionView, action: Integrate) -> int:
        """Merge one task's work into the integrated tree, or refuse it; record which; return the revision.

        Merging again after a crash makes another commit of the same tree: what counts is what is recorded, once,
        under a check that the tip has not moved.

        Raises:
            Conflict: The tip moved, or it is recorded already.
            Fenced: Another orchestrator leads by now.
            RemoteUnreachable: Its work could not be fetched, or the merge not be published: nothing is recorded.
        """
        task = view.tasks[action.task]
        attempt = view.attempt(action.agent)
        if attempt is None or attempt.state is not State.COMPLETED:
            return 0  # what nobody's claim vouches for is not looked at
        tip = await self._session.store.get(view.keys.tip)  # the view may not show the merge before yet
        onto = tip.value.decode(errors="replace") if tip else self._base
        if not is_oid(onto):
            message = f"the tip of session {view.session} is {onto!r}, which is no commit: nothing goes onto it"
            raise GitError(message)
        verdict = self._ahead.pop((attempt.agent, onto), None)
        if verdict is None:
            verdict = await self._verdict(view, task, attempt, onto)
        if verdict.refused:
            log.warning("work of %s left out: %s", action.agent, verdict.refused)
        return await self._record(view, attempt, verdict, tip.revision if tip else 0)

    async def turn_down(self, view: SessionView, action: Integrate, reason: str, *, again: bool) -> int:
        """Record that a review left a task's work out, or sent it back to its agent; return the revision.

        Args:
            view: The session.
            action: Whose work.
            reason: Why.
            again: Whether its agent gets another attempt; after several it does not.

        Raises:
            Conflict: The tip moved, or it is recorded already.
            Fenced: Another orchestrator leads by now.
        """
        attempt = view.attempt(action.agent)
        if attempt is None or attempt.state is not State.COMPLETED:
            return 0
        tip = await self._session.store.get(view.keys.tip)
        verdict = _Verdict(None, reason, work=self._ends(attempt)[1], sent_back=again)
        return await self._record(view, attempt, verdict, tip.revision if tip else 0)

    async def _verdict(self, view: SessionView, task: Task, attempt: Attempt, onto: str) -> _Verdict:
        """Try it; a record that names no commit is refused: it must not end the run of all the others."""
        try:
            if self._exchange is None:
                return await self._try(task, attempt, onto)
            waiting = _waiting(view, attempt)
            await self._bring_waiting(self._exchange, attempt, waiting)
            verdict = await self._try(task, attempt, onto)
            await self._go_ahead(self._exchange, view, waiting, onto, verdict.tip or onto)
        except GitError as error:
            if isinstance(error, RemoteUnreachable) and not isinstance(error, RemoteLacks):
                raise  # which says nothing about the work
            base, commit = self._ends(attempt)
            if await missing(self._integration.path, [base, commit]):
                return _Verdict(None, "its record names a commit that this session does not have")
            raise
        return verdict

    def _ends(self, attempt: Attempt) -> tuple[str, str]:
        """Return where an attempt began and ended, by its records."""
        base = str(attempt.json("assignment").get("base") or self._base)
        return base, str(attempt.result.get("commit") or base)

    async def bring(self, agent: str, commit: str) -> None:
        """Have an attempt's work here, also when it was done on another host."""
        if self._exchange is not None:
            await self._exchange.fetch_branch(self._integration.path, agent, commit)

    async def _bring_waiting(self, exchange: Exchange, first: Attempt, waiting: Sequence[Attempt]) -> None:
        """Have an attempt's work here, and with it that of those which wait to be merged after it."""
        ends = {each.agent: self._ends(each) for each in (*waiting, first)}
        works = {agent: commit for agent, (base, commit) in ends.items() if commit != base and is_oid(commit)}
        if (commit := works.pop(first.agent, None)) is not None:
            await exchange.fetch_branch(self._integration.path, first.agent, commit, works)

    async def _go_ahead(
        self, exchange: Exchange, view: SessionView, waiting: Sequence[Attempt], onto: str, tip: str
    ) -> None:
        """Try what waits on what will be there when its turn comes, and publish all of it at once.

        To publish many commits costs as much as one. What cannot be tried now is when its turn comes.
        """
        self._ahead.clear()
        tips = {tip}
        for attempt in waiting:
            try:
                verdict = await self._try(view.tasks[attempt.task], attempt, tip)
            except GitError as error:
                log.debug("work of %s is not tried ahead: %s", attempt.agent, error)
                break
            self._ahead[attempt.agent, tip] = verdict
            tip = verdict.tip or tip
            tips.add(tip)
        self._published = {onto}
        if new := tips - self._published:
            await exchange.publish(self._integration.path, *new)
            self._published |= new

    async def _try(self, task: Task, attempt: Attempt, onto: str) -> _Verdict:
        base, commit = self._ends(attempt)
        if commit == base:
            return _Verdict(onto)
        scope = Scope.parse(task.spec.get("writes") or ())
        database = self._integration.database
        changed = await changes(database, base, commit)
        broken = await inspect(database, base, commit, scope.matches, changed=changed)
        broken = broken or await unfiltered(self._integration, changed)
        if broken:
            return _refused(broken)
        merged = await self._integration.merge(
            onto, commit, message=merge_message(task, attempt), when=merge_time(attempt)
        )
        if merged.oid is None:
            files = tuple(sorted({conflict.path for conflict in merged.conflicts}))
            told = f"conflicts with what was merged before it, in {', '.join(files[:NAMED_FILES])}"
            return _Verdict(None, told, files, commit, merged.conflicts)
        added = [change.path for change in changed if change.added]
        twins = await collisions(database, added, merged.oid)
        if twins:
            files = tuple(violation.path for violation in twins)
            found = tuple(Conflict(twin.path, "case", twin.sentence) for twin in twins)
            return _Verdict(None, f"conflicts with what was merged before it: {_told(twins)}", files, commit, found)
        return _Verdict(merged.oid)

    async def _record(self, view: SessionView, attempt: Attempt, verdict: _Verdict, tip_revision: int) -> int:
        keys = self._session.keys
        if self._exchange is not None and verdict.tip is not None and verdict.tip not in self._published:
            # Before it is recorded: whoever reads of it, also the leader after us, must be able to have it.
            await self._exchange.publish(self._integration.path, verdict.tip)
        before = view.entries.get(keys.merged(attempt.task))
        earlier = as_object(before)
        replaces = before.revision if before and earlier.get("returned") and earlier["agent"] != attempt.agent else 0
        returns = int(earlier.get("returns", 0))
        record: dict[str, Any] = {"agent": attempt.agent, **verdict.record(), "returns": returns}
        if (verdict.conflicts and returns < self._hand_back) or (verdict.sent_back and returns < REVIEWS_MAX):
            record |= {"returned": True, "returns": returns + 1}
        writes = [Put(keys.merged(attempt.task), as_value(record))]
        if verdict.tip is not None:
            writes.append(Put(keys.tip, verdict.tip.encode()))
        checks = [
            Check(keys.merged(attempt.task), revision=replaces),
            Check(keys.tip, revision=tip_revision),
            Check(keys.agent(attempt.agent, "status"), revision=attempt.entries["status"].revision),
            # A later attempt, whoever made it, takes the place of this one.
            Check(keys.agent(agent_name(attempt.task, attempt.number + 1), "status"), revision=0),
        ]
        told: list[events.Event] = [
            events.Integrated(
                merged=verdict.tip is not None,
                commit=verdict.tip,
                reason=verdict.refused,
                files=verdict.files[:NAMED_FILES],
            )
        ]
        change = change_in(view, attempt.agent)
        if change is not None and change.state is ChangeState.APPROVED:
            state = ChangeState.REFUSED if verdict.tip is None else ChangeState.MERGED
            writes.append(move_of(change, state, "coord", verdict.refused or ""))
            checks.append(Check(change.entry.key, revision=change.entry.revision))
            told.append(events.Reviewed(state=str(state), by="coord", comment=verdict.refused))
        appends = [self._session.event(attempt.agent, event) for event in told]
        return await self._session.store.transact(writes, checks, appends, self._fence)


def _waiting(view: SessionView, first: Attempt) -> list[Attempt]:
    """Return the attempts that are to be merged after one, in that order, those held by a review excepted."""
    found = []
    for task in view.tasks.values():
        latest = task.latest
        if latest is None or latest.state is not State.COMPLETED or latest is first or view.merged(task.id):
            continue
        change = change_in(view, latest.agent)
        approved = change is not None and change.state is ChangeState.APPROVED
        if task.parent is None and (approved or not view.meta.get("changes")):
            found.append(latest)
    return sorted(found, key=lambda attempt: attempt.entries["status"].revision)[:BROUGHT_MAX]


def _refused(broken: Sequence[Violation]) -> _Verdict:
    return _Verdict(None, _told(broken), tuple(violation.path for violation in broken))


def _told(violations: Sequence[Violation]) -> str:
    return "; ".join(violation.sentence for violation in violations[:NAMED_FILES])


def merge_message(task: Task, attempt: Attempt) -> str:
    """Return the message of the commit that merges a task's work."""
    return f"Merge {attempt.agent}: {task.name}\n\nTask: {task.id}\nAgent: {attempt.agent}\n"


def merge_time(attempt: Attempt) -> int:
    """Return the time of the commit that merges an attempt's work: when that ended, in seconds since 1970.

    Made again after a crash it must be the same commit: the first one may have landed already.
    """
    try:
        return int(datetime.fromisoformat(attempt.text("ended") or "").timestamp())
    except ValueError:
        return 0
