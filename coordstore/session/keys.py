"""Where a session keeps what: every key and stream name of the session layout, in one place.

    <session>/meta                        goal, plan digest, base, repository
    <session>/leader/line/<candidate>     who orchestrates (the eldest) and who stands by; each on its own lease
    <session>/tasks/<task>                the task's specification, immutable
    <session>/agents/<agent>/status       one of the states, bare
    <session>/agents/<agent>/{step,pid,host,branch,worktree,started,ended}   bare values
    <session>/agents/<agent>/assignment   what this attempt is to do: task, base, hint
    <session>/agents/<agent>/claim        who runs it; on the worker's lease; its create revision is the fencing token
    <session>/agents/<agent>/cancel       a request to stop it, with the reason
    <session>/agents/<agent>/verdict      that it is stopped as failed: code, reason, hint, of a detector
    <session>/agents/<agent>/retry        a request to try its task again, with the reason
    <session>/agents/<agent>/subtasks     what its agent has delegated, by task: asked for as what, still wanted or not
    <session>/agents/<agent>/result       how it ended: reason, commit, evidence
    <session>/queue/<class>/<agent>       assignments nobody has claimed
    <session>/merged/<task>               that the task's work is in the integrated tree, and as which commit; of a
                                          subtask: that what came of it went to its parent
    <session>/paused                      that nothing new starts: since when, and why
    <session>/postmortem/<task>           what became of each attempt of a task that failed
    <session>/changes/<agent>             that the work waits for a review, and what came of it
    <session>/tip                         the integrated commit
    <session>/result                      what landed in the user's repository
    stream <session>/events/<agent>       what happened, in order

An agent is one attempt of one task: ``<task>.<attempt>``, as ``t1.1``.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Final

from coordstore.errors import InvalidKey
from coordstore.names import is_segment

__all__ = ["DEFAULT_CLASS", "SESSION_STREAM", "SessionKeys", "agent_name", "is_session", "is_task", "split_agent"]

DEFAULT_CLASS: Final = "any"
"""The queue of tasks without labels."""
SESSION_STREAM: Final = "session"
"""In place of an agent's name: the stream of events that concern the session as a whole."""

_TASK = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_AGENT = re.compile(rf"({_TASK.pattern})\.([1-9][0-9]{{0,5}})")


def is_task(text: str) -> bool:
    """Tell whether the text may be a task's id."""
    return _TASK.fullmatch(text) is not None


def is_session(text: str) -> bool:
    """Tell whether the text may name a session: a key segment that also makes a branch name."""
    return is_segment(text) and ".." not in text and not text.endswith((".", ".lock"))


def agent_name(task: str, attempt: int) -> str:
    """Return the name of one attempt of a task, as ``t1.1``."""
    return f"{task}.{attempt}"


@functools.lru_cache(maxsize=4096)
def split_agent(agent: str) -> tuple[str, int]:
    """Return the task and the attempt of an agent's name.

    Raises:
        InvalidKey: It is no such name.
    """
    match = _AGENT.fullmatch(agent)
    if match is None:
        message = f"{agent!r} is no agent: agents are named TASK.ATTEMPT, as t1.1"
        raise InvalidKey(message)
    return match[1], int(match[2])


@dataclass(frozen=True, slots=True)
class SessionKeys:
    """The names of one session.

    Args:
        session: Its name: one key segment.
    """

    session: str

    def __post_init__(self) -> None:
        """Refuse a name that none may have."""
        if not is_session(self.session):
            message = (
                f"session name {self.session!r} is not allowed: up to 64 characters [a-z0-9._-], beginning with a"
                " letter or digit, without '..', not ending in '.' or '.lock'"
            )
            raise InvalidKey(message)

    @property
    def meta(self) -> str:
        """Return the key of the session's own record."""
        return f"{self.session}/meta"

    @property
    def leader(self) -> str:
        """Return the prefix of the election of who orchestrates; the eldest key in its line leads."""
        return f"{self.session}/leader"

    @property
    def tip(self) -> str:
        """Return the key of the integrated commit."""
        return f"{self.session}/tip"

    @property
    def result(self) -> str:
        """Return the key of what landed."""
        return f"{self.session}/result"

    @property
    def paused(self) -> str:
        """Return the key that keeps everything new from starting."""
        return f"{self.session}/paused"

    @property
    def queue(self) -> str:
        """Return the prefix of all queues."""
        return f"{self.session}/queue"

    @property
    def events(self) -> str:
        """Return the prefix of all event streams."""
        return f"{self.session}/events"

    def task(self, task: str) -> str:
        """Return the key of a task's specification."""
        return f"{self.session}/tasks/{task}"

    def merged(self, task: str) -> str:
        """Return the key that says a task's work is integrated."""
        return f"{self.session}/merged/{task}"

    def postmortem(self, task: str) -> str:
        """Return the key of what became of a failed task's attempts."""
        return f"{self.session}/postmortem/{task}"

    def change(self, agent: str) -> str:
        """Return the key of an attempt's change."""
        return f"{self.session}/changes/{agent}"

    def agent(self, agent: str, name: str) -> str:
        """Return one key of an agent."""
        return f"{self.session}/agents/{agent}/{name}"

    def queued(self, labels: tuple[str, ...], agent: str) -> str:
        """Return the queue entry of an agent: under its task's first label, or the default class."""
        return f"{self.session}/queue/{labels[0] if labels else DEFAULT_CLASS}/{agent}"

    def stream(self, agent: str) -> str:
        """Return the event stream of an agent."""
        return f"{self.session}/events/{agent}"
