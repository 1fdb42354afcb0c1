"""One place where assignments are written and status is read, behind one protocol and several backends.

>>> import asyncio
>>> from coordstore import open_store
>>> async def main():
...     async with open_store("memory:") as store:
...         await store.put("agents/t1.1/status", b"running")
...         return await store.get("agents/t1.1/status")
>>> asyncio.run(main())
Entry(key='agents/t1.1/status', value=b'running', revision=1, create_revision=1, lease=None)
"""

from coordstore import errors
from coordstore.model import (
    Append,
    Batch,
    Change,
    Check,
    Delete,
    Entry,
    LeaseInfo,
    Listing,
    Put,
    Record,
    Resolution,
    StoreInfo,
)
from coordstore.plugins import open_store
from coordstore.store import CoordStore, Lease

__all__ = [
    "Append",
    "Batch",
    "Change",
    "Check",
    "CoordStore",
    "Delete",
    "Entry",
    "Lease",
    "LeaseInfo",
    "Listing",
    "Put",
    "Record",
    "Resolution",
    "StoreInfo",
    "errors",
    "open_store",
]
