"""What an attempt's agent delegates, and how it waits for that: the worker's part of subtasks.

A subtask starts from the last commit of its parent's branch, once that has passed the gate that its own work must
pass. Waiting, the agent is asleep: it holds no slot, nobody counts the time against it, and nothing asks the store:
the worker sees what changes anyway.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from coordstore.errors import InvalidArgument
from coordstore.session import events
from coordstore.session.subtasks import Delegation, delegate, give_up, made_by
from coordstore_orchestrator.plan.inside import beyond
from coordstore_orchestrator.plan.scope import Scope, clash

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from coordstore.session import Task
    from coordstore.session.claim import Claim
    from coordstore_orchestrator.worker.naps import Naps

__all__ = ["Patience", "Quarters", "Subtasks"]

PROMPT_MAX: Final = 64 * 1024
"""Characters of a subtask's prompt."""
LIST_MAX: Final = 50
INHERITED: Final = ("labels", "size", "priority", "limits", "watch")
"""What a subtask has from its parent, so that it can use no more."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an agent waits.

    Args:
        interval: Seconds after which it is woken whatever happens.
        limit: Seconds after which it has waited for a subtask long enough: that is given up.
    """

    interval: float = 300.0
    limit: float = 1800.0

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Patience:
        """Return what COORD_AWAIT_INTERVAL and COORD_AWAIT_LIMIT say, or less than that is taken for."""
        most = cls()
        return cls(
            _seconds(environ, "COORD_AWAIT_INTERVAL", most.interval), _seconds(environ, "COORD_AWAIT_LIMIT", most.limit)
        )


class Quarters(Protocol):
    """What a worker does for an attempt that delegates."""

    async def start_from(self) -> str:
        """Return the commit that a subtask starts from, where all workers can have it; refuse what none may."""

    async def have(self, agent: str, commit: str) -> None:
        """Have a subtask's work here."""

    async def profile_of(self, wanted: str | None) -> tuple[object, str]:
        """Return the agent that a subtask gets, and how it is called; refuse one that is not to be used."""

    def pause(self) -> None:
        """Count no time against the agent from here."""

    def go_on(self) -> None:
        """Count it again."""


