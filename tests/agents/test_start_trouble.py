"""What keeps an agent from starting is told from its own words, with what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from coordstore.session import events
from coordstore_orchestrator.agents.output import open_reader
from coordstore_orchestrator.agents.trouble import classify

RECORDINGS = Path(__file__).parent / "recordings"


@pytest.mark.req("W7")
@pytest.mark.parametrize(("name", "code"), [("401", "auth"), ("404", "model")])
@pytest.mark.parametrize("agent", ["claude", "codex", "pi"])
def test_real_agents_in_trouble(agent: str, name: str, code: str) -> None:
    reader = open_reader(agent)
    lines = (RECORDINGS / f"{agent}-{name}.jsonl").read_bytes().splitlines()
    told = [event for line in lines for event in reader.feed("stdout", line)]
    errors = [event.text for event in told if isinstance(event, events.Error)]
    found = {trouble.code for text in errors if (trouble := classify(text))}
    assert found == {code}, errors
    assert not reader.acted
    assert reader.failed or (agent, name) == ("claude", "401")  # that one still tries after 40 s


@pytest.mark.req("W7")
@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("unexpected status 401 Unauthorized: no key", "auth"),
        ("API Error: 401 {...}", "auth"),
        ("Error code: 401 - {'error': ...}", "auth"),
        ("Invalid API key · Please run /login", "auth"),
        ("HTTP/1.1 405 Method Not Allowed", "address"),
        ("status code: 404, model gpt-9", "model"),
        ("The model `gpt-9` does not exist", "model"),
        ("connect ECONNREFUSED 127.0.0.1:1", "network"),
        ("[API Error: 404 as the script says]", "model"),
    ],
)
def test_words_are_classified_with_advice(text: str, code: str) -> None:
    found = classify(text)
    assert found is not None
    assert found.code == code
    assert ": " in found.advice


@pytest.mark.parametrize(
    "text", ["line 401 of x.py", "I wrote 404 lines", "status 500", "404.html is ready", "exit status 1", "port 4010"]
)
def test_numbers_that_are_no_status_are_nothing(text: str) -> None:
    assert classify(text) is None
