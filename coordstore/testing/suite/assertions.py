"""Asks pytest to explain the suite's asserts as it does those of test files; imported before any of its topics."""

import pkgutil
from pathlib import Path

import pytest

__all__: list[str] = []

_here = Path(__file__)
_topics = [module.name for module in pkgutil.iter_modules([str(_here.parent)]) if module.name != _here.stem]
pytest.register_assert_rewrite(*(f"{__package__}.{topic}" for topic in _topics))
