"""What a reviewing agent wrote is a decision, or none at all."""

from __future__ import annotations

from typing import Any

import pytest

from coordstore.errors import InvalidArgument
from coordstore.plugins import PluginError
from coordstore.session.changes import ChangeState
from coordstore_orchestrator.review import registry
from coordstore_orchestrator.review.registry import check_names, forges, reviewers
from coordstore_orchestrator.review.reviewers import parse_verdict

pytestmark = pytest.mark.req("G3")


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("approve", ChangeState.APPROVED),
        ("  Approve.\n", ChangeState.APPROVED),
        ("REJECT\nbecause", ChangeState.REJECTED),
        ("request changes\nmore tests", ChangeState.CHANGES_REQUESTED),
        ("Request-Changes:\nmore tests", ChangeState.CHANGES_REQUESTED),
        ("request changes", None),
        ("", None),
        ("I approve of this", None),
        ("approved? no\napprove", None),
        ("\x00\x1b[2J", None),
    ],
)
def test_a_verdict_is_a_word_on_the_first_line(text: str, state: ChangeState | None) -> None:
    found = parse_verdict(text, "critic")
    assert (found.state if found else None) is state


def test_the_built_in_ones_are_there_and_others_are_refused_by_name() -> None:
    assert set(reviewers()) == {"person", "validation"}
    assert set(forges()) == {"local", "github", "gitlab"}
    check_names("person", "local", [])
    check_names("claude:some-model", "local", ["claude"])
    with pytest.raises(InvalidArgument, match="there are person, validation, claude"):
        check_names("nobody", "local", ["claude"])
    with pytest.raises(InvalidArgument, match="there are github, gitlab, local"):
        check_names("person", "nowhere", [])


def test_two_plugins_with_one_name_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Twice:
        class hook:  # noqa: N801  (pluggy's name)
            @staticmethod
            def register_reviewers(register: Any) -> None:
                register("person", "a:b", summary="one")
                register("person", "c:d", summary="two")

    monkeypatch.setattr(registry, "_plugins", Twice)
    with pytest.raises(PluginError, match="reviewer 'person'"):
        reviewers()
