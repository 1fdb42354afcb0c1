"""What `coord run` shows: one line per change while it runs, and a summary that ends in the next command to type."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, TextIO

from coordstore.cli.text import clean
from coordstore.session import State
from coordstore.session.changes import ChangeState, change_in
from coordstore_orchestrator.monitor.postmortem import kept_work

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from coordstore.session import Attempt, SessionView, Task

__all__ = ["ALL", "INTERRUPTED", "NONE", "SOME", "RunDisplay"]

ALL, NONE, SOME, INTERRUPTED = 0, 1, 3, 130
"""Exit statuses of a run: all tasks landed, none, some, cut short."""

SYMBOLS: Final = {
    State.PENDING: "·",
    State.RUNNING: "▸",
    State.COMPLETED: "✓",
    State.FAILED: "✗",
    State.CANCELLED: "–",
}
REASON_MAX: Final = 300


class RunDisplay:
    """Prints the progress of one session.

    Args:
        session: Its name.
        out: Where to.
        quiet: Leave out everything but the summary.
    """

    def __init__(self, session: str, out: TextIO, *, quiet: bool) -> None:
        self._session = session
        self._out = out
        self._quiet = quiet
        self._headed = False
        self._shown: dict[str, str] = {}
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        """Print a line, unless quiet."""
        if not self._quiet:
            self._print(f"coord: {text}")

    def standby(self, leader: Mapping[str, Any]) -> None:
        """Say who leads while this one stands by."""
        self.say(f"standing by: process {leader.get('pid', '?')} on {leader.get('host', '?')} leads {self._session}")

    def seen(self, view: SessionView) -> None:
        """Print what changed since the view before."""
        if self._quiet:
            return
        if not self._headed:
            self._headed = True
            count = len(view.planned())
            self._print(f"session {self._session}: {count} tasks (watch it: coord inspect {self._session} --watch)")
        for task in view.ordered(view.changed):
            for key, line in self._lines(view, task):
                if self._shown.get(key) != line:
                    self._shown[key] = line
                    self._print(f"{time.monotonic() - self._began:7.2f} s  {line}")

    def finish(self, view: SessionView, plan: Path, *, interrupted: bool, merged: bool) -> int:
        """Print the summary; return the exit status."""
        done = [task for task in view.tasks if view.merged(task).get("merged")]
        what = "landed" if view.result.get("ref") or merged else "integrated"
        self._print(f"\nsession {self._session}: {len(done)} of {len(view.planned())} tasks {what}")
        for task in view.ordered():
            self._print(self._row(view, task))
            for line in self._kept(view, task):
                self._print(line)
        unsettled = not view.result.get("final")
        self._print_next(view, plan, unsettled=unsettled)
        if interrupted and unsettled:
            return INTERRUPTED
        return ALL if len(done) == len(view.planned()) else SOME if done else NONE

    def _print_next(self, view: SessionView, plan: Path, *, unsettled: bool) -> None:
        bad = [task.latest.agent for task in view.ordered() if task.latest and task.state is State.FAILED]
        if bad:
            self._print(f"look further: coord inspect {self._session}; coord logs {bad[0]} --session {self._session}")
        ref = str(view.result.get("ref") or "")
        if unsettled:
            self._print(f"coord run {plan} --session {self._session}")
        elif ref:
            self._print(f"result: {ref} at {str(view.result.get('commit'))[:12]}")
            self._print(f"git merge {ref.removeprefix('refs/heads/')}")
        else:
            self._print(f"coord inspect {self._session}")

    def _lines(self, view: SessionView, task: Task) -> list[tuple[str, str]]:
        """Return what is to be said of a task now, each line with the key it replaces."""
        latest = task.latest
        if latest is None or latest.state is State.PENDING:
            return []
        lines = [
            (latest.agent, f"{SYMBOLS[latest.state]} {latest.agent:<10} {latest.state:<9} {self._about(task, latest)}")
        ]
        change = change_in(view, latest.agent)
        if change is not None and change.state is ChangeState.OPEN:
            command = f"coord changes show {self._session} {latest.agent}"
            lines.append((f"review {task.id}", f"? {latest.agent:<10} in review  {command}"))
        merged = view.merged(task.id)
        if merged:
            symbol, said = self._integrated(merged)
            lines.append((f"merged {task.id}", f"{symbol} {latest.agent:<10} {said}"))
        return lines

    def _integrated(self, record: Mapping[str, Any]) -> tuple[str, str]:
        """Return the symbol and the words for what became of completed work."""
        if record.get("merged"):
            return "+", "merged"
        if "to" in record:
            return "<", f"returned to {record['to']}"
        return "✗", f"left out: {self._short(record.get('refused'))}"

    def _about(self, task: Task, attempt: Attempt) -> str:
        if attempt.state is State.RUNNING or attempt.reason is None:
            return clean(task.name)
        return self._short(attempt.reason)

    def _row(self, view: SessionView, task: Task) -> str:
        reason = view.reason(task)
        landed = (
            "landed" if view.landed(task.id) else "merged" if view.merged(task.id).get("merged") else str(task.state)
        )
        symbol = SYMBOLS[State.FAILED] if view.left_out(task.id) else SYMBOLS[task.state]
        tries = f" (attempt {len(task.attempts)})" if len(task.attempts) > 1 else ""
        return f"  {symbol} {task.id:<12} {landed:<10} {self._short(reason) if reason else clean(task.name)}{tries}"

    def _kept(self, view: SessionView, task: Task) -> Iterator[str]:
        """Yield where the work of a task lies that did not come through."""
        if view.merged(task.id).get("merged"):
            return
        for attempt in task.attempts:
            if work := kept_work(attempt):
                yield f"    {'':<12} its work is kept on branch {attempt.agent} at {work[:12]}"

    def _short(self, reason: object) -> str:
        return clean(str(reason).replace("\n", " "))[:REASON_MAX]

    def _print(self, line: str) -> None:
        print(line, file=self._out, flush=True)
