"""The conformance suite: derive a test class from `StoreTests` and override the fixture `open_store`."""

import pytest

pytest.register_assert_rewrite(
    *(
        f"{__name__}.{topic}"
        for topic in (
            "cancellation closing fencing follow identity keys kv leases limits resolve streams topic transactions watch writes"
        ).split()
    )
)

from coordstore.testing.suite.store_tests import TOPICS, StoreTests  # noqa: E402  (after the rewriting is asked for)
from coordstore.testing.suite.topic import Advance, OpenStore, Topic  # noqa: E402  (likewise)

__all__ = ["TOPICS", "Advance", "OpenStore", "StoreTests", "Topic"]
