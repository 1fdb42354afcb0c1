"""The log of a session: one JSON object a line, each with the session, task, agent and worktree that it is about.

Whom a line is about is known by three ways, the first that tells counts: an agent or task among its arguments, an
argument that has one (an action), and the attempt in whose task of the event loop it was written.
"""

from __future__ import annotations

import logging
import os
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from coordstore.errors import InvalidKey
from coordstore.session.keys import split_agent
from coordstore.session.values import as_value

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

__all__ = ["JsonLines", "about", "log_to"]

about: ContextVar[str | None] = ContextVar("about", default=None)
"""The attempt that the present task of the event loop carries out."""

PACKAGES: Final = (
    "coordstore",
    "coordstore_etcd",
    "coordstore_file",
    "coordstore_orchestrator",
    "coordstore_sqlite",
    "opentelemetry",
)


class JsonLines(logging.Formatter):
    """Makes a JSON line of a log record.

    Args:
        session: The session's name; None: a worker of many.
        tasks: The ids of its tasks; None: any.
        worktrees: The folder that holds the agents' worktrees.
    """

    def __init__(self, session: str | None, tasks: Collection[str] | None, worktrees: Path) -> None:
        super().__init__()
        self._session = session
        self._tasks = None if tasks is None else frozenset(tasks)
        self._worktrees = worktrees

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        task, agent = self._about(record)
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "session": self._session,
            "task": task,
            "agent": agent,
            "worktree": str(self._worktrees / agent) if agent else None,
            "logger": record.name,
            "pid": record.process,
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return as_value(line).decode()

    def _about(self, record: logging.LogRecord) -> tuple[str | None, str | None]:
        """Return the task and the agent that a record is about, each None when it is about none."""
        arguments = record.args if isinstance(record.args, tuple) else ()
        for found in arguments:
            named = [found, getattr(found, "agent", None), getattr(found, "task", None)]
            for name in named:
                if isinstance(name, str) and (known := self._known(name)):
                    return known
        return self._known(about.get() or "") or (None, None)

    def _known(self, name: str) -> tuple[str, str | None] | None:
        if self._tasks is not None and name in self._tasks:
            return name, None
        try:
            task, _ = split_agent(name)
        except InvalidKey:
            return None
        return (task, name) if self._tasks is None or task in self._tasks else None


def log_to(folder: Path, session: str | None = None, tasks: Collection[str] | None = None) -> None:
    """Write the library's log lines to ``coord.log`` in the session's folder instead of the terminal; blocks."""
    path = folder / "coord.log"
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600))
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(JsonLines(session, tasks, folder / "worktrees"))
    for package in PACKAGES:
        logger = logging.getLogger(package)
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
