"""A pool as it stands at one revision: who is there, who holds whom, who waits, and who gets whom next.

The rule. Requests come in order of priority, then of age. Each takes, of the agents that are free, can all it needs
and are up to its complexity, the one that can least beyond that; one that finds none holds up nobody behind it.
Everybody who looks at the same revision comes to the same answer, so nobody has to hand anything out.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from coordstore.model import Entry

__all__ = ["Agent", "PoolEvent", "PoolView", "Request"]


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody asks of a pool.

    Args:
        needs: Capabilities that the agent must have.
        complexity: What it must be up to.
        priority: Higher ones come first.
        owner: Who asks, for people.
    """

    needs: frozenset[str] = frozenset()
    complexity: int = 0
    priority: int = 0
    owner: str = ""

    def to_json(self) -> bytes:
        """Return it as it is stored."""
        return _json(needs=sorted(self.needs), complexity=self.complexity, priority=self.priority, owner=self.owner)

    @classmethod
    def from_json(cls, value: bytes) -> Request:
        """Return what was stored."""
        told = json.loads(value)
        return cls(frozenset(told["needs"]), told["complexity"], told["priority"], told["owner"])


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent of a pool, and how it was used.

    Args:
        name: Its name.
        capabilities: What it can.
        complexity: The highest that it is up to.
        since: When it registered, wall time in seconds.
        holder: Who holds it, as it calls itself; None: it is available.
        reserved: How often it was reserved.
        busy: Seconds that it was held, counted at each release (not of holders that died).
    """

    name: str
    capabilities: frozenset[str]
    complexity: int
    since: float
    holder: str | None
    reserved: int
    busy: float

    def fits(self, request: Request) -> bool:
        """Tell whether it can do what is asked, free or not."""
        return request.needs <= self.capabilities and request.complexity <= self.complexity

    def utilisation(self, now: float) -> float:
        """Return the share of its time, 0 to 1, that it was held."""
        return min(self.busy / max(now - self.since, 1e-9), 1.0)

    def to_json(self) -> bytes:
        """Return it as it is stored when it registers."""
        return _json(capabilities=sorted(self.capabilities), complexity=self.complexity, since=self.since)


@dataclass(frozen=True, slots=True)
class PoolEvent:
    """Something that changed in a pool.

    Args:
        kind: ``waiting`` (a request got in line), ``busy``, ``available`` or ``gone`` (of an agent).
        agent: Which agent; of a request: empty.
        owner: Who asks or holds.
    """

    kind: str
    agent: str = ""
    owner: str = ""


class PoolView:
    """Reads the entries of a pool.

    Args:
        prefix: The pool's.
        entries: All keys under it, at one revision.
    """

    def __init__(self, prefix: str, entries: Mapping[str, Entry]) -> None:
        self.entries = entries
        self._prefix = prefix
        folders: dict[str, dict[str, Entry]] = {}
        for key, entry in entries.items():
            folder, _, name = key[len(prefix) + 1 :].partition("/")
            folders.setdefault(folder, {})[name] = entry
        self.holders = {name: entry.value.decode() for name, entry in folders.get("slots", {}).items()}
        self.used = {name: _told(entry.value) for name, entry in folders.get("used", {}).items()}
        self.agents = {name: self._agent(name, entry) for name, entry in folders.get("agents", {}).items()}
        line = sorted((_rank(entry), entry.key) for entry in folders.get("queue", {}).values())
        self.waiting = {key: Request.from_json(entries[key].value) for _, key in line}

    def assigned(self, request: Request | None = None, key: str = "", *, besides: Collection[str] = ()) -> str | None:
        """Return the agent that is next for a request: of one in line by its key, or of one behind all in it.

        Args:
            request: What is asked, of one who is not in line.
            key: The place in line.
            besides: Agents that are not to be had, although they look free.
        """
        free = {name: agent for name, agent in self.agents.items() if agent.holder is None and name not in besides}
        line = {**self.waiting, "": request} if request else self.waiting
        for place, asked in sorted(line.items(), key=lambda item: -item[1].priority):
            found = _best(free.values(), asked)
            if place == key:
                return found
            free.pop(found or "", None)
        return None

    def has_first_choice(self, request: Request, besides: Collection[str]) -> bool:
        """Tell whether nobody is in line and the best of all that fit a request, held ones too, is free."""
        best = _best([agent for name, agent in self.agents.items() if name not in besides], request)
        return best is not None and self.agents[best].holder is None and not self.waiting

    def events_since(self, before: PoolView) -> list[PoolEvent]:
        """Return what has changed since an earlier view."""
        found = [
            PoolEvent("waiting", "", asked.owner) for key, asked in self.waiting.items() if key not in before.waiting
        ]
        found += [PoolEvent("gone", name) for name in before.agents if name not in self.agents]
        for name, agent in self.agents.items():
            if agent.holder is not None and self._token(name) != before._token(name):
                found.append(PoolEvent("busy", name, agent.holder))
            was_free = name in before.agents and before.agents[name].holder is None
            if agent.holder is None and not was_free:
                found.append(PoolEvent("available", name))
        return found

    def _token(self, name: str) -> int:
        slot = self.entries.get(f"{self._prefix}/slots/{name}")
        return slot.create_revision if slot else 0

    def _agent(self, name: str, entry: Entry) -> Agent:
        told, used = _told(entry.value), self.used.get(name, {})
        can, holder = frozenset(told["capabilities"]), self.holders.get(name)
        count, busy = used.get("reserved", 0), used.get("busy", 0.0)
        return Agent(name, can, told["complexity"], told["since"], holder, count, busy)


@functools.lru_cache(maxsize=4096)
def _told(value: bytes) -> Mapping[str, Any]:
    """Return what a record tells; a pool is read at each request, and most of it is as it was."""
    return MappingProxyType(json.loads(value.decode()))


def _rank(entry: Entry) -> tuple[int, int]:
    return -_told(entry.value)["priority"], entry.create_revision


def _best(free: Collection[Agent], request: Request) -> str | None:
    fitting = [agent for agent in free if agent.fits(request)]
    best = min(fitting, key=lambda a: (a.complexity, len(a.capabilities), a.reserved, a.name), default=None)
    return best.name if best else None


def _json(**values: object) -> bytes:
    return json.dumps(values).encode()
