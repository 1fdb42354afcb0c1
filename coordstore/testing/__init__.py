"""What a backend's author and a user's tests need: MemoryStore, virtual time, the conformance suite."""

from typing import TYPE_CHECKING, Any

from coordstore.testing.clock import Clock
from coordstore.testing.memory import Memory, MemoryStore

if TYPE_CHECKING:
    from coordstore.testing.suite import StoreTests

__all__ = ["Clock", "Memory", "MemoryStore", "StoreTests"]


def __getattr__(name: str) -> Any:  # noqa: ANN401  (what a module's attribute is)
    """Import the suite at its first use: pytest is not needed by who only wants a MemoryStore."""
    if name == "StoreTests":
        from coordstore.testing.suite import StoreTests

        return StoreTests
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
