"""The store contract: `CoordStore` is the specification, `StoreBase` what backends build on."""

from coordstore.store.base import StoreBase
from coordstore.store.clock import Clock, SystemClock, clock_of
from coordstore.store.feeds import Feeds
from coordstore.store.lease import Lease
from coordstore.store.protocol import CoordStore, Fence

__all__ = ["Clock", "CoordStore", "Feeds", "Fence", "Lease", "StoreBase", "SystemClock", "clock_of"]
