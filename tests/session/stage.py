"""What the tests of sessions stand on: one session in a memory store on virtual time, and short ways to move it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from coordstore.session import SessionView, State
from coordstore.session.session import Session
from coordstore.testing import Clock, MemoryStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from coordstore.model import Check, Committed, Transaction
    from coordstore.session import Attempt, Task
    from coordstore.session.claim import Claim
    from coordstore.store import Lease

HOLDER = {"host": "here", "pid": 7}
META = {"goal": "all is well", "digest": "d1", "base": "c0"}


class Interrupted(MemoryStore):
    """A store in which something happens just before the next write of a certain key, or before a deletion."""

    before: tuple[str, Callable[[], Awaitable[object]]] | None = None

    async def do_transact(self, txn: Transaction) -> Committed:
        await self._meet(*(write.key for write in txn.writes))
        return await super().do_transact(txn)

    async def do_delete_prefix(self, prefix: str) -> int:
        await self._meet(prefix)
        return await super().do_delete_prefix(prefix)

    async def _meet(self, *keys: str) -> None:
        if self.before is not None and self.before[0] in keys:
            happens, self.before = self.before[1], None
            await happens()


class Stage:
    """One session and its store."""

    def __init__(self, name: str = "s1") -> None:
        self.clock = Clock()
        self.store = Interrupted(clock=self.clock)
        self.session = Session(self.store, name)
        self.keys = self.session.keys

    async def create(self, *tasks: str, **specs: Mapping[str, Any]) -> Stage:
        """Create the session with these tasks; `specs` are the ones that are not bare."""
        await self.session.create(META, {**{task: {} for task in tasks}, **specs})
        return self

    async def task(self, task: str) -> Task:
        return (await self.session.view()).tasks[task]

    async def attempt(self, agent: str) -> Attempt:
        found = (await self.session.view()).attempt(agent)
        assert found is not None
        return found

    async def assign(self, task: str, fence: Check | None = None) -> str:
        """Assign the task's next attempt and return its name."""
        await self.session.assign(await self.task(task), "c0", fence=fence)
        latest = (await self.task(task)).latest
        assert latest is not None
        return latest.agent

    async def lease(self) -> Lease:
        """Return a lease that nobody renews."""
        return await self.store.grant(10)

    async def claim(self, agent: str, lease: Lease | None = None) -> Claim:
        labels = (await self.task(agent.partition(".")[0])).labels
        return await self.session.claim(agent, labels, HOLDER, lease or await self.lease())

    async def running(self, task: str) -> Claim:
        """Assign and claim."""
        return await self.claim(await self.assign(task))

    async def bring(self, task: str, state: State) -> str:
        """Make an attempt of the task that is in this state; return its name."""
        agent = await self.assign(task)
        if state is State.CANCELLED:
            await self.session.end(await self.attempt(agent), state, {"reason": "brought there"})
        elif state is not State.PENDING:
            claim = await self.claim(agent)
            if state is not State.RUNNING:
                await claim.finish(state, {"reason": "brought there"})
        return agent

    async def bring_all(self) -> dict[str, str]:
        """Complete every task; return what became of them."""
        for task in (await self.session.view()).ordered():
            await self.bring(task.id, State.COMPLETED)
        return await self.states()

    async def states(self) -> dict[str, str]:
        """Return the state of each attempt."""
        view = await self.session.view()
        return {attempt.agent: str(attempt.state) for task in view.tasks.values() for attempt in task.attempts}

    def contents(self) -> tuple[dict[str, bytes], dict[str, int]]:
        """Return all keys with their values and all streams with their heads: what a refused move leaves alone."""
        state = self.store.memory.state
        entries = state.list("", None, None, keys_only=False).entries
        return {entry.key: entry.value for entry in entries}, {
            name: head for name, (_, head) in state.spans("").items()
        }


def view_of(stage: Stage, name: str = "s1") -> SessionView:
    """Return the session's view from the state itself, past the store's surface."""
    cut = stage.store.memory.state.list(name, None, None, keys_only=False)
    return SessionView.of(name, cut.entries, cut.revision)
