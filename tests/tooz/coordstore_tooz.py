"""A driver of tooz over this library: every operation goes through the recipes and the blocking facade.

``coordstore://?store=sqlite:/path/store.db``: which store; ``timeout=``: seconds without a
heartbeat after which a member is gone.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import json
from typing import TYPE_CHECKING, Any

import tooz
from tooz import coordination, locking

from coordstore import sync
from coordstore.errors import Busy, Conflict, CoordError
from coordstore.recipes import Election, Membership
from coordstore.recipes.lock import Line
from coordstore.recipes.waiting import by_age

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordstore.recipes import Held
    from coordstore.store import CoordStore

GROUPS = "tooz/groups"


def segment(name: bytes | str) -> str:
    """Return a name of any bytes as one segment of a key."""
    data = name.encode() if isinstance(name, str) else name
    return base64.b32encode(data).decode().rstrip("=").lower()


def original(text: str) -> bytes:
    """Return the name that a segment stands for."""
    return base64.b32decode(text.upper() + "=" * (-len(text) % 8))


class Done(coordination.CoordAsyncResult[Any]):
    """The result of something that was done at once."""

    def __init__(self, action: Callable[[], Any]) -> None:
        self._error: Exception | None = None
        self._value: Any = None
        try:
            self._value = action()
        except tooz.ToozError as error:
            self._error = error

    def get(self, timeout: float | None = None) -> Any:
        """Return it, or raise what was raised."""
        if self._error is not None:
            raise self._error
        return self._value

    def done(self) -> bool:
        """Say yes."""
        return True


def at_once(method: Callable[..., Any]) -> Callable[..., Done]:
    """Let a method return its result in the way of tooz."""

    @functools.wraps(method)
    def call(self: Any, *args: Any) -> Done:
        return Done(lambda: method(self, *args))

    return call


class SharedLine(Line):
    """A lock that is also shared: who shares waits for the exclusive ones before it only."""

    kind = "tooz-lock"

    async def _look(self, held: Held, wait: float | None) -> Any:
        listing = await self.store.list(f"{self.prefix}/line/")
        ahead = [entry for entry in by_age(listing.entries) if entry.create_revision < held.token]
        if self.owner == "shared":
            ahead = [entry for entry in ahead if entry.value != b"shared"]
        if not ahead:
            return None
        if wait == 0:
            raise self._busy(len(ahead))
        return ahead[-1].key, listing.revision, lambda change: change.entry is None

    async def _refuse_if_taken(self) -> None:
        """Get in line all the same: what is ahead may be shared."""


class CoordstoreLock(locking.Lock):
    """A lock; its places in line hang on the coordinator's lease."""

    def __init__(self, name: bytes, driver: CoordstoreDriver) -> None:
        super().__init__(name)
        self._driver = driver
        self._held: list[Held] = []

    def acquire(self, blocking: bool | float = True, shared: bool = False, timeout: int | None = None) -> bool:
        """Acquire it."""
        wait = timeout if timeout is not None else {True: None, False: 0}.get(blocking, blocking)

        async def stand(store: CoordStore) -> Held:
            mode = "shared" if shared else "exclusive"
            line = SharedLine(store, segment(self.name), lease=self._driver.lease, owner=mode)
            return await line.stand(mode.encode(), wait)

        try:
            self._held.append(self._driver.run(stand))
        except Busy:
            return False
        return True

    def release(self) -> bool:
        """Release it; False: it was not held, or broken meanwhile."""
        if not self._held:
            return False
        held = self._held.pop(0)

        async def leave(store: CoordStore) -> bool:
            there = await store.get(held.key) is not None
            await held.release()
            return there

        return bool(self._driver.run(leave))

    def break_(self) -> bool:
        """Take it from whoever holds it."""
        prefix = f"@tooz-lock/{segment(self.name)}"
        return bool(self._driver.run(lambda store: store.delete_prefix(prefix)))

    def is_still_owner(self) -> bool:
        """Tell whether it is held."""
        return bool(self._held) and not self._held[0].lost

    def heartbeat(self) -> bool:
        """Tell whether it is held; the coordinator's heartbeat renews it."""
        return self.is_still_owner()


