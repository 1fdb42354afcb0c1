"""The same store for code without an event loop: scripts, threads, notebooks.

>>> from coordstore import sync
>>> with sync.open_store("memory:") as store:
...     store.put("agents/t1.1/status", b"running")
...     store.get("agents/t1.1/status").value
1
b'running'
"""

from coordstore.sync.store import Feed, Lease, Store, open_store
from coordstore.sync.thread import InsideEventLoop

__all__ = ["Feed", "InsideEventLoop", "Lease", "Store", "open_store"]
