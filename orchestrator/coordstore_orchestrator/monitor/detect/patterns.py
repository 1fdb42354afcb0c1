"""Agents that are busy and get nowhere: errors in a row, no progress, a loop, chatter, and no word of completion."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from coordstore.session import events
from coordstore_orchestrator.agents.trouble import classify
from coordstore_orchestrator.monitor.detect.finding import Detector, Finding

if TYPE_CHECKING:
    from coordstore_orchestrator.monitor.detect.finding import Subject

__all__ = ["Chatter", "Errors", "Nudge", "Progress", "Repeats"]

BESIDE: Final = (events.Pulse, events.Verdict, events.Usage, events.Note, events.ModelCall, events.Returned)
"""What is no act of the agent."""


class Errors(Detector):
    """The last events are all errors.

    Before the first tool call, one that tells why the agent cannot start is the worker's to judge: it may have another
    profile to fall back on.
    """

    def __init__(self, subject: Subject, limit: float) -> None:
        super().__init__(subject, limit)
        self._row: deque[str] = deque(maxlen=int(limit))
        self._acted = False

    def see(self, event: events.Event) -> Finding | None:
        """Take the attempt's next event; return what follows from it."""
        self._acted = self._acted or isinstance(event, events.ToolCall)
        if not isinstance(event, events.Error):
            if not isinstance(event, BESIDE):
                self._row.clear()
            return None
        if not self._acted and classify(event.text):
            return None
        self._row.append(event.text)
        if len(self._row) < self.limit:
            return None
        reason = f"{len(self._row)} errors in a row, the last: {event.text[:300]}"
        hint = f"An earlier attempt ran into this error again and again; go another way: {event.text[:1000]}"
        return Finding("stop", reason, hint, {"errors": list(self._row)})


class Progress(Detector):
    """Many steps of an agent that calls tools, and no file has changed; of a task that only reads that says nothing.

    Files are looked at now and then. So a pulse decides, which tells how many steps had been taken at the last look.
    """

    def __init__(self, subject: Subject, limit: float) -> None:
        super().__init__(subject, limit)
        self._step = 0
        self._changed_at = 0
        self._called = False
        self._off = not subject.spec.get("writes")

    def see(self, event: events.Event) -> Finding | None:
        """Take the attempt's next event; return what follows from it."""
        self._called = self._called or isinstance(event, events.ToolCall | events.Message)
        if isinstance(event, events.FilesChanged | events.Completion):
            self._changed_at = self._step
        elif isinstance(event, events.Step):
            self._step = event.step
        if self._off or not self._called or not isinstance(event, events.Pulse):
            return None
        steps = event.looked - self._changed_at
        if steps <= self.limit:
            return None
        reason = f"no progress: {steps} steps and no file has changed"
        writes = ", ".join(str(each) for each in self.subject.spec.get("writes") or ())
        hint = f"An earlier attempt took {steps} steps and changed no file. Change files early: {writes}"
        return Finding("stop", reason, hint, {"steps": steps, "files": event.files})


class Repeats(Detector):
    """The same tool call again and again: first it is told, and when it goes on as often again, it is stopped."""

    def __init__(self, subject: Subject, limit: float) -> None:
        super().__init__(subject, limit)
        self._last: tuple[str, str] | None = None
        self._times = 0

    def see(self, event: events.Event) -> Finding | None:
        """Take the attempt's next event; return what follows from it."""
        if isinstance(event, events.Woken):
            self._last = None  # to wait for one's subtasks again and again is no loop: each time it was told to
        if not isinstance(event, events.ToolCall):
            return None
        call = (event.name, event.digest)
        self._times = self._times + 1 if call == self._last else 1
        self._last = call
        if self._times not in (self.limit, 2 * self.limit):
            return None
        what = f"{event.name} {event.summary or ''}".strip()[:300]
        reason = f"loop: the same tool call {self._times} times in a row: {what}"
        hint = f"You called the same tool with the same arguments {self._times} times: {what}. Do something else."
        evidence = {"name": event.name, "digest": event.digest, "times": self._times}
        return Finding("hint" if self._times == self.limit else "stop", reason, hint, evidence)


class Chatter(Detector):
    """Messages without a tool call that succeeded; several in one step are one, and a failed call resets nothing."""

    def __init__(self, subject: Subject, limit: float) -> None:
        super().__init__(subject, limit)
        self._said: deque[str] = deque(maxlen=int(limit))
        self._in_step = False

    def see(self, event: events.Event) -> Finding | None:
        """Take the attempt's next event; return what follows from it."""
        worked = isinstance(event, events.ToolResult) and event.ok
        if worked or isinstance(event, events.FilesChanged | events.Progress | events.Completion):
            self._said.clear()
        elif isinstance(event, events.Step):
            self._in_step = False
        elif isinstance(event, events.Message) and not self._in_step:
            self._in_step = True
            self._said.append(event.text)
            if len(self._said) >= self.limit:
                reason = f"chatter: {len(self._said)} messages and no tool call that succeeded"
                hint = "An earlier attempt talked and did nothing. Use your tools; change the files."
                return Finding("stop", reason, hint, {"messages": list(self._said)})
        return None


class Nudge(Detector):
    """Rounds without a word of completion: the agent is reminded, again and again."""

    def __init__(self, subject: Subject, limit: float) -> None:
        super().__init__(subject, limit)
        self._rounds = 0
        self._called = False

    def see(self, event: events.Event) -> Finding | None:
        """Take the attempt's next event; return what follows from it."""
        self._called = self._called or isinstance(event, events.ToolCall | events.Message)
        if isinstance(event, events.Completion):
            self._rounds = 0
        elif isinstance(event, events.Step):
            self._rounds += 1
            if self._called and self._rounds % self.limit == 0:
                reason = f"{self._rounds} rounds without mark_complete or mark_failed"
                hint = f"{reason}: when everything is done call mark_complete; when it cannot be done, mark_failed."
                return Finding("hint", reason, hint, {"rounds": self._rounds})
        return None
