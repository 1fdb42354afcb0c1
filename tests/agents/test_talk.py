"""What is sent to an agent after its last word is left where it is, for the next attempt."""

from __future__ import annotations

import asyncio
import json
import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from coordstore_orchestrator.worker.talk import Talk

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Box:
    """Mail of which one message comes at once and one whenever the test says."""

    def __init__(self) -> None:
        self.comes, self.begun = asyncio.Event(), asyncio.Event()
        self.taken = 0

    async def deliver(self, hand: Callable[[str], None]) -> None:
        for text in ("first", "second"):
            self.taken += 1
            hand(text)
            self.begun.set()
            await self.comes.wait()


@pytest.mark.req("R7")
async def test_mail_that_comes_after_the_last_word_is_not_taken(tmp_path: Path) -> None:
    prompt = tmp_path / "prompt.md"
    await asyncio.to_thread(prompt.write_text, "do it")
    box: Any = Box()
    observer: Any = SimpleNamespace(line=lambda *_: None, reader=SimpleNamespace(ended=False))
    talk = Talk(prompt, box)
    reads = talk.inlet.open()
    talking = asyncio.create_task(talk.run())
    await box.begun.wait()
    talk.hear(observer, "stdout", b"{}")
    assert not talking.done()
    observer.reader.ended = True
    talk.hear(observer, "stdout", b"{}")
    box.comes.set()
    await asyncio.gather(talking, return_exceptions=True)
    with os.fdopen(reads, "rb") as pipe:
        said = (await asyncio.to_thread(pipe.read)).splitlines()
    assert [json.loads(line)["message"]["content"][0]["text"] for line in said] == ["do it", "first"]
    assert box.taken == 1
