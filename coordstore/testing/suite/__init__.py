"""The conformance suite: derive a test class from `StoreTests` and override the fixture `open_store`."""

from coordstore.testing.suite import assertions
from coordstore.testing.suite.store_tests import TOPICS, StoreTests
from coordstore.testing.suite.topic import Advance, OpenStore, Topic

__all__ = ["TOPICS", "Advance", "OpenStore", "StoreTests", "Topic", "assertions"]
