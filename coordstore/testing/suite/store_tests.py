"""The whole conformance suite in one class, for a backend's test file to derive from."""

from __future__ import annotations

from typing import Final

from coordstore.testing.suite.cancellation import CancellationTests
from coordstore.testing.suite.closing import ClosingTests
from coordstore.testing.suite.fencing import FencingTests
from coordstore.testing.suite.follow import FollowTests
from coordstore.testing.suite.identity import IdentityTests
from coordstore.testing.suite.keys import NameTests
from coordstore.testing.suite.kv import KeyTests
from coordstore.testing.suite.leases import LeaseTests
from coordstore.testing.suite.limits import LimitTests
from coordstore.testing.suite.resolve import ResolveTests
from coordstore.testing.suite.streams import StreamTests
from coordstore.testing.suite.topic import Topic
from coordstore.testing.suite.transactions import TransactionTests
from coordstore.testing.suite.watch import WatchTests
from coordstore.testing.suite.writes import WriteTests

__all__ = ["TOPICS", "StoreTests"]


class StoreTests(
    KeyTests,
    WriteTests,
    TransactionTests,
    WatchTests,
    StreamTests,
    FollowTests,
    LeaseTests,
    FencingTests,
    CancellationTests,
    LimitTests,
    NameTests,
    ResolveTests,
    IdentityTests,
    ClosingTests,
):
    """Every promise of `CoordStore` as a test; derive from it and override the fixture `open_store`."""


TOPICS: Final[dict[str, type[Topic]]] = {
    topic.__name__: topic for topic in StoreTests.__bases__ if issubclass(topic, Topic)
}
"""The topics by class name."""
