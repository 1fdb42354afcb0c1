"""The search of tier B: is there an order of operations, true to real time, that a sequential model allows?

This is the algorithm of Wing and Gong with Lowe's memo. Calls and returns stand in a list in time. An operation
may come next when its call stands before the first return that is left. If the model allows it, both its entries
are lifted out and the search goes on from the front; when a return is reached, the last choice is taken back. A
pair (operations done, state) that was reached before leads nowhere new.

One more step spares most of the work: an operation that only sees, and leaves the state as it is, can be moved
to the front of any order that completes the present one, so once it is chosen no other choice need be tried in
its place. (One that writes cannot, even where it changes nothing: it may have to change something later.)
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from coordstore.testing.history.models import Model, Task

__all__ = ["EXCEEDED", "Found", "linearize"]

State = TypeVar("State")
Step = TypeVar("Step")

EXCEEDED: Final = "exceeded"
_LOOK_EVERY = 1024


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found.

    Args:
        ok: There is such an order.
        longest: The names in the longest order found; of all operations when `ok`.
        stuck: The names of operations that could have come next and were not allowed to.
        exceeded: The time ran out before there was an answer.
        steps: How many choices were tried.
    """

    ok: bool
    longest: tuple[str, ...] = ()
    stuck: tuple[str, ...] = ()
    exceeded: bool = False
    steps: int = 0


@dataclass(slots=True, eq=False)
class _Node(Generic[Step]):
    """A call or a return in the list."""

    number: int
    task: Task[Step] | None = None
    behind: int = 0
    match: _Node[Step] | None = None
    before: _Node[Step] | None = None
    after: _Node[Step] | None = None

    def lift(self) -> None:
        """Take the call and its return out of the list."""
        for node in (self, self.match):
            if node is not None and node.before is not None:
                node.before.after = node.after
                if node.after is not None:
                    node.after.before = node.before

    def unlift(self) -> None:
        """Put them back."""
        for node in (self.match, self):
            if node is not None and node.before is not None:
                node.before.after = node
                if node.after is not None:
                    node.after.before = node


@dataclass(slots=True)
class _Chosen(Generic[Step, State]):
    node: _Node[Step]
    state: State
    only: bool


@dataclass(slots=True)
class _Search(Generic[Step, State]):
    model: Model[State, Step]
    head: _Node[Step]
    left: int
    chosen: list[_Chosen[Step, State]] = field(default_factory=list)
    longest: tuple[str, ...] = ()
    stuck: tuple[str, ...] = ()
    steps: int = 0

    def run(self, expired: Callable[[], bool]) -> bool | None:
        """Return whether there is an order; None: the time ran out."""
        state, done = self.model.initial(), 0
        seen = {(done, state)}
        node = self.head.after
        while self.left:
            self.steps += 1
            if self.steps % _LOOK_EVERY == 1 and expired():
                return None
            if node is not None and node.task is not None:
                after = None if node.behind & ~done else self.model.apply(state, node.task.step)
                place = (done | 1 << node.number, after)
                if after is not None and place not in seen:
                    seen.add(place)  # type: ignore[arg-type]  # `after` is no longer None
                    self._choose(node, state, only=node.task.pure and after == state)
                    state, done, node = after, place[0], self.head.after
                else:
                    node = node.after
                continue
            self._note()
            back = self._take_back()
            if back is None:
                return False
            state, done, node = back.state, done_without(self.chosen), back.node.after
        return True

    def _choose(self, node: _Node[Step], state: State, *, only: bool) -> None:
        node.lift()
        self.chosen.append(_Chosen(node, state, only))
        self.left -= _required(node)

    def _take_back(self) -> _Chosen[Step, State] | None:
        """Undo choices up to the last one that had an alternative, and return it."""
        while self.chosen:
            last = self.chosen.pop()
            last.node.unlift()
            self.left += _required(last.node)
            if not last.only:
                return last
        return None

    def _note(self) -> None:
        """Keep the longest order, and what could have come next."""
        if len(self.chosen) <= len(self.longest) and self.stuck:
            return
        self.longest = tuple(_name(each.node) for each in self.chosen)
        stuck, node = [], self.head.after
        while node is not None and node.task is not None:
            stuck.append(node.task.name)
            node = node.after
        self.stuck = tuple(stuck)


def linearize(
    model: Model[State, Step],
    tasks: Sequence[Task[Step]],
    budget: float,
    now: Callable[[], float] = time.monotonic,
) -> Found:
    """Search an order.

    Args:
        model: The sequential specification.
        tasks: The operations; one without a return may come at any time after its call, or never.
        budget: Seconds after which the search gives up, which is no answer.
        now: The clock of the budget.
    """
    deadline = now() + budget
    search = _Search(model, _listed(tasks), sum(task.ret is not None for task in tasks))
    answer = search.run(lambda: now() > deadline)
    if answer:
        search.longest = tuple(_name(each.node) for each in search.chosen)
    return Found(
        ok=bool(answer),
        longest=search.longest,
        stuck=() if answer else search.stuck,
        exceeded=answer is None,
        steps=search.steps,
    )


def done_without(chosen: list[_Chosen[Step, State]]) -> int:
    """Return the mask of what is chosen."""
    mask = 0
    for each in chosen:
        mask |= 1 << each.node.number
    return mask


def _listed(tasks: Sequence[Task[Step]]) -> _Node[Step]:
    """Return the head of the list of calls and returns in time; of the same time calls come first."""
    entries: list[tuple[int, int, _Node[Step]]] = []
    bits = {task.name: 1 << number for number, task in enumerate(tasks)}
    for number, task in enumerate(tasks):
        call = _Node(number, task, bits[task.behind] if task.behind else 0)
        entries.append((task.call, 0, call))
        if task.ret is not None:
            call.match = _Node(number)
            entries.append((task.ret, 1, call.match))
    head = last = _Node[Step](-1)
    for _, _, node in sorted(entries, key=lambda entry: entry[:2]):
        last.after, node.before, last = node, last, node
    return head


def _required(node: _Node[Step]) -> int:
    return 0 if node.task is None or node.task.ret is None else 1


def _name(node: _Node[Step]) -> str:
    return node.task.name if node.task else ""
