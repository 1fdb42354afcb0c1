"""A SQLite store's place, and other processes that use it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest

from tests.children import Child, children, source_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def url(path: Path) -> str:
    return f"sqlite:{path}"


@pytest.fixture
def program() -> Callable[[str], str]:
    return functools.partial(source_of, "sqlite")


@pytest.fixture
def child(path: Path) -> Iterator[Callable[..., Child]]:
    yield from children("sqlite", path)
