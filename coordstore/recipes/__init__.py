"""What is built on the store's protocol alone, the same on every backend.

>>> import asyncio
>>> from coordstore import open_store
>>> from coordstore.recipes import Lock
>>> async def main():
...     async with open_store("memory:") as store:
...         async with await Lock(store, "merge").acquire() as held:
...             await store.put("result", b"42", fence=held.fence)
...         return await store.get("result")
>>> asyncio.run(main()).value
b'42'
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coordstore.recipes.barrier import Barrier, DoubleBarrier
    from coordstore.recipes.counter import Counter
    from coordstore.recipes.election import Election, Leader, Leadership
    from coordstore.recipes.held import Held
    from coordstore.recipes.lock import Lock
    from coordstore.recipes.mailbox import Mailbox, Message
    from coordstore.recipes.membership import Member, Membership
    from coordstore.recipes.pool import Pool, Reservation
    from coordstore.recipes.scratchpad import Note, Scratchpad
    from coordstore.recipes.semaphore import Semaphore

__all__ = [
    "Barrier",
    "Counter",
    "DoubleBarrier",
    "Election",
    "Held",
    "Leader",
    "Leadership",
    "Lock",
    "Mailbox",
    "Member",
    "Membership",
    "Message",
    "Note",
    "Pool",
    "Reservation",
    "Scratchpad",
    "Semaphore",
]

_WHERE = {
    "DoubleBarrier": "barrier",
    "Leader": "election",
    "Leadership": "election",
    "Member": "membership",
    "Message": "mailbox",
    "Note": "scratchpad",
    "Reservation": "pool",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401  (what a module's attribute is)
    """Import a recipe at its first use: who wants a lock does not pay for the mailbox."""
    if name in __all__:
        return getattr(import_module(f"coordstore.recipes.{_WHERE.get(name, name.lower())}"), name)
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
