"""Tier B: a search for a linearization by key, in short runs; it believes no log, only what clients were told.

What is linearizable as a whole is so for every key (and every group of keys) seen alone: an operation on several
keys is taken apart into what it saw and did to each. That loses what holds between keys, so keys that
transactions tie together, up to three of them, are searched together as well.

The search can take long, so it is bounded: operations per key, clients, time. Over a bound there is no answer,
and no answer is a failure of the check, never a pass.
"""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeVar

from coordstore.names import under
from coordstore.testing.history.attribute import WRITERS, checks_of, only_deletes
from coordstore.testing.history.history import FINAL
from coordstore.testing.history.leases import SKEW_NS, lives_of
from coordstore.testing.history.models import Effect, Fencing, FencingStep, Keys, KeysStep, Need, Task
from coordstore.testing.history.record import FAILED, OK, UNKNOWN
from coordstore.testing.history.search import linearize
from coordstore.testing.history.violation import Violation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from coordstore.testing.history.history import History
    from coordstore.testing.history.leases import Life
    from coordstore.testing.history.models import Model
    from coordstore.testing.history.record import Operation

    Claims = Mapping[int, tuple[int, Operation]]
    Named = Mapping[str, int]

__all__ = ["Bounds", "TierB"]

NEVER: Final = -1
"""A revision that no key has: what was seen contradicts itself."""

