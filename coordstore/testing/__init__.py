"""What a backend's author and a user's tests need: MemoryStore, virtual time, the conformance suite."""

from coordstore.testing.clock import Clock
from coordstore.testing.memory import Memory, MemoryStore

__all__ = ["Clock", "Memory", "MemoryStore"]
