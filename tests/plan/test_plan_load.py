"""From text to a plan: three languages that say the same, and every way to be wrong told in plain words."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from coordstore_orchestrator.plan import PlanError, Problem, build_plan, load_plan, parse_plan, plan_digest
from coordstore_orchestrator.plan.bounds import PLAN_BYTES_MAX
from coordstore_orchestrator.plan.yaml_data import YamlReader

if TYPE_CHECKING:
    from pathlib import Path

DATA: dict[str, Any] = {
    "goal": "Split the parser",
    "agent": "claude",
    "validate": ["make test"],
    "tasks": [
        {"id": "lexer", "prompt": "Cut it\nout.\n", "writes": ["src/lexer"], "limits": {"idle": 60, "attempts": 2}},
        {
            "id": "docs",
            "name": "Tell people",
            "prompt": "Write.",
            "writes": ["docs/*.md"],
            "reads": ["src"],
            "needs": ["lexer"],
            "agent": {"command": ["sh", "-c", "true"]},
            "size": "small",
            "priority": -2,
            "labels": ["gpu"],
        },
    ],
}
YAML = yaml.safe_dump(DATA, sort_keys=False)
JSON = json.dumps(DATA)
TOML = """
goal = "Split the parser"
agent = "claude"
validate = ["make test"]
[[tasks]]
id = "lexer"
prompt = '''
Cut it
out.
'''
writes = ["src/lexer"]
limits = {idle = 60, attempts = 2}
[[tasks]]
id = "docs"
name = "Tell people"
prompt = "Write."
writes = ["docs/*.md"]
reads = ["src"]
needs = ["lexer"]
agent = {command = ["sh", "-c", "true"]}
size = "small"
priority = -2
labels = ["gpu"]
"""


def problems(text: str, form: Any = None) -> list[str]:
    with pytest.raises(PlanError) as caught:
        parse_plan(text, form)
    lines = str(caught.value).splitlines()
    assert lines == [str(problem) for problem in caught.value.problems]
    assert all(line.isprintable() for line in lines)
    return lines


def task(**changes: Any) -> list[Problem]:
    """Return what is wrong with a plan whose only task is changed so (None: the key is left out)."""
    changed = {"id": "t", "prompt": "x", "writes": ["a"], **changes}
    kept = {key: value for key, value in changed.items() if value is not None}
    with pytest.raises(PlanError) as caught:
        build_plan({"goal": "g", "tasks": [kept]})
    return caught.value.problems


@pytest.mark.req("P1")
def test_three_languages_say_the_same() -> None:
    plans = [parse_plan(YAML, "yaml"), parse_plan(JSON, "json"), parse_plan(TOML, "toml"), build_plan(DATA)]
    assert all(plan == plans[0] for plan in plans)
    assert {plan_digest(plan) for plan in plans} == {plan_digest(plans[0])}
    assert build_plan(plans[0].as_json()) == plans[0]
    assert set(plans[0].as_json()) == set(DATA)


@pytest.mark.req("P1")
@pytest.mark.parametrize("text", [YAML, JSON, TOML, f"# a comment\n\n{TOML}", f"\n# c\n{YAML}", f"---\n{YAML}"])
def test_the_language_is_told_from_the_text(text: str) -> None:
    assert parse_plan(text) == build_plan(DATA)


@pytest.mark.req("P1")
@pytest.mark.parametrize(
    ("name", "text"),
    [("p.yaml", YAML), ("p.yml", YAML), ("p.json", JSON), ("P.TOML", TOML), ("plan", YAML), ("p.txt", TOML)],
)
def test_a_file_is_read_by_its_suffix(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"\xef\xbb\xbf" + text.encode().replace(b"\n", b"\r\n") if name == "p.json" else text.encode())
    assert load_plan(path) == load_plan(str(path)) == build_plan(DATA)


@pytest.mark.parametrize("text", [YAML, JSON, TOML])
def test_a_dash_is_standard_input(text: str) -> None:
    code = "from coordstore_orchestrator.plan import load_plan, plan_digest; print(plan_digest(load_plan('-')))"
    done = subprocess.run([sys.executable, "-c", code], input=text, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == plan_digest(build_plan(DATA))


@pytest.mark.req("T6")
def test_a_task_carries_what_belongs_to_it() -> None:
    lexer, docs = parse_plan(YAML).tasks
    assert (lexer.name, docs.name) == ("lexer", "Tell people")
    assert (lexer.limits.idle, lexer.limits.attempts, lexer.limits.cost) == (60.0, 2, None)
    assert (lexer.size, lexer.priority, lexer.needs, lexer.prompt) == ("normal", 0, (), "Cut it\nout.\n")
    assert lexer.write_scope.matches("src/lexer/x.py")
    assert docs.read_scope.matches("src/lexer/x.py")
    plan = parse_plan(YAML)
    assert plan.agent_of(lexer) == "claude"
    assert plan.agent_of(docs) == docs.agent
    assert (plan.base, plan.validation) == ("HEAD", ("make test",))


def test_a_digest_sees_what_is_said_and_not_how() -> None:
    first = plan_digest(build_plan(DATA))
    assert len(first) == 64
    assert plan_digest(build_plan({**DATA, "base": "HEAD", "setup": []})) == first
    assert plan_digest(build_plan({**DATA, "base": "main"})) != first
    assert plan_digest(build_plan({**DATA, "tasks": DATA["tasks"][:1]})) != first
    same = [{**DATA["tasks"][0], "name": "lexer", "limits": {"attempts": 2, "idle": 60.0}}, DATA["tasks"][1]]
    assert plan_digest(build_plan({**DATA, "tasks": same})) == first
    assert plan_digest(build_plan({**DATA, "tasks": DATA["tasks"][::-1]})) != first


@pytest.mark.req("P5")
def test_every_problem_has_its_place_and_is_told_at_once() -> None:
    text = "goal: x\ntasks:\n- id: t1\n  write: [a]\n  prompt: 5\n- {id: t2, prompt: p, writes: [/etc, ok, 'a?']}\n"
    missing = "add writes: Patterns of the files that the task may change; [] for one that only reads"
    absolute = "write it from the root of the repository, without a leading '/'"
    special = "write '*'; only '*' and '**' are special"
    assert problems(text) == [
        "tasks[0].prompt (id t1), line 5, column 3: must be text, and is a number (5); put it in quotes",
        f"tasks[0] (id t1), line 3, column 3: 'writes' is missing; {missing}",
        "tasks[0] (id t1), line 4, column 3: unknown key 'write'; did you mean 'writes'?",
        f"tasks[1].writes[0] (id t2), line 6, column 32: pattern '/etc' is an absolute path; {absolute}",
        f"tasks[1].writes[2] (id t2), line 6, column 42: pattern 'a?' contains '?'; {special}",
    ]


@pytest.mark.req("P5")
@pytest.mark.parametrize(
    ("changes", "where", "what", "fix"),
    [
        (
            {"id": "A"},
            "tasks[0].id (id A)",
            "'A' is not allowed",
            "an id has 1 to 40 small letters, digits and '-', and does not begin with '-'",
        ),
        (
            {"id": "a\n"},
            "tasks[0].id (id a\n)",
            "'a\\n' is not allowed",
            "an id has 1 to 40 small letters, digits and '-', and does not begin with '-'",
        ),
        (
            {"id": None},
            "tasks[0]",
            "'id' is missing",
            "add id: Small letters, digits and '-'; names branch, folder and agent",
        ),
        ({"writes": "src"}, "tasks[0].writes (id t)", "must be a list, and is text ('src')", "write [src]"),
        ({"writes": [3]}, "tasks[0].writes[0] (id t)", "must be text, and is a number (3)", "put it in quotes"),
        ({"needs": {}}, "tasks[0].needs (id t)", "must be a list, and is a mapping ({})", "write [one, two]"),
        ({"prompt": ["x"]}, "tasks[0].prompt (id t)", "must be text, and is a list (['x'])", "write text"),
        ({"prompt": "a\x00"}, "tasks[0].prompt (id t)", "contains a NUL character", "leave it out"),
        (
            {"prompt": "a\ud800"},
            "tasks[0].prompt (id t)",
            "contains half of a surrogate pair, which is no character",
            "write the character",
        ),
        (
            {"name": "a\x1b[2Jb"},
            "tasks[0].name (id t)",
            "'a\\x1b[2Jb' has a line break or a character that cannot be shown",
            "write it on one plain line",
        ),
        ({"name": "n" * 201}, "tasks[0].name (id t)", "is 201 characters long and may have 200", "shorten it"),
        (
            {"agent": 7},
            "tasks[0].agent (id t)",
            "must be a profile's name or {command: [program, argument, …]}, and is a number (7)",
            "write one of the two",
        ),
        ({"agent": " "}, "tasks[0].agent (id t)", "is empty", "write something here"),
        (
            {"agent": {"command": []}},
            "tasks[0].agent.command (id t)",
            "names no program",
            "write [program, argument, …]",
        ),
        (
            {"agent": {"command": "make"}},
            "tasks[0].agent.command (id t)",
            "must be a list, and is text ('make')",
            "write [make]",
        ),
        ({"agent": {"comand": []}}, "tasks[0].agent (id t)", "unknown key 'comand'", "did you mean 'command'?"),
        (
            {"size": "big"},
            "tasks[0].size (id t)",
            "must be small or normal",
            "write another value, or leave the key out",
        ),
        (
            {"priority": True},
            "tasks[0].priority (id t)",
            "must be a whole number, and is true or false (True)",
            "write digits, without quotes",
        ),
        (
            {"priority": "1"},
            "tasks[0].priority (id t)",
            "must be a whole number, and is text ('1')",
            "write digits, without quotes",
        ),
        (
            {"labels": ["GPU"]},
            "tasks[0].labels[0] (id t)",
            "'GPU' is not allowed",
            "a label has 1 to 64 small letters, digits, '.', '_' and '-', the first a letter or digit",
        ),
        (
            {"limits": {"steps": 0}},
            "tasks[0].limits.steps (id t)",
            "must be at least 1",
            "write another value, or leave the key out",
        ),
        (
            {"limits": {"idle": 0}},
            "tasks[0].limits.idle (id t)",
            "must be more than 0.0",
            "write another value, or leave the key out",
        ),
        (
            {"limits": {"cost": float("inf")}},
            "tasks[0].limits.cost (id t)",
            "must be a finite number",
            "write another value, or leave the key out",
        ),
        (
            {"limits": {"deadline": 1000000000.0}},
            "tasks[0].limits.deadline (id t)",
            "must be at most 2592000.0",
            "write another value, or leave the key out",
        ),
        ({"limits": {"step": 1}}, "tasks[0].limits (id t)", "unknown key 'step'", "did you mean 'steps'?"),
        ({"limits": []}, "tasks[0].limits (id t)", "must be a mapping, and is a list ([])", "write 'key: value'"),
        ({"accept": [""]}, "tasks[0].accept[0] (id t)", "is empty", "write something here"),
        (
            {"checks": ["x"] * 101},
            "tasks[0].checks (id t)",
            "may have 100 entries and has 101",
            "write another value, or leave the key out",
        ),
        (
            {"prompt": "x" * 999990},
            "tasks[0] (id t)",
            "takes 1000038 bytes as JSON and may take 1000000",
            "put long material into a file of the repository and name that file",
        ),
        (
            {"prompt": "é" * 600000},
            "tasks[0].prompt (id t)",
            "takes 1200000 bytes and may take 1000000",
            "put long text into a file and name that file",
        ),
    ],
)
def test_a_wrong_field_is_told_in_plain_words(changes: dict[str, Any], where: str, what: str, fix: str) -> None:
    assert Problem(where, what, fix) in task(**changes)


@pytest.mark.req("P5")
@pytest.mark.parametrize(
    ("data", "where", "what", "fix"),
    [
        (None, "plan", "must be a mapping, and is empty", "write it, or leave the key out"),
        ([], "plan", "must be a mapping, and is a list ([])", "write 'key: value'"),
        ({"goal": "x", "tasks": []}, "tasks", "has no task", "write at least one"),
        ({"goal": "x", "tasks": 3}, "tasks", "must be a list, and is a number (3)", "write [one, two]"),
        ({"goal": "x", "tasks": ["t"]}, "tasks[0]", "must be a mapping, and is text ('t')", "write 'key: value'"),
        ({"goal": " ", "tasks": []}, "goal", "is empty", "write something here"),
        (
            {"tasks": []},
            "plan",
            "'goal' is missing",
            "add goal: What all of it is for; names the session and the result",
        ),
        (
            {"goal": "x", "base": "--upload-pack=x", "tasks": []},
            "base",
            "'--upload-pack=x' begins with '-'",
            "name a branch, a tag or a commit",
        ),
        ({"goal": "x", "step": 1, "tasks": []}, "plan", "unknown key 'step'", "did you mean 'setup'?"),
        (
            {"goal": "x", "zzz": 1, "tasks": []},
            "plan",
            "unknown key 'zzz'",
            "known: agent, base, goal, hand_back, setup, tasks, validate",
        ),
        (
            {"goal": "x", "validate": "make", "tasks": []},
            "validate",
            "must be a list, and is text ('make')",
            "write [make]",
        ),
    ],
)
def test_a_wrong_plan_is_told_in_plain_words(data: Any, where: str, what: str, fix: str) -> None:
    with pytest.raises(PlanError) as caught:
        build_plan(data)
    assert Problem(where, what, fix) in caught.value.problems


def test_the_head_of_a_plan_fits_into_one_value_of_a_store() -> None:
    with pytest.raises(PlanError, match=r"plan: takes 160[0-9]{4} bytes as JSON and may take 500000"):
        build_plan({**DATA, "setup": ["x" * 16_000] * 100})


@pytest.mark.security(12)
@pytest.mark.parametrize(
    ("text", "form", "line"),
    [
        ("a: [1,\nb: 2", "yaml", "the plan, line "),
        ("a: b\n\tc: d", "yaml", "the plan, line 2, column 1: is not YAML: "),
        ("a: \x00", "yaml", "the plan: is not YAML: "),
        ("a: 1\na: 2", "yaml", "the plan, line 2, column 1: key 'a' stands twice in one mapping; keep one of them"),
        ("x: {a: 1, 'a': 2}", "yaml", "the plan, line 1, column 11: key 'a' stands twice in one mapping"),
        ("1: a", "yaml", "the plan, line 1, column 1: has 1 as a key, which is not text; put it in quotes"),
        ("? [a]\n: b", "yaml", "the plan, line 1, column 3: has a list or mapping as a key; a key is a word"),
        ("<<: {a: 1}", "yaml", "the plan, line 1, column 1: has a merge key '<<'; repeat the keys"),
        ("a: b\n---\nc: d", "yaml", "the plan, line 2, column 1: is a second document; put one plan into a file"),
        ("goal: !!python/object/apply:os.system [x]", "yaml", "the plan, line 1, column 7: has the tag "),
        ("goal: !!binary aGk=", "yaml", "the plan, line 1, column 7: has the tag "),
        ("goal: !x y", "yaml", "the plan, line 1, column 7: has the tag '!x'; leave tags out: a plan is plain data"),
        ("a: &a [*a]", "yaml", "the plan, line 1, column 8: alias '*a' stands inside itself; write the value out"),
        ("a: &a {b: *a}", "yaml", "the plan, line 1, column 11: alias '*a' stands inside itself"),
        ("a: *b", "yaml", "the plan, line 1, column 4: alias '*b' was not given before; write the value out"),
        ("[" * 100_000, "yaml", "the plan, line 1, column 17: is nested deeper than 16; a plan needs six levels"),
        ("- " * 100_000, "yaml", "the plan, line 1, column 33: is nested deeper than 16; a plan needs six levels"),
        ("goal: \ud800", "yaml", "the plan: contains half of a surrogate pair at character 6; save it as UTF-8"),
        ("[" * 100_000, "json", "the plan: is nested deeper than 16; a plan needs six levels"),
        ('{"a":' * 100_000, "json", "the plan: is nested deeper than 16; a plan needs six levels"),
        ('{"a": [1,]}', "json", "the plan, line 1, column "),
        ('{"a": "[[[[[[[[[[[[[[[[[[[[[[[[\\"[[[[[[[[[[["', "json", "the plan, line 1, column "),
        ('{"a": 1, "a": 2}', "json", "the plan: key 'a' stands twice in one object; keep one of them"),
        ('{"id": "t", "a": 1, "a": 2}', "json", "the plan, in the object with id 't': key 'a' stands twice"),
        ('{"a": NaN}', "json", "the plan: NaN is no number that a plan can have; write a smaller number"),
        ('{"a": -Infinity}', "json", "the plan: -Infinity is no number that a plan can have"),
        ('{"a": ' + "9" * 10_000 + "}", "json", "the plan: 999999999999999999… is no number that a plan can have"),
        ("a = [" + "[" * 100_000, "toml", "the plan: is nested deeper than 16; a plan needs six levels"),
        ("a = " + "[" * 17 + "]" * 17, "toml", "the plan: is nested deeper than 16; a plan needs six levels"),
        ("a = 1\na = 2", "toml", "the plan: is not TOML: "),
        ("a = ", "toml", "the plan: is not TOML: Invalid value (at end of document)"),
    ],
)  # fmt: skip
def test_hostile_and_broken_text_is_refused(text: str, form: str, line: str) -> None:
    (found,) = problems(text, form)
    assert found.startswith(line)


@pytest.mark.security(12)
@pytest.mark.timeout(20)
def test_a_billion_laughs_stay_a_few_bytes() -> None:
    levels = [f"l{at}: &l{at} [{', '.join([f'*l{at - 1}'] * 9)}]" for at in range(1, 12)]
    text = "\n".join(["l0: &l0 lol", *levels])
    (found,) = problems(text)
    assert "grows beyond 1000000 values, aliases counted; make a smaller plan" in found


def test_an_alias_is_what_it_names() -> None:
    text = "goal: &g x\ntasks:\n- {id: a, prompt: *g, writes: [a], limits: &l {steps: 3}}\n"
    plan = parse_plan(f"{text}- {{id: b, prompt: y, writes: [b], limits: *l}}\n")
    assert plan.tasks[0].prompt == "x"
    assert plan.tasks[1].limits.steps == 3


@pytest.mark.parametrize("word", ["no", "on", "yes", "1:30", "2020-13-45", "0x", "=", "1_000", ".inf", "0o7"])
def test_yaml_words_are_text_unless_they_are_plainly_something_else(word: str) -> None:
    assert parse_plan(f"goal: {word}\ntasks: [{{id: no, prompt: {word}, writes: [no]}}]").tasks[0].prompt == word


# Where PyYAML writes a text without quotes that YAML 1.2, and so JSON and we, read as a number.
NUMBER = re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+")
plain = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=12).filter(
    lambda text: not NUMBER.fullmatch(text)
)
trees = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**17), 10**17) | plain,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(plain.filter(lambda key: key != "<<"), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["a", "b"]), trees))
def test_yaml_data_is_what_was_written(data: dict[str, Any]) -> None:
    reader = YamlReader("text")
    assert reader.read(json.dumps(data, ensure_ascii=False)) == data
    assert YamlReader("text").read(yaml.safe_dump(data, allow_unicode=True)) == data


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"none.yaml: cannot be read: No such file or directory; name a plan's file"):
        load_plan(tmp_path / "none.yaml")
    with pytest.raises(PlanError, match="cannot be read: Is a directory"):
        load_plan(tmp_path)
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("goal: été".encode("latin-1"))
    with pytest.raises(PlanError, match=r"latin.yaml: is not UTF-8: byte 6 is 0xe9; save it as UTF-8"):
        load_plan(latin)
    long = tmp_path / "long.json"
    with long.open("wb") as file:
        file.truncate(PLAN_BYTES_MAX + 1)
    with pytest.raises(PlanError, match=f"is longer than the {PLAN_BYTES_MAX} bytes that a plan may take"):
        load_plan(long)
    with pytest.raises(PlanError, match="the plan: is longer than"):
        parse_plan("#" * (PLAN_BYTES_MAX + 1))


def test_more_tasks_than_allowed_are_refused() -> None:
    tasks = [{"id": f"t{at}", "prompt": "x", "writes": []} for at in range(10_001)]
    with pytest.raises(PlanError, match="tasks: may have 10000 entries and has "):
        build_plan({"goal": "x", "tasks": tasks})
