"""What is to be done in one session, kept up to date: after each change only the tasks it concerns are looked at.

What can be done for a task follows from its own keys and from the fate of what it needs (`decide`). So a change
concerns the tasks that it names, and when the fate of one of these became another, those that need it: all of them
when it will not come through, and when it did those that waited for nothing else.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from coordstore.session import State
from coordstore_orchestrator.monitor.decide import Assign, EndLost, Integrate, decide_task, fate, in_order, settled
from coordstore_orchestrator.monitor.fallback import whole_task

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from coordstore.session import SessionView
    from coordstore_orchestrator.monitor.decide import Action

__all__ = ["Decisions"]

UNREAD = object()


class Decisions:
    """What `decide` says of one session, change by change.

    It is told of each view with `see`. An action comes once from `take`, again after `again`, and whenever its task
    changed; it comes for as long as it is to be done.
    """

    def __init__(self) -> None:
        self._actions: dict[str, Action] = {}
        self._fresh: set[str] = set()
        self._fates: dict[str, bool | None] = {}
        self._unsettled: set[str] = set()
        self._states: dict[str, State] = {}
        self._needs: dict[str, tuple[str, ...]] = {}
        self._needed_by: defaultdict[str, set[str]] = defaultdict(set)
        self._missing: dict[str, int] = {}
        self._below: defaultdict[str, set[str]] = defaultdict(set)
        self._recovery: Any = UNREAD

    def __repr__(self) -> str:
        return f"<Decisions: {len(self._actions)} actions, {len(self._unsettled)} tasks not settled>"

    def see(self, view: SessionView) -> None:
        """Take in what the last batch changed; before the session is ready: nothing."""
        if not view.ready:
            return
        changed = view.changed
        if self._recovery is UNREAD or self._recovery != view.meta.get("recovery"):
            self._recovery = view.meta.get("recovery")
            changed = view.tasks.keys() | self._fates.keys()
        elif not changed:
            return
        for name in changed:
            self._link(view, name)
        # What becomes of a subtask depends on the attempt that made it.
        changed = set(changed).union(*(self._below[name] for name in changed if name in self._below))
        concerned = set(changed)
        for name in changed:
            concerned |= self._settle(view, name)
        for name in concerned:
            self._decide(view, name)

    def actions(self, view: SessionView) -> list[Action]:
        """Return everything that can be done now, as `decide` does."""
        return self._chosen(view, self._actions.keys() - self._withheld(view, self._actions))

    def take(self, view: SessionView) -> list[Action]:
        """Return what is to be done and was not taken yet, in order; what a pause keeps from starting stays."""
        fresh, self._fresh = self._fresh, self._withheld(view, self._fresh)
        return self._chosen(view, fresh - self._fresh)

    def again(self, tasks: Iterable[str]) -> None:
        """Have what is to be done for some tasks taken again: it was not done, or not yet."""
        self._fresh.update(tasks)

    def over(self, view: SessionView) -> bool:
        """Tell whether nothing will happen any more, as `decide.over` does."""
        return not self._unsettled and whole_task(view) is None

    def running(self) -> bool:
        """Tell whether an attempt runs, or work is left that must be merged, or ended as lost."""
        left = any(isinstance(action, Integrate | EndLost) for action in self._actions.values())
        return left or State.RUNNING in self._states.values()

    def more_to_come(self, merging: Collection[str]) -> bool:
        """Tell whether attempts run while some tasks are about to be merged, and no task waits for one of these."""
        return State.RUNNING in self._states.values() and not any(self._needed_by.get(name) for name in merging)

    def _withheld(self, view: SessionView, names: Iterable[str]) -> set[str]:
        """Return which of some tasks a pause keeps from starting."""
        return {name for name in names if isinstance(self._actions.get(name), Assign)} if view.paused else set()

    def _chosen(self, view: SessionView, names: Iterable[str]) -> list[Action]:
        """Return what is to be done for some tasks, and for the session as a whole."""
        found = [self._actions[task.id] for task in view.ordered(names) if task.id in self._actions]
        whole = None if self._unsettled or not view.ready else whole_task(view)
        return [*in_order(view, found), *([] if whole is None else [whole])]

    def _link(self, view: SessionView, name: str) -> None:
        """Keep who needs whom, and who is whose subtask."""
        task = view.tasks.get(name)
        if task is not None and task.parent is not None:
            self._below[task.parent.rpartition(".")[0]].add(name)
        needs = tuple(dict.fromkeys(task.needs)) if task else ()
        if self._needs.get(name) == needs:
            return
        for need in self._needs.pop(name, ()):
            self._needed_by[need].discard(name)
        for need in needs:
            self._needed_by[need].add(name)
        if task is None:
            self._missing.pop(name, None)
            return
        self._needs[name] = needs
        self._missing[name] = sum(self._fates.get(need) is not True for need in needs)

    def _settle(self, view: SessionView, name: str) -> set[str]:
        """Note what became of a task; return whom that concerns."""
        task, before = view.tasks.get(name), self._fates.get(name, UNREAD)
        if task is None:
            now: Any = UNREAD
            self._fates.pop(name, None)
            self._states.pop(name, None)
            self._unsettled.discard(name)
        else:
            now = self._fates[name] = fate(view, task)
            self._states[name] = task.state
            (self._unsettled.discard if settled(view, task) else self._unsettled.add)(name)
        if now is before:
            return set()
        step = (before is True) - (now is True)
        for other in self._needed_by[name]:
            self._missing[other] += step
        if now is True and before is None:
            return {other for other in self._needed_by[name] if not self._missing[other]}
        return set(self._needed_by[name])

    def _decide(self, view: SessionView, name: str) -> None:
        task = view.tasks.get(name)
        action = None if task is None else decide_task(view, task)
        if action is None:
            self._actions.pop(name, None)
            self._fresh.discard(name)
        else:
            self._actions[name] = action
            self._fresh.add(name)
