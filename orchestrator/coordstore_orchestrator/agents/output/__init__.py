"""Readers of what agents print: each turns one kind of stream into typed events."""

from coordstore_orchestrator.agents.output.reader import Reader
from coordstore_orchestrator.agents.output.registry import UnknownOutput, known_outputs, open_reader

__all__ = ["Reader", "UnknownOutput", "known_outputs", "open_reader"]