class Subtasks:
    """The subtasks of one attempt.

    Args:
        claim: The attempt.
        task: Its task.
        quarters: What its worker does for it.
        naps: Where it sleeps.
        tell: Takes events.
        patience: How long it waits.
    """

    def __init__(
        self,
        claim: Claim,
        task: Task,
        quarters: Quarters,
        naps: Naps,
        tell: Callable[[Sequence[events.Event]], None],
        patience: Patience,
    ) -> None:
        self._claim = claim
        self._task = task
        self._quarters = quarters
        self._naps = naps
        self._tell = tell
        self._patience = patience
        self._made: dict[str, dict[str, Any]] = {}
        self._since: dict[str, float] = {}
        self._told: set[str] = set()
        self._given_up: set[str] = set()
        self._stirred: asyncio.Event | None = None

    def __repr__(self) -> str:
        return f"<Subtasks of {self._claim.agent}: {', '.join(self._made) or 'none'}>"

    def missing(self) -> list[str]:
        """Return a sentence for each subtask that is still open: its parent would end it."""
        return [f"subtask {name} is not done yet: await it" for name in self._made if self._open(name)]

    async def delegate(self, request: Mapping[str, Any]) -> str:
        """Make a subtask, or find that it was made; return its id.

        Raises:
            InvalidArgument, PlanError: It is not one that may be made; the message says why.
            CoordError: The store or the repository could not do it: calling again makes it at most once.
        """
        spec = await self._spec(request)
        wanted = Delegation(spec, str(request.get("request") or "")[:200])
        self._refuse_siblings(Scope.parse(spec["writes"]), wanted)
        name = await delegate(self._claim, self._task, wanted)
        self._made[name] = spec
        return name

    async def _spec(self, request: Mapping[str, Any]) -> dict[str, Any]:
        prompt = _text(request, "prompt", PROMPT_MAX)
        if not prompt.strip():
            message = "a subtask needs a prompt that says what is to be done"
            raise InvalidArgument(message)
        agent, called = await self._quarters.profile_of(_text(request, "profile", 200) or None)
        own = _text(request, "name", 100)
        parent: dict[str, Any] = {name: self._task.spec[name] for name in INHERITED if name in self._task.spec}
        spec = {
            **parent,
            "name": f"Subtask: @{called}" + (f" {own}" if own else ""),
            "prompt": prompt,
            "writes": _texts(request, "writes"),
            "reads": _texts(request, "reads"),
            "accept": _texts(request, "accept"),
            "agent": agent,
        }
        self._refuse_scope(spec["writes"])
        Scope.parse(spec["reads"])
        return {**spec, "base": await self._quarters.start_from()}

    def _refuse_scope(self, writes: Sequence[str]) -> None:
        """Refuse what reaches beyond the parent's own scope."""
        mine = self._task.spec.get("writes") or ()
        outside = beyond(Scope.parse(writes), Scope.parse(mine))
        if outside is not None:
            may = ", ".join(map(str, mine)) or "nothing"
            message = f"{outside!r} reaches beyond what {self._claim.agent} itself may write, {may}: ask for less"
            raise InvalidArgument(message)

    def _refuse_siblings(self, scope: Scope, wanted: Delegation) -> None:
        """Refuse to have two at work on the same files; the same request again is no other."""
        view = self._naps.view
        known = made_by(view.attempt(self._claim.agent) if view else None)
        for name, spec in self._made.items():
            if known.get(name, {}).get("key") == wanted.key or Delegation(spec).digest == wanted.digest:
                continue
            found = clash(scope, Scope.parse(spec["writes"])) if self._open(name) else None
            if found is not None:
                message = f"{found.path} is being written by subtask {name} already: await that first, or ask for less"
                raise InvalidArgument(message)

    # --- waiting ----------------------------------------------------------------------------------------

    def stir(self) -> None:
        """The agent does something else: it is not asleep."""
        if self._stirred is not None:
            self._stirred.set()

    async def wait(self, request: Mapping[str, Any], gone: Callable[[], Awaitable[object]]) -> dict[str, Any]:
        """Wait until one of the subtasks has ended that was open, or for long enough; return where they are.

        Args:
            request: Which (``tasks``; none: all), and for how long at most (``timeout``, seconds).
            gone: Waits until nobody listens any more.

        Raises:
            InvalidArgument: One of them is not this attempt's.

        Cancelled: the attempt is about to end.
        """
        names = self._asked_for(request)
        self.stir()
        self._stirred = stirred = asyncio.Event()
        why = self._news(names)
        if why is None:
            why = await self._sleep(names, _within(request, self._patience.interval), gone, stirred)
        ended = [name for name in names if not self._open(name)]
        self._told.update(ended)
        return {"ok": True, "woken": why, "tasks": [await self._shown(name) for name in names]}

    async def _sleep(
        self, names: Sequence[str], interval: float, gone: Callable[[], Awaitable[object]], stirred: asyncio.Event
    ) -> str:
        loop = asyncio.get_running_loop()
        until = loop.time() + interval
        for name in names:
            self._since.setdefault(name, loop.time())
        self._tell([events.Waiting(tasks=tuple(name for name in names if self._open(name)))])
        self._quarters.pause()
        others: set[asyncio.Future[Any]] = {asyncio.ensure_future(gone()), asyncio.ensure_future(stirred.wait())}
        try:
            async with self._naps.asleep(self._claim.agent):
                why = await self._watch(names, until, others)
            await self._drop(names, loop.time())
        finally:
            self._quarters.go_on()
            for other in others:
                other.cancel()
            await asyncio.gather(*others, return_exceptions=True)
        self._tell([events.Woken(why=why)])
        return why

    async def _watch(self, names: Sequence[str], until: float, others: set[asyncio.Future[Any]]) -> str:
        """Return why to wake."""
        loop = asyncio.get_running_loop()
        # The last of them may have ended while the agent lay down: then there is news, and no end to wait for.
        since = [self._since[name] for name in names if self._open(name)]
        ends = min(since, default=until) + self._patience.limit
        while True:
            why, patience = self._news(names), min(until, ends) - loop.time()
            if why is not None or any(other.done() for other in others) or patience <= 0:
                return why or ("interrupted" if patience > 0 else "timeout" if ends <= until else "interval")
            changed = asyncio.ensure_future(self._naps.changed())
            try:
                await asyncio.wait({changed, *others}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            finally:
                changed.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await changed

    def _news(self, names: Sequence[str]) -> str | None:
        """Return why not to wait: something has ended that was not told yet, or nothing is open."""
        if any(name not in self._told and not self._open(name) for name in names):
            return "ended"
        return None if any(map(self._open, names)) else "nothing is open"

    async def _drop(self, names: Sequence[str], now: float) -> None:
        """Give up what was waited for long enough."""
        late = [name for name in names if self._open(name) and now - self._since[name] >= self._patience.limit]
        if late:
            why = f"{self._claim.agent} has waited for it for {self._patience.limit:g} s and gave it up"
            await give_up(self._claim, late, why)
            self._given_up.update(late)

    def _asked_for(self, request: Mapping[str, Any]) -> list[str]:
        wanted = _texts(request, "tasks") or list(self._made)
        if not wanted or not self._made.keys() >= set(wanted):
            known = ", ".join(self._made) or "none"
            message = f"{self._claim.agent} has not delegated {', '.join(wanted) or 'anything'}; its subtasks: {known}"
            raise InvalidArgument(message)
        return wanted

    def _open(self, name: str) -> bool:
        """Tell whether a subtask is still to come back."""
        view = self._naps.view
        return name not in self._given_up and (view is None or not view.merged(name))

    async def _shown(self, name: str) -> dict[str, Any]:
        """Return where a subtask is; of one that is completed its work is here then."""
        view = self._naps.view
        task = view.tasks.get(name) if view else None
        found: dict[str, Any] = {"task": name, "name": self._made[name]["name"], "open": self._open(name)}
        if task is None:
            return {**found, "state": "pending"}
        latest = task.latest
        commit = latest.result.get("commit") if latest else None
        if latest is not None and commit and not found["open"]:
            await self._quarters.have(latest.agent, str(commit))
        more = {
            "state": str(task.state),
            "reason": task.reason,
            "summary": latest.result.get("said") if latest else None,
            "commit": commit,
            "branch": latest.agent if latest and commit else None,
            "gave_up": name in self._given_up or None,
        }
        return found | {field: value for field, value in more.items() if value is not None}


def _within(request: Mapping[str, Any], most: float) -> float:
    said = request.get("timeout")
    return min(max(float(said), 0.0), most) if isinstance(said, int | float) else most


def _text(request: Mapping[str, Any], name: str, most: int) -> str:
    text = str(request.get(name) or "")
    if len(text) > most:
        message = f"{name} is longer than {most} characters: put long material into a file and name that"
        raise InvalidArgument(message)
    return text


def _texts(request: Mapping[str, Any], name: str) -> list[str]:
    said = request.get(name) or []
    if not isinstance(said, list) or len(said) > LIST_MAX or not all(isinstance(each, str) for each in said):
        message = f"{name} is a list of at most {LIST_MAX} texts"
        raise InvalidArgument(message)
    return said


def _seconds(environ: Mapping[str, str], name: str, most: float) -> float:
    try:
        return min(max(float(environ.get(name, "")), 0.01), most)
    except ValueError:
        return most
