"""What is public exists, and every error survives a pickle with what it knows."""

from __future__ import annotations

import importlib
import pickle
from pathlib import Path
from typing import Any

import pytest

from coordstore.errors import CoordError

ROOT = Path(__file__).resolve().parents[2]
SOURCE_ROOTS = (ROOT / "coordstore", ROOT / "backends", ROOT / "orchestrator")
# The positional arguments of errors that take more than a message, by the error's name.
SAMPLES: dict[str, tuple[Any, ...]] = {}


def modules() -> list[str]:
    """Return the names of all our modules, from their files: a broken one fails its own tests only."""
    found = []
    for root in SOURCE_ROOTS:
        base = ROOT if root.name == "coordstore" else root
        for path in sorted(root.rglob("*.py")):
            parts = path.relative_to(base).with_suffix("").parts
            found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return [name for name in found if not name.endswith("__main__")]


def errors_of(name: str) -> list[type[CoordError]]:
    """Return the errors that a module defines."""
    module = importlib.import_module(name)
    classes = (value for value in vars(module).values() if isinstance(value, type) and value.__module__ == name)
    return [error for error in classes if issubclass(error, CoordError)]


def example(error: type[CoordError]) -> CoordError:
    """Make an error; one that takes more than a message finds its arguments in SAMPLES."""
    return error(*SAMPLES.get(error.__name__, ("what, where, what to do",)))


@pytest.mark.parametrize("name", modules())
def test_every_public_name_exists_once(name: str) -> None:
    module = importlib.import_module(name)
    names = getattr(module, "__all__", [])
    assert len(set(names)) == len(names)
    assert [each for each in names if not hasattr(module, each)] == []


@pytest.mark.parametrize("name", modules())
def test_every_error_survives_a_pickle_with_its_details(name: str) -> None:
    for error in errors_of(name):
        made = example(error)
        for detail, value in vars(made).items():
            if isinstance(value, int | str) or value is None:
                setattr(made, detail, f"set {detail}")
        made.add_note("where it happened")
        back = pickle.loads(pickle.dumps(made))  # noqa: S301 - bytes made in the same line
        assert type(back) is error
        assert (str(back), back.args, vars(back)) == (str(made), made.args, vars(made))


@pytest.mark.parametrize("name", modules())
def test_every_error_says_what_it_means(name: str) -> None:
    assert [error.__name__ for error in errors_of(name) if not vars(error).get("__doc__")] == []
