"""Watches the running attempts of a session by their events, and writes what the detectors find: all through the store.

A verdict is an event of the attempt's own stream. A hint also goes into the attempt's mailbox; a stop is also the
key ``verdict``, in one transaction with its event, and the attempt's worker ends it as failed. An orchestrator that
takes over reads the streams from their beginning, comes to the same findings, and writes those that do not stand
there yet. An outage of the store is waited out: for as long as we lead, nobody else watches.
"""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import aclosing
from typing import TYPE_CHECKING, Final, TypeVar

from coordstore.errors import Conflict, InvalidKey, OutcomeUnknown, Trimmed, Unavailable
from coordstore.model import Check, Put
from coordstore.recipes import Mailbox
from coordstore.session import FINAL, events
from coordstore.session.keys import split_agent
from coordstore.session.values import as_object, as_value
from coordstore.store import clock_of
from coordstore_orchestrator.monitor.detect import Subject, known_detectors, thresholds

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from coordstore.model import Record
    from coordstore.session.session import Session
    from coordstore.store import Fence
    from coordstore_orchestrator.monitor.detect import Detector, Finding

T = TypeVar("T")

__all__ = ["ORCHESTRATOR", "Watched", "Watcher"]

log = logging.getLogger(__name__)

ORCHESTRATOR: Final = "orchestrator"
"""Whom hints come from."""
PAUSE: Final = 0.3
"""Seconds between two tries in an outage."""
ENDED: Final = frozenset(str(state) for state in FINAL)


class Watched:
    """One attempt under all detectors: a function of its events.

    Args:
        subject: Whom.

    Attributes:
        stopped: Whether a detector has come to a stop.
        untold: Findings by detector that do not stand in the stream, as far as it was read.
    """

    def __init__(self, subject: Subject) -> None:
        self.stopped = False
        self.untold: list[tuple[str, Finding]] = []
        self._known: Counter[str] = Counter()
        found = {name: each.open(subject) for name, each in known_detectors().items()}
        self._detectors: dict[str, Detector] = {name: each for name, each in found.items() if each is not None}

    def __repr__(self) -> str:
        return f"<Watched by {', '.join(self._detectors)}>"

    def see(self, event: events.Event) -> None:
        """Take the next event; what is found is in `untold`. After a stop nothing more is found."""
        if isinstance(event, events.Verdict):
            self._stands(event.detector)
        for name, detector in self._detectors.items():
            finding = None if self.stopped else detector.see(event)
            if finding is not None:
                self.stopped = finding.action == "stop"
                self.untold.append((name, finding))

    def _stands(self, name: str) -> None:
        """Take off the list what is found in the stream."""
        at = next((at for at, (each, _) in enumerate(self.untold) if each == name), None)
        if at is not None:
            del self.untold[at]


class Watcher:
    """Watches one session for the orchestrator that leads it.

    Args:
        session: The session.
        fence: The orchestrator's leadership.
    """

    def __init__(self, session: Session, fence: Fence) -> None:
        self._session = session
        self._store = session.store
        self._fence = fence
        self._watched: dict[str, Watched] = {}
        self._mail = Mailbox(session.store, session.name, ORCHESTRATOR)
        self._clock = clock_of(session.store)

    def __repr__(self) -> str:
        return f"<Watcher of {self._session.name}: {len(self._watched)} attempts>"

    async def run(self) -> None:
        """Watch until cancelled.

        Raises:
            Fenced: Another orchestrator leads by now.
        """
        past = await self._store.heads(self._session.keys.events)
        after: dict[str, int] = {}
        while True:
            try:
                async with aclosing(self._store.follow(self._session.keys.events, after)) as records:
                    async for record in records:
                        after[record.stream] = record.sequence
                        await self._take(record, record.sequence < past.get(record.stream, 0))
            except Trimmed as trimmed:
                after[trimmed.stream] = trimmed.first - 1

    async def _take(self, record: Record, more: bool) -> None:  # noqa: FBT001  (its own caller's)
        """Take one event; while more of the past is to come, what is found may stand there."""
        agent = record.stream.rpartition("/")[2]
        event = events.decode(record.data)
        if isinstance(event, events.Watching):
            self._watched[agent] = Watched(await self._subject(agent, event))
        elif isinstance(event, events.StateChanged) and event.new in ENDED:
            self._watched.pop(agent, None)
        watched = self._watched.get(agent)
        if watched is None:
            return
        watched.see(event)
        while watched.untold and not more:
            await self._tell(agent, *watched.untold.pop(0))

    async def _subject(self, agent: str, event: events.Watching) -> Subject:
        try:
            task = split_agent(agent)[0]
        except InvalidKey:
            return Subject(agent, {}, {})
        entry = await self._through_outages(lambda: self._store.get(self._session.keys.task(task)))
        return Subject(agent, as_object(entry), thresholds(event.thresholds))

    async def _tell(self, agent: str, name: str, finding: Finding) -> None:
        """Write a finding and what follows from it, unless the attempt has ended meanwhile.

        In doubt only a stop is written again, which checks that there is none: to miss a hint is better than two.
        """
        log.warning("%s: %s: %s (%s)", agent, name, finding.reason, finding.action)
        again = finding.action == "stop"
        told = await self._through_outages(lambda: self._write(agent, name, finding), in_doubt=again)
        hint = finding.hint
        if told and finding.action == "hint" and hint:
            message = {"kind": "hint", "text": hint}
            await self._through_outages(lambda: self._mail.send(agent, message), in_doubt=False)

    async def _write(self, agent: str, name: str, finding: Finding) -> bool:
        """Write a finding; tell whether its attempt was still running."""
        keys = self._session.keys
        status = await self._store.get(keys.agent(agent, "status"))
        if status is None or status.value != b"running":
            return False
        record = {"reason": finding.reason, "hint": finding.hint, "evidence": dict(finding.evidence)}
        told = events.Verdict.model_validate({"detector": name, "action": finding.action, **record})
        writes, checks = [], [Check(status.key, revision=status.revision)]
        if finding.action == "stop":
            verdict = keys.agent(agent, "verdict")
            writes.append(Put(verdict, as_value({"code": name, **record})))
            checks.append(Check(verdict, revision=0))
        try:
            await self._store.transact(writes, checks, [self._session.event(agent, told)], self._fence)
        except Conflict as conflict:
            log.info("%s has ended meanwhile: %s", agent, conflict)
            return False
        return True

    async def _through_outages(self, do: Callable[[], Awaitable[T]], *, in_doubt: bool = True) -> T | None:
        """Do something until the store has said how it ended, or, unless it may be done again, left it open."""
        while True:
            try:
                return await do()
            except Unavailable as outage:
                log.info("%s; trying again", outage)
            except OutcomeUnknown as outage:
                log.info("%s; %s", outage, "trying again" if in_doubt else "left at that")
                if not in_doubt:
                    return None
            await self._clock.sleep(PAUSE)