State = TypeVar("State")
Step = TypeVar("Step")


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much tier B takes on.

    Args:
        per_key: Operations on one key.
        together: Operations on keys that are searched together.
        keys: How many keys are searched together at most.
        clients: Clients of one search, not counting those that ended with an unknown outcome.
        seconds: For one search.
    """

    per_key: int = 200
    together: int = 300
    keys: int = 3
    clients: int = 16
    seconds: float = 30.0


class TierB:
    """The check; `violations` says what is wrong.

    Args:
        history: What was recorded.
        resolved: For each operation of unknown outcome that turned out to have been applied, its revision; one
            that is not here, but puts or appends, was not applied.
        bounds: How much to take on.
        skew_ns: By how much a lease may end early on the recording clock.
    """

    def __init__(
        self,
        history: History,
        resolved: Mapping[str, int],
        bounds: Bounds | None = None,
        skew_ns: int = SKEW_NS,
    ) -> None:
        self.violations: list[Violation] = []
        self.searches = 0
        self.slowest = 0.0
        self.steps = 0
        self._bounds = bounds or Bounds()
        self._resolved = resolved
        self._all = {call.op_id: call for call in history.calls}
        self._calls = {call.op_id: call for call in history.calls if self._counts(call)}
        keys = sorted({row[0] for call in self._calls.values() for row in touched(call)})
        tied = list(tie(self._calls.values()))
        groups = [*((key,) for key in keys), *(group for group in tied if len(group) <= self._bounds.keys)]
        self.apart = sum(len(group) > self._bounds.keys for group in tied)
        for group, tasks in self._project(groups):
            self._search("keys", ", ".join(group), Keys(len(group)), tasks, alone=len(group) == 1)
        for key, steps in self._resources(lives_of(history)):
            self._search("lease", key, Fencing(skew_ns), steps, alone=True)

    def _counts(self, call: Operation) -> bool:
        """Tell whether an operation may have had an effect or saw something."""
        if call.outcome == UNKNOWN:
            return call.kind in WRITERS and (call.op_id in self._resolved or only_deletes(call))
        return call.outcome == OK or call.error in ("Conflict", "Fenced", "LeaseLost")

    # --- the search -------------------------------------------------------------------------------------

    def _search(
        self, what: str, name: str, model: Model[State, Step], tasks: Sequence[Task[Step]], *, alone: bool
    ) -> None:
        self.searches += 1
        if self._too_large(what, name, tasks, alone=alone):
            return
        began = time.monotonic()
        found = linearize(model, tasks, self._bounds.seconds)
        self.slowest = max(self.slowest, time.monotonic() - began)
        self.steps += found.steps
        stuck = tuple(self._all[each] for each in found.stuck)
        if found.exceeded:
            message = f"{what} {name}: no answer within {self._bounds.seconds} s for {len(tasks)} operations"
            self.violations.append(Violation("tier B exceeded", message))
        elif not found.ok:
            last = [self._all[each] for each in found.longest[-3:]]
            message = (
                f"{what} {name}: the longest order has {len(found.longest)} of {len(tasks)} operations; "
                f"after the {len(last)} shown first none of the others can come"
            )
            self.violations.append(Violation("not linearizable", message, (*last, *stuck)))

    def _too_large(self, what: str, name: str, tasks: Sequence[Task[Step]], *, alone: bool) -> bool:
        limit = self._bounds.per_key if alone else self._bounds.together
        lives = len({self._all[task.name].client.partition(".")[0] for task in tasks} - {FINAL})
        if len(tasks) <= limit and lives <= self._bounds.clients:
            return False
        allowed = f"{limit} of {self._bounds.clients} allowed"
        message = f"{what} {name}: {len(tasks)} operations of {lives} clients, {allowed}"
        self.violations.append(Violation("tier B exceeded", message))
        return True

    # --- keys -------------------------------------------------------------------------------------------

    def _project(self, groups: Sequence[tuple[str, ...]]) -> Iterator[tuple[tuple[str, ...], list[Task[KeysStep]]]]:
        """Yield each group of keys with what operations saw of and did to it."""
        found: dict[str, list[Operation]] = defaultdict(list)
        wide: dict[str, list[Operation]] = defaultdict(list)
        for call in self._calls.values():
            if call.kind in ("list", "delete_prefix"):
                wide[call.key].append(call)
            for key in {row[0] for row in touched(call)}:
                found[key].append(call)
        for group in groups:
            names = {key: number for number, key in enumerate(group)}
            calls = {call.op_id: call for key in group for call in found[key]}
            prefixes = {prefix for key in group for prefix in covering(key)}
            calls.update((call.op_id, call) for prefix in prefixes for call in wide.get(prefix, ()))
            steps = [(call, self._step(call, names)) for call in calls.values()]
            yield group, in_revision_order([_task(call, step) for call, step in steps if step.needs or step.effects])

    def _step(self, call: Operation, names: Named) -> KeysStep:
        """Return an operation as far as it is about some keys."""
        match call.kind, call.outcome:
            case "get", _:
                return KeysStep((_met(names[call.key], call.value),)) if call.key in names else KeysStep()
            case "list", _:
                return KeysStep(tuple(_listed(call, names)))
            case "delete_prefix", _:
                return _swept(call, names)
            case _, "failed":
                return KeysStep(tuple(_refused(call, names)))
        return self._written(call, names)

    def _written(self, call: Operation, names: Named) -> KeysStep:
        needs = [
            Need(names[check.key], None, check.revision, check.create_revision)
            for check, _ in checks_of(call)
            if check.key in names
        ]
        effects = [Effect(names[key], value, bool(lease)) for key, value, lease in call.args["writes"] if key in names]
        if call.kind == "delete" and call.outcome == OK and effects:
            needs.append(Need(effects[0].key, None, None if call.value else 0))
        known = call.rev if call.outcome == OK else self._resolved.get(call.op_id)
        # A transaction that only deletes may have changed nothing, and then it returned no revision of its own.
        return KeysStep(tuple(needs), tuple(effects), None if only_deletes(call) or not effects else known)

    # --- resources --------------------------------------------------------------------------------------

    def _resources(self, lives: Mapping[int, Life]) -> Iterator[tuple[str, list[Task[FencingStep]]]]:
        """Yield each key that fences name, with its claims, renewals, releases and fenced writes."""
        fences = self._fences()
        tokens: dict[str, dict[int, tuple[int, Operation]]] = {key: {} for key in fences}
        for call in self._calls.values():
            for key, _, lease in touched_by_put(call):
                token = self._resolved.get(call.op_id, call.rev) if call.kind == "create" else None
                if key in tokens and lease and token:
                    tokens[key][token] = (lease, call)
        guarded = defaultdict(list)
        for call in self._calls.values():
            if call.kind in WRITERS and call.args["fence"]:
                guarded[call.args["fence"][0]].append(call)
        for key, claims in sorted(tokens.items()):
            yield key, [*self._held(claims, lives), *_guarded(guarded[key], claims)]

    def _fences(self) -> set[str]:
        """Return the keys that fences name and that nobody writes but by creating them on a lease."""
        writers = [call for call in self._calls.values() if call.kind in WRITERS]
        plain = {
            key
            for call in writers
            for key, value, lease in call.args["writes"]
            if call.kind != "create" or value is None or not lease
        }
        swept = [call.key for call in writers if call.kind == "delete_prefix"]
        fences = {call.args["fence"][0] for call in writers if call.args["fence"]} - plain
        return {key for key in fences if not any(under(prefix, key) for prefix in swept)}

    def _held(self, claims: Claims, lives: Mapping[int, Life]) -> Iterator[Task[FencingStep]]:
        for token, (lease, call) in claims.items():
            ret = call.ret_ns if call.outcome == OK else None
            life = lives[lease]
            yield Task(call.op_id, FencingStep("claim", token, life.term(call.call_ns), ret), call.call_ns, ret)
            for each in life.kept:
                if each.kind == "renew" and ret is not None and each.call_ns > ret:
                    step = FencingStep("renew", token, each.call_ns + life.ttl_ns, each.ret_ns)
                    yield Task(each.op_id, step, each.call_ns, each.ret_ns)
            for each in life.refused:
                if each.kind == "renew":
                    yield Task(each.op_id, FencingStep("lost", token, 0, each.ret_ns), each.call_ns, each.ret_ns)
            for each in life.revoked:
                done = each.ret_ns if each.outcome == OK else None
                yield Task(each.op_id, FencingStep("release", token, 0, done), each.call_ns, done)


def _guarded(calls: Iterable[Operation], claims: Claims) -> Iterator[Task[FencingStep]]:
    """Yield the fenced writes under tokens that are known, as far as the fence decided them."""
    for call in calls:
        token = call.args["fence"][2]
        if token not in claims or call.error in ("Conflict", "LeaseLost"):
            continue
        ret = call.ret_ns if call.outcome != UNKNOWN else None
        kind = "fenced" if call.outcome == FAILED else "write"
        yield Task(call.op_id, FencingStep(kind, token, 0, ret), call.call_ns, ret, pure=kind == "write")


def covering(key: str) -> Iterator[str]:
    """Yield every prefix that covers a key."""
    yield ""
    yield key
    for at, letter in enumerate(key):
        if letter == "/":
            yield key[:at]
            yield key[: at + 1]


def _task(call: Operation, step: KeysStep) -> Task[KeysStep]:
    ret = call.ret_ns if call.outcome != UNKNOWN else None
    return Task(call.op_id, step, call.call_ns, ret, pure=not step.effects)


def in_revision_order(tasks: list[Task[KeysStep]]) -> list[Task[KeysStep]]:
    """Tell each write whose revision is known which one with a lower revision certainly came before it."""
    before: str | None = None
    told = {}
    for task in sorted(tasks, key=lambda task: task.step.revision or 0):
        if task.step.revision is not None:
            told[task.name] = before
            before = before if task.ret is None else task.name
    return [replace(task, behind=told.get(task.name)) for task in tasks]


def touched(call: Operation) -> list[tuple[str, ...]]:
    """Return rows that begin with the keys that an operation names."""
    if call.kind == "get":
        return [(call.key,)]
    if call.kind not in WRITERS:
        return []
    fence = [call.args["fence"]] if call.args["fence"] else []
    return [*call.args["writes"], *call.args["checks"], *fence]


def touched_by_put(call: Operation) -> list[tuple[str, str, int | None]]:
    """Return the puts of an operation."""
    return [row for row in call.args["writes"] if row[1] is not None] if call.kind in WRITERS else []


def tie(calls: Iterable[Operation]) -> Iterator[tuple[str, ...]]:
    """Yield the groups of two and more keys that writes tie together, directly or through others."""
    group: dict[str, set[str]] = {}
    for call in calls:
        keys = sorted({row[0] for row in touched(call)})
        whole = set(keys).union(*(group[key] for key in keys if key in group)) if len(keys) > 1 else set()
        for key in whole:
            group[key] = whole
    for whole in {id(found): found for found in group.values()}.values():
        yield tuple(sorted(whole))


def _met(key: int, row: list[object] | None, *, bare: bool = False) -> Need:
    """Return what seeing an entry, or none, says of a key."""
    if row is None:
        return Need(key, None, 0, 0)
    _, value, revision, created, _ = row
    return Need(key, None if bare else str(value), int(str(revision)), int(str(created)))


def _listed(call: Operation, names: Named) -> Iterator[Need]:
    """Yield what a list says of each key that it would have shown."""
    rows = {row[0]: row for row in call.value["entries"]}
    after, end = call.args["after"] or "", max(rows, default="") if call.value["more"] else None
    for key, number in names.items():
        if under(call.key, key) and key > after and (end is None or key <= end):
            yield _met(number, rows.get(key), bare=call.args["keys_only"])


def _swept(call: Operation, names: Named) -> KeysStep:
    """Return what a prefix delete did: nothing when it says so."""
    numbers = [number for key, number in names.items() if under(call.key, key)]
    if call.outcome == OK and not call.value:
        return KeysStep(tuple(Need(number, None, 0, 0) for number in numbers))
    return KeysStep((), tuple(Effect(number, None) for number in numbers))


def _refused(call: Operation, names: Named) -> Iterator[Need]:
    """Yield what a Conflict or a Fenced says of keys."""
    fence = call.args.get("fence")
    if call.error == "Fenced" and fence and fence[0] in names:
        current = call.value["current"]
        yield Need(names[fence[0]], None, NEVER if current == fence[2] else None, current)
    for check, is_fence in checks_of(call) if call.error == "Conflict" else ():
        seen = call.value["revisions"]
        if check.key in names and (check.key in seen or is_fence or seen):
            if check.key not in seen:
                yield Need(names[check.key], None, check.revision, check.create_revision)
            elif check.revision != seen[check.key]:
                yield Need(names[check.key], None, seen[check.key])
            elif check.create_revision is None:
                yield Need(names[check.key], None, NEVER)
