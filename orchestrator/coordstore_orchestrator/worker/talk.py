"""Talks to an agent that reads messages while it works: first its task, then what is sent to it.

Such an agent ends when its input ends, so that is closed once it says that it has come to its end; what was written
until then it still reads.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from coordstore_orchestrator.agents.prompt import as_message
from coordstore_orchestrator.worker.process import Inlet

if TYPE_CHECKING:
    from pathlib import Path

    from coordstore_orchestrator.worker.observe import Observer
    from coordstore_orchestrator.worker.post import Post

__all__ = ["Talk"]


class Talk:
    """One agent's standard input.

    Args:
        prompt: The file with its task.
        post: What is sent to it.

    Attributes:
        inlet: What it reads.
    """

    def __init__(self, prompt: Path, post: Post) -> None:
        self.inlet = Inlet()
        self._prompt = prompt
        self._post = post
        self._task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Tell it its task, then hand over what comes, until cancelled or closed."""
        self._task = asyncio.current_task()
        try:
            await self.inlet.begin()
            self.inlet.write(as_message(await asyncio.to_thread(self._prompt.read_text)))
            await self._post.deliver(lambda text: self.inlet.write(as_message(text)))
        finally:
            self.inlet.close()

    def close(self) -> None:
        """End its input; what is sent to it from now on stays in its box, for the next attempt if it is the task's."""
        if self._task is not None:
            self._task.cancel()
        self.inlet.close()

    def hear(self, observer: Observer, stream: str, line: bytes) -> None:
        """Pass a line of its output on, and end its input when that was its last word."""
        observer.line(stream, line)
        if observer.reader.ended:
            self.close()
