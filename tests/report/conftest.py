"""A session to report on: work that landed, work that failed with evidence, and texts that try to become markup."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from coordstore import open_store
from coordstore.cli.report.account import Account, read_account
from coordstore.session import State, events
from coordstore.session.session import Session, as_value
from tests.report.browser import Browser, find_chromium

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from coordstore import CoordStore

BASE = "0123456789abcdef0123456789abcdef01234567"
NOW = datetime(2030, 1, 31, 12, 10, tzinfo=UTC)
HOSTILE = (
    "</pre><script>document.title='owned'</script><img src=//evil.example/x onerror=alert(1)>\u202e\x1b[2J&amp;\"'"
)
TASKS: dict[str, dict[str, Any]] = {
    "parser": {"name": "Write the parser", "prompt": f"Parse it.\n{HOSTILE}", "writes": ["src/parser"], "needs": []},
    "printer": {"name": "Write the printer", "writes": ["src/printer"], "needs": []},
    "tests": {"name": f"Tests {HOSTILE}", "writes": ["tests"], "needs": ["parser", "printer"], "checks": ["make test"]},
    "docs": {"name": "Documentation", "writes": ["docs"], "needs": ["parser"]},
    "release": {"name": "Release notes", "writes": ["NEWS"], "needs": ["tests", "docs"]},
}


def at(clock: str) -> datetime:
    return datetime.fromisoformat(f"2030-01-31T{clock}Z")


class Telling:
    """Fills a store with the session `forge`."""

    def __init__(self, store: CoordStore) -> None:
        self.session = Session(store, "forge")
        self.store = store

    async def attempt(self, task: str, begin: str, end: str, new: State, *told: events.Event, **result: Any) -> str:
        await self.session.assign((await self.session.view()).tasks[task], BASE)
        latest = (await self.session.view()).tasks[task].latest
        assert latest
        agent = latest.agent
        claim = await self.session.claim(agent, (), {"host": "forge.example"}, await self.store.grant(600))
        await claim.report(*told, pid=4711, branch=agent, worktree=f"/w/{agent}", step=len(told))
        await claim.finish(new, {"commit": BASE, **result})
        for name, clock in (("started", begin), ("ended", end)):
            await self.store.put(self.session.keys.agent(agent, name), f"2030-01-31T{clock}Z".encode())
        return agent

    async def merged(self, task: str, agent: str, **how: Any) -> None:
        told = events.Integrated(merged="merged" in how, commit=BASE, reason=how.get("refused"))
        await self.store.transact((), (), [self.session.event(agent, told)])
        await self.store.put(self.session.keys.merged(task), as_value({"agent": agent, **how}))

    async def tell(self) -> None:
        meta = {"goal": "Forge a parser", "digest": "d", "base": BASE, "created": "2030-01-31T12:00:00Z"}
        await self.session.create({**meta, "order": list(TASKS)}, TASKS)
        calls = [events.ToolCall(at=at(f"12:0{n}:00"), name="edit", digest="d", summary="src") for n in range(1, 5)]
        usage = [
            events.Usage(input_tokens=1000, output_tokens=50, cost_usd=0.25),
            events.Usage(input_tokens=4000, output_tokens=200, cost_usd=1.5),
            events.Usage(input_tokens=10, output_tokens=1, cost_usd=0.01),  # another program took over
        ]
        done = await self.attempt("parser", "12:00:30", "12:05:00", State.COMPLETED, *calls, *usage)
        await self.merged("parser", done, merged=True, commit=BASE)
        done = await self.attempt("printer", "12:00:30", "12:03:00", State.COMPLETED, calls[0])
        await self.merged("printer", done, merged=True, commit=BASE)
        failed = events.ToolResult(at=at("12:06:00"), name="edit", ok=False, summary=HOSTILE)
        check = events.CheckRun(command="make test", ok=False, code=2, output=f"3 of 40 failed\n{HOSTILE}")
        reason = {"reason": f"check failed: make test {HOSTILE}", "code": "check"}
        trouble: list[events.Event] = [events.Error(text=f"error {HOSTILE}"), events.Message(text="I give up"), check]
        await self.attempt("tests", "12:05:00", "12:06:30", State.FAILED, failed, *trouble, **reason)
        await self.attempt("tests", "12:06:40", "12:08:00", State.FAILED, failed, *trouble, **reason)
        done = await self.attempt("docs", "12:05:00", "12:07:00", State.COMPLETED)
        await self.merged("docs", done, refused="conflicts with what was merged before it, in README", files=["README"])
        view = await self.session.view()
        await self.session.cancel_unstarted(view.tasks["release"], "needs tests, which failed")
        result = {"final": "partial", "landed": ["parser", "printer"], "ref": "refs/heads/coord/forge", "commit": BASE}
        await self.store.put(self.session.keys.result, as_value({**result, "ended": "2030-01-31T12:08:10Z"}))


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Return the URL of a store with the session `forge`."""
    found = f"sqlite:{tmp_path}/store.db"

    async def fill() -> None:
        async with open_store(found) as store:
            await Telling(store).tell()

    asyncio.run(fill())
    return found


@pytest.fixture
def account(url: str) -> Account:
    """Return the account of that session."""

    async def read() -> Account:
        async with open_store(url) as store:
            return await read_account(store, "forge", NOW)

    return asyncio.run(read())


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    """Return a headless Chromium with one empty page."""
    program = find_chromium()
    if program is None:
        pytest.skip("chromium is not installed")
    with Browser(program, tmp_path / "profile") as found:
        yield found
