"""The dependency graph of a session as a drawing: tasks in columns by how many others come before them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coordstore.cli.report.markup import Markup, tag
from coordstore.cli.report.parts import task_id, task_word, tone
from coordstore.cli.text import clip

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from coordstore.session.view import SessionView

__all__ = ["drawing", "levels"]

WIDTH: Final = 170
HEIGHT: Final = 44
APART: Final = 60
BETWEEN: Final = 16
EDGE: Final = 6


def levels(needs: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Return the tasks in columns, each after all that it needs; of a circle, what cannot be placed comes last."""
    placed: dict[str, int] = {}
    waiting = list(needs)
    while waiting:
        ready = [task for task in waiting if all(need in placed or need not in needs for need in needs[task])]
        if not ready:
            last = max(placed.values(), default=-1) + 1
            placed.update(dict.fromkeys(waiting, last))
            break
        for task in ready:
            placed[task] = 1 + max((placed[need] for need in needs[task] if need in placed), default=-1)
        waiting = [task for task in waiting if task not in placed]
    columns: list[list[str]] = [[] for _ in range(max(placed.values(), default=-1) + 1)]
    for task in needs:
        columns[placed[task]].append(task)
    return columns


def drawing(view: SessionView) -> Markup:
    """Return the graph as SVG; every task in it is a link to its place on the page."""
    needs = {task.id: task.needs for task in view.ordered()}
    columns = levels(needs)
    places = {
        task: (EDGE + x * (WIDTH + APART), EDGE + y * (HEIGHT + BETWEEN))
        for x, column in enumerate(columns)
        for y, task in enumerate(column)
    }
    wide = 2 * EDGE + len(columns) * (WIDTH + APART) - APART
    high = 2 * EDGE + max(map(len, columns), default=0) * (HEIGHT + BETWEEN) - BETWEEN
    edges = [_edge(places[need], places[task]) for task, all_of in needs.items() for need in all_of if need in places]
    boxes = [_box(view, task, place) for task, place in places.items()]
    marker = tag("path", d="M0 0L8 4L0 8z", class_="tip")
    arrow = tag(
        "defs",
        tag(
            "marker", marker, id="tip", viewBox="0 0 8 8", refX=8, refY=4, markerWidth=7, markerHeight=7, orient="auto"
        ),
    )
    return tag(
        "svg",
        arrow,
        *edges,
        *boxes,
        width=wide,
        height=high,
        viewBox=f"0 0 {wide} {high}",
        role="group",
        aria_label="Dependency graph: each task with an arrow to those that need it",
    )


def _edge(start: tuple[int, int], end: tuple[int, int]) -> Markup:
    x, y = start[0] + WIDTH, start[1] + HEIGHT // 2
    to_x, to_y = end[0], end[1] + HEIGHT // 2
    bend = APART // 2
    path = f"M{x} {y}C{x + bend} {y} {to_x - bend} {to_y} {to_x} {to_y}"
    return tag("path", d=path, class_="edge", marker_end="url(#tip)", aria_hidden="true")


def _box(view: SessionView, task: str, place: tuple[int, int]) -> Markup:
    said = task_word(view, view.tasks[task])
    x, y = place
    return tag(
        "a",
        tag("rect", x=x, y=y, width=WIDTH, height=HEIGHT, rx=4, class_=f"box {tone(said)}"),
        tag("text", clip(task, 20), x=x + 10, y=y + 19),
        tag("text", said, x=x + 10, y=y + 36, class_="soft"),
        href=f"#{task_id(task)}",
        aria_label=f"{task}: {said}",
    )
