"""The planner that has its plan already, in a file."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from coordstore.errors import InvalidArgument
from coordstore_orchestrator.plan.load import load_plan

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["FilePlanner", "make"]


class FilePlanner:
    """Answers with the plan of a file, whatever the goal.

    Args:
        path: The file, or ``-`` for standard input.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    async def propose(self, prompt: str) -> str:
        """Return the file's plan; a `PlanError` tells where in it something is wrong."""
        del prompt
        return json.dumps((await asyncio.to_thread(load_plan, self._path)).as_json())


def make(arguments: Sequence[str]) -> FilePlanner:
    """Return the planner for one path."""
    if len(arguments) != 1:
        message = "the planner file takes one path: coord plan make GOAL --planner file PATH"
        raise InvalidArgument(message)
    return FilePlanner(arguments[0])