class CoordstoreDriver(coordination.CoordinationDriverCachedRunWatchers):
    """The coordinator."""

    CHARACTERISTICS = (
        coordination.Characteristics.DISTRIBUTED_ACROSS_THREADS,
        coordination.Characteristics.DISTRIBUTED_ACROSS_PROCESSES,
        coordination.Characteristics.LINEARIZABLE,
    )

    def __init__(self, member_id: bytes, parsed_url: Any, options: dict[str, Any]) -> None:
        member = member_id.encode() if isinstance(member_id, str) else member_id
        super().__init__(member, parsed_url, options)
        self._url = options["store"][-1]
        self._ttl = int(options.get("timeout", ["30"])[-1])
        self._leads: dict[bytes, Held] = {}

    def _start(self) -> None:
        try:
            self._store = sync.open_store(self._url)
            self.lease = self.run(lambda store: store.grant(self._ttl))
        except CoordError as error:
            raise coordination.ToozConnectionError(str(error)) from error

    def _stop(self) -> None:
        self._leads.clear()
        self.run(lambda _: self.lease.revoke())
        self._store.close()

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run a coroutine function on the store's thread."""
        return self._store.run(function, *args)

    def heartbeat(self) -> float:
        """Renew the lease."""
        self.run(lambda _: self.lease.renew())
        return self._ttl / 3

    # Groups ------------------------------------------------------------------------------------------------------

    @at_once
    def create_group(self, group_id: bytes) -> None:
        """Create a group."""
        try:
            self._store.create(f"{GROUPS}/{segment(group_id)}", b"")
        except Conflict as conflict:
            raise coordination.GroupAlreadyExist(group_id) from conflict

    @at_once
    def get_groups(self) -> list[bytes]:
        """Return the groups."""
        return [original(entry.key.rpartition("/")[2]) for entry in self._store.list(f"{GROUPS}/").entries]

    @at_once
    def delete_group(self, group_id: bytes) -> None:
        """Delete an empty group."""
        if self._members(group_id):
            raise coordination.GroupNotEmpty(group_id)
        self._store.delete(f"{GROUPS}/{segment(group_id)}")

    @at_once
    def join_group(self, group_id: bytes, capabilities: Any = None) -> None:
        """Join a group."""
        self._members(group_id)
        value = b"" if capabilities is None else json.dumps(capabilities).encode()
        try:
            self.run(lambda store: self._group(store, group_id).join(segment(self._member_id), value))
        except Busy as busy:
            raise coordination.MemberAlreadyExist(group_id, self._member_id) from busy
        self._joined_groups.add(group_id)

    @at_once
    def leave_group(self, group_id: bytes) -> None:
        """Leave a group, also for another one of the same name."""
        self._member(group_id, self._member_id)
        self._store.delete(f"@membership/{segment(group_id)}/members/{segment(self._member_id)}")
        self._joined_groups.discard(group_id)

    @at_once
    def get_members(self, group_id: bytes) -> set[bytes]:
        """Return who is there."""
        return set(self._members(group_id))

    @at_once
    def get_member_capabilities(self, group_id: bytes, member_id: bytes) -> Any:
        """Return what one says."""
        return self._member(group_id, member_id)

    @at_once
    def get_members_with_capabilities(self, group_id: bytes) -> dict[bytes, Any]:
        """Return who is there, and what each says."""
        return self._members(group_id)

    @at_once
    def get_member_info(self, group_id: bytes, member_id: bytes) -> dict[str, Any]:
        """Return what one says, in another wrapping."""
        return {"capabilities": self._member(group_id, member_id)}

    @at_once
    def update_capabilities(self, group_id: bytes, capabilities: Any) -> None:
        """Say something else."""
        self._member(group_id, self._member_id)
        key = f"@membership/{segment(group_id)}/members/{segment(self._member_id)}"
        self._store.put(key, json.dumps(capabilities).encode(), lease=self.lease.id)

    # Leaders -----------------------------------------------------------------------------------------------------

    def run_elect_coordinator(self) -> None:
        """Stand for what nobody leads, and tell who wants to know when that is us."""
        for group_id, hooks in list(self._hooks_elected_leader.items()):
            if group_id not in self._leads and hooks:
                self._stand(group_id, hooks)

    def run_watchers(self, timeout: float | None = None) -> list[Any]:
        """Stand for election, then tell of who came and went."""
        self.run_elect_coordinator()
        return super().run_watchers(timeout)

    def stand_down_group_leader(self, group_id: bytes) -> bool:
        """Lead no longer."""
        held = self._leads.pop(group_id, None)
        if held is not None:
            self.run(lambda _: held.release())
        return held is not None

    @at_once
    def get_leader(self, group_id: bytes) -> bytes | None:
        """Return who leads."""
        leader = self.run(lambda store: Election(store, segment(group_id)).leader())
        return leader.value if leader else None

    def get_lock(self, name: bytes) -> CoordstoreLock:
        """Return a lock."""
        return CoordstoreLock(name, self)

    # -------------------------------------------------------------------------------------------------------------

    def _stand(self, group_id: bytes, hooks: coordination.Hooks) -> None:
        async def campaign(store: CoordStore) -> Held:
            election = Election(store, segment(group_id), lease=self.lease)
            return await election.campaign(self._member_id, wait=0)

        try:
            self._leads[group_id] = self.run(campaign)
        except Busy:
            return
        hooks.run(coordination.LeaderElected(group_id, self._member_id))

    def _group(self, store: CoordStore, group_id: bytes) -> Membership:
        return Membership(store, segment(group_id), lease=self.lease)

    def _members(self, group_id: bytes) -> dict[bytes, Any]:
        async def found(store: CoordStore) -> Any:
            group, members = await asyncio.gather(
                store.get(f"{GROUPS}/{segment(group_id)}"), self._group(store, group_id).members()
            )
            return members if group else None

        members = self.run(found)
        if members is None:
            raise coordination.GroupNotCreated(group_id)
        return {original(name): json.loads(value) if value else None for name, value in members.items()}

    def _member(self, group_id: bytes, member_id: bytes) -> Any:
        members = self._members(group_id)
        name = member_id.encode() if isinstance(member_id, str) else member_id
        if name not in members:
            raise coordination.MemberNotJoined(group_id, member_id)
        return members[name]
