"""How a process of a campaign comes to hold a key on a lease, however busy the machine is."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from coordstore.errors import LeaseLost

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from coordstore import CoordStore
    from coordstore.store import Lease

__all__ = ["held"]


async def held(store: CoordStore, key: str, ttl: int, stack: AsyncExitStack) -> tuple[Lease, int]:
    """Create a key on a lease that is renewed; return both the lease and the token.

    When the machine is so busy that the lease ends before the key is there, another one is tried.
    """
    while True:
        lease = await stack.enter_async_context(await store.grant(ttl))
        with suppress(LeaseLost):
            return lease, await store.create(key, b"", lease=lease)
