"""The conformance suite: derive a test class from `StoreTests` and override the fixture `open_store`."""

import pkgutil

import pytest

pytest.register_assert_rewrite(*(f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__)))

from coordstore.testing.suite.store_tests import TOPICS, StoreTests  # noqa: E402  (after the rewriting is asked for)
from coordstore.testing.suite.topic import Advance, OpenStore, Topic  # noqa: E402  (likewise)

__all__ = ["TOPICS", "Advance", "OpenStore", "StoreTests", "Topic"]
