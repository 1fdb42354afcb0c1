"""A plan to look at: its waves and needs as text for a terminal, and as SVG for a browser."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

from coordstore_orchestrator.plan.errors import plain
from coordstore_orchestrator.plan.graph import Graph

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coordstore_orchestrator.plan.model import Plan, Task

__all__ = ["drawing", "listing"]

WIDTH: Final = 220
"""Pixels of a task's box, and of what follows."""
HEIGHT: Final = 56
ACROSS: Final = WIDTH + 70
DOWN: Final = HEIGHT + 18
MARGIN: Final = 24
TOP: Final = 76
LETTERS: Final = 29
"""Characters of a line in a box."""
_STYLE: Final = (
    "text{font:13px system-ui,sans-serif;fill:#1f2933}.goal{font-size:17px;font-weight:600}"
    ".wave,.scope{fill:#616e7c;font-size:11px}.id{font-weight:600}rect{fill:#f0f6ff;stroke:#2b6cb0;stroke-width:1.2}"
    ".reader rect{fill:#f5f7fa;stroke:#7b8794;stroke-dasharray:4 3}path{fill:none;stroke:#7b8794;stroke-width:1.4}"
)


def listing(plan: Plan) -> str:
    """Return waves and needs as text, one task on a line.

    Raises:
        PlanError: Tasks need each other in a circle.
    """
    tasks = {task.id: task for task in plan.tasks}
    lines = [plain(plan.goal)]
    for number, wave in enumerate(Graph(plan).waves(), 1):
        lines.append(f"wave {number}")
        lines += [_line(tasks[name]) for name in wave]
    return "\n".join(lines)


def drawing(plan: Plan) -> str:
    """Return the graph as SVG: a column for each wave, a line from each task to those that need it.

    Raises:
        PlanError: Tasks need each other in a circle.
    """
    graph = Graph(plan)
    waves = graph.waves()
    places = {name: (column, row) for column, wave in enumerate(waves) for row, name in enumerate(wave)}
    width = MARGIN * 2 + max(len(waves) * ACROSS - (ACROSS - WIDTH), 2 * WIDTH)
    height = TOP + MARGIN + max((len(wave) for wave in waves), default=0) * DOWN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
        f"<style>{_STYLE}</style>",
        f'<rect width="{width}" height="{height}" style="fill:#fff;stroke:none"/>',
        f'<text class="goal" x="{MARGIN}" y="34">{_text(plan.goal, width // 10)}</text>',
        *(f'<text class="wave" x="{_left(at)}" y="62">wave {at + 1}</text>' for at in range(len(waves))),
        *_lines(plan, places),
        *(_box(task, *places[task.id]) for task in plan.tasks),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _line(task: Task) -> str:
    name = f" ({plain(task.name)})" if task.name != task.id else ""
    needs = f"  needs {', '.join(task.needs)}" if task.needs else ""
    return f"  {task.id}{name}  {_writes(task)}{needs}"


def _writes(task: Task) -> str:
    return plain(f"writes {', '.join(task.writes)}") if task.writes else "reads only"


def _left(column: int) -> int:
    return MARGIN + column * ACROSS


def _top(row: int) -> int:
    return TOP + row * DOWN


def _lines(plan: Plan, places: dict[str, tuple[int, int]]) -> Iterator[str]:
    """Yield a curve for each need."""
    for task in plan.tasks:
        for need in dict.fromkeys(task.needs):
            (column, row), (to, at) = places[need], places[task.id]
            x, y, end, down = _left(column) + WIDTH, _top(row) + HEIGHT // 2, _left(to), _top(at) + HEIGHT // 2
            bend = (ACROSS - WIDTH) // 2
            yield f'<path d="M{x} {y}C{x + bend} {y} {end - bend} {down} {end} {down}"/>'


def _box(task: Task, column: int, row: int) -> str:
    x, y = _left(column), _top(row)
    kind = "" if task.writes else ' class="reader"'
    name = task.id if task.name == task.id else f"{task.id}: {task.name}"
    return (
        f"<g{kind}><title>{escape(plain(f'{name} – {_writes(task)}'))}</title>"
        f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="7"/>'
        f'<text class="id" x="{x + 12}" y="{y + 23}">{_text(name, LETTERS - 3)}</text>'
        f'<text class="scope" x="{x + 12}" y="{y + 42}">{_text(_writes(task), LETTERS + 5)}</text></g>'
    )


def _text(text: str, limit: int) -> str:
    """Return a text for the drawing, cut to what fits."""
    whole = plain(text)
    return escape(whole if len(whole) <= limit else f"{whole[: limit - 1]}…")
