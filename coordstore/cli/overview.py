"""A session on one screen: who leads it, its tasks as a table, what is stuck, what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coordstore.cli.advice import concerns, next_commands, standing, waits_for
from coordstore.cli.text import Cell, Column, clean, clip, table, width_of, wrap
from coordstore.cli.times import age, parse_time, span

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from coordstore.cli.text import Style
    from coordstore.session.task import Attempt, Task
    from coordstore.session.view import SessionView

__all__ = ["brief", "overview", "state_cell", "tally"]

SYMBOLS: Final = {
    "pending": ("○", "."),
    "running": ("●", "*"),
    "completed": ("✓", "+"),
    "partial": ("◐", "%"),
    "failed": ("✗", "x"),
    "cancelled": ("⊘", "-"),
    "stopped": ("■", "#"),
    "lost": ("!", "!"),
}
COLOURS: Final = {
    "running": "blue",
    "completed": "green",
    "landed": "green",
    "failed": "red",
    "refused": "red",
    "lost": "yellow",
    "partial": "yellow",
    "stopped": "yellow",
    "cancelled": "yellow",
    "pending": "dim",
    "waiting": "dim",
}
COLUMNS: Final = (
    Column("TASK", least=6),
    Column("NAME", least=16, spare=3),
    Column("STATE"),
    Column("TRY", right=True, spare=2),
    Column("STEP", right=True, spare=4),
    Column("TIME", right=True, spare=1),
    Column("WORK"),
    Column("WHERE", least=13, spare=5),
    Column("BRANCH", least=13, spare=6),
)
ORDER: Final = ("completed", "running", "pending", "lost", "failed", "cancelled")
REASON_LINES: Final = 3
URGENT: Final = {"lost": -3, "running": -2, "failed": -1}
"""What is shown first where not all tasks fit; then refused work, then the rest."""


def overview(
    view: SessionView, now: datetime, style: Style, *, named: bool = True, rows: int = 0, selected: str = ""
) -> list[str]:
    """Return the lines that show a session; they fit the style's width.

    Args:
        view: The session.
        now: The time, for ages.
        style: The output's looks.
        named: Whether the commands at the end must name the session.
        rows: How many lines there may be; 0: as many as it takes.
        selected: The task that is marked, and always among those that are shown.
    """
    commands = [text for text in next_commands(view, named=named) if not (rows and text.endswith("--watch"))]
    head, foot = _head(view, now, style), _foot(view, commands, style)
    room = max(3, rows - len(head) - len(foot)) if rows else 0
    return [*head, *_tasks(view, now, style, room, selected), *foot]


def brief(view: SessionView, style: Style) -> str:
    """Return a session in one line."""
    state = state_cell(view.state, style)
    name = clip(view.session, max(20, style.width - 40), style.mark)
    rest = clip(f"{tally(view)}  {_goal(view)}", style.width - width_of(name + state.text) - 4, style.mark)
    return f"{style.paint(name, 'bold')}  {style.paint(*state)}  {rest}"


def tally(view: SessionView) -> str:
    """Return how many tasks are where, in words."""
    states = [_word(task) for task in view.tasks.values()]
    parts = [f"{states.count(word)} {word}" for word in ORDER if word in states]
    if landed := sum(view.landed(task) for task in view.tasks):
        parts.append(f"{landed} landed")
    return f"{len(states)}: {', '.join(parts)}" if states else "none yet"


def state_cell(word: str, style: Style) -> Cell:
    """Return a state with its symbol."""
    symbol = SYMBOLS.get(word, ("?", "?"))[0 if style.unicode else 1]
    return Cell(f"{symbol} {word}", COLOURS.get(word, ""))


def _goal(view: SessionView) -> str:
    return clean(str(view.meta.get("goal") or ""))


def _head(view: SessionView, now: datetime, style: Style) -> list[str]:
    said = [
        ("goal", _goal(view)),
        ("tasks", tally(view)),
        ("led by", _leader(view, now)),
        ("result", clean(str(view.result.get("ref") or ""))),
    ]
    state = state_cell(view.state, style)
    name = clip(view.session, style.width - width_of(state.text) - 2, style.mark)
    lines = [f"{style.paint(name, 'bold')}  {style.paint(*state)}"]
    for name, text in said:
        for at, line in enumerate(wrap(text, style.width - 10, 2, style.mark)):
            lines.append(f"  {style.paint('' if at else name, 'dim')}{' ' * (8 if at else 8 - len(name))}{line}")
    return [*lines, ""]


def _leader(view: SessionView, now: datetime) -> str:
    entry, leader = view.leader_entry, view.leader
    if entry is None or not leader:
        return ""
    begin = parse_time(str(leader.get("since") or leader.get("started") or ""))
    since = f", for {span((now - begin).total_seconds())}" if begin else ""
    on_lease = f", on lease {entry.lease:x}" if entry.lease else ""
    standbys = ", ".join(f"{each.get('host', '?')}:{each.get('pid', '?')}" for each in view.standbys)
    behind = f"; {standbys} stands by" if standbys else ""
    return clean(f"process {leader.get('pid', '?')} on {leader.get('host', '?')}{since}{on_lease}{behind}")


def _tasks(view: SessionView, now: datetime, style: Style, room: int, selected: str) -> list[str]:
    """Return the table with the reasons below their rows; at most `room` lines when that is not 0."""
    tasks = view.ordered()
    if not tasks:
        return []
    chosen = {task.id for task in tasks}
    reasons = {task.id: _reason(view, task, style, 1 if room else REASON_LINES) for task in tasks}
    if room and 1 + len(tasks) + sum(map(len, reasons.values())) > room:
        chosen = _chosen(view, reasons, room - 2, selected)
    shown, hidden = [task for task in tasks if task.id in chosen], [task for task in tasks if task.id not in chosen]
    lines = []
    if shown:
        head, *rows = table(COLUMNS, [_row(view, task, now, style) for task in shown], style, "  ")
        marked = [_mark(row, style) if task.id == selected else row for task, row in zip(shown, rows, strict=True)]
        lines = [head, *(line for task, row in zip(shown, marked, strict=True) for line in (row, *reasons[task.id]))]
    return [*lines, _hidden(hidden, style)] if hidden else lines


def _mark(row: str, style: Style) -> str:
    return style.paint("▸ " if style.unicode else "> ", "bold") + row[2:]


def _chosen(view: SessionView, reasons: dict[str, list[str]], room: int, selected: str) -> set[str]:
    """Return the tasks that fit: the selected one, then the urgent ones before the others."""

    def rank(task: Task) -> tuple[bool, int]:
        return task.id != selected, URGENT.get(_word(task), view.left_out(task.id) is None)

    taken: set[str] = set()
    for task in sorted(view.ordered(), key=rank):
        needed = 1 + len(reasons[task.id])
        if needed <= room:
            taken.add(task.id)
            room -= needed
    return taken


def _hidden(tasks: Sequence[Task], style: Style) -> str:
    words = [_word(task) for task in tasks]
    kinds = ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))
    return style.paint(clip(f"  {style.mark} and {len(tasks)} more: {kinds}", style.width, style.mark), "dim")


def _word(task: Task) -> str:
    return "lost" if task.latest and task.latest.lost else str(task.state)


def _row(view: SessionView, task: Task, now: datetime, style: Style) -> list[Cell]:
    latest = task.latest
    work = standing(view, task)
    return [
        Cell(task.id, "bold"),
        Cell(clean(task.name) if task.name != task.id else ""),
        state_cell(_word(task), style),
        Cell(str(latest.number) if latest else ""),
        Cell(clean(latest.text("step") or "") if latest else ""),
        Cell(age(latest.text("started"), latest.text("ended"), now) if latest else ""),
        Cell(work, COLOURS.get(work, "")),
        Cell(_where(view, task, latest)),
        Cell(clean((latest.text("branch") or "").removeprefix("refs/heads/")) if latest else ""),
    ]


def _where(view: SessionView, task: Task, latest: Attempt | None) -> str:
    """Return the process and its host; of a task that has none yet, what it waits for."""
    if needs := waits_for(view, task):
        return clean(f"after {', '.join(needs)}")
    if latest is None or latest.text("host") is None:
        return "queued" if latest and str(task.state) == "pending" else ""
    host = (latest.text("host") or "").partition(".")[0]
    pid = latest.text("pid")
    return clean(f"{pid}@{host}" if pid else host)


def _reason(view: SessionView, task: Task, style: Style, most: int) -> list[str]:
    """Return why a task failed, was refused or cancelled, indented below its row."""
    text = view.reason(task)
    if not text or (task.latest and task.latest.lost):
        return []
    return [f"      {style.paint(line, 'dim')}" for line in wrap(clean(text), style.width - 6, most, style.mark)]


def _foot(view: SessionView, commands: Sequence[str], style: Style) -> list[str]:
    """Return what is stuck, and the commands to type next."""
    stuck = [f"{found.task + ': ' if found.task else ''}{clean(found.text)}" for found in concerns(view)]
    if len(stuck) > REASON_LINES:
        stuck[REASON_LINES - 1 :] = [f"and {len(stuck) - REASON_LINES + 1} more"]
    lines = []
    for text in stuck:
        first, *others = wrap(text, style.width - 9, 2, style.mark)
        lines += [f"  {style.paint('stuck', 'yellow')}  {first}", *(" " * 9 + line for line in others)]
    lines += [f"  {style.paint('next', 'dim')}   {clean(text)}" for text in commands]
    return ["", *lines] if lines else []
