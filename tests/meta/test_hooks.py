"""Every hook has one sentence and a heading in the docs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from coordstore import hookspecs as library
from coordstore_orchestrator.agents import hookspecs as agents
from coordstore_orchestrator.plan import hookspecs as plans
from coordstore_orchestrator.review import hookspecs as review

PAGE = Path(__file__).parents[2] / "docs" / "plugins.md"
HOOKS: dict[str, Any] = {
    name: value
    for module in (library, agents, plans, review)
    for name, value in vars(module).items()
    if name.startswith("register_") and callable(value)
}


def test_there_are_hooks() -> None:
    assert {"register_backends", "register_commands", "register_profiles", "register_forges"} <= set(HOOKS)


@pytest.mark.parametrize("name", sorted(HOOKS))
def test_a_hook_is_one_sentence_and_has_its_heading(name: str) -> None:
    said = (HOOKS[name].__doc__ or "").strip()
    assert re.fullmatch(r"[A-Z][^.]*\.", said), f"{name}: one sentence, not {said!r}"
    assert f"\n## {name}\n" in PAGE.read_text(encoding="utf-8"), f"docs/plugins.md has no heading for {name}"
