"""A project's own profiles: what they take from others, what is refused, and which file counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from coordstore.errors import InvalidArgument
from coordstore_orchestrator.agents import UnknownProfile, known_profiles, resolve_agent
from coordstore_orchestrator.agents.config import BadConfiguration, Configuration, load_configuration


def load(folder: Path, text: str, name: str = "coord.toml") -> Configuration:
    (folder / name).write_text(text)
    return load_configuration(folder)


@pytest.mark.req("W1")
def test_a_profile_extends_another_and_says_what_differs(tmp_path: Path) -> None:
    found = load(
        tmp_path,
        """
        [agents.careful]
        extends = "claude"
        model = "opus"
        limits = {steps = 40, idle = 300}
        fallback = ["quick", "codex"]
        [agents.quick]
        extends = "careful"
        model = "haiku"
        fallback = []
        [agents.lint]
        argv = ["./lint.sh", ["--model", "{model}"]]
        summary = "ours"
        [worktree]
        copy = [".env"]
        ports = 10
        """,
    )
    careful, quick, lint = (found.profiles[name] for name in ("careful", "quick", "lint"))
    assert (careful.output, careful.argv, careful.model) == ("claude", known_profiles()["claude"].argv, "opus")
    assert (quick.model, quick.limits, quick.fallback) == ("haiku", {"steps": 40, "idle": 300}, ())
    assert lint.argv == ("./lint.sh", ("--model", "{model}"))
    assert lint.output == "plain"
    assert (found.copy, found.ports) == ((".env",), 10)
    assert found.profiles.keys() > known_profiles().keys()


@pytest.mark.req("W1")
def test_a_project_may_change_a_profile_by_its_own_name(tmp_path: Path) -> None:
    found = load(tmp_path, '[agents.claude]\nextends = "claude"\nmodel = "opus"\n')
    assert found.profiles["claude"].model == "opus"
    assert found.profiles["claude"].argv == known_profiles()["claude"].argv


def test_the_example_of_the_guide_is_taken_as_it_is(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "agents.md").read_text(encoding="utf-8")
    found = load(tmp_path, page.partition("```toml\n")[2].partition("```")[0])
    assert found.profiles["careful"].fallback == ("codex",)
    assert found.profiles["lint"].prompt == "file"
    assert all(f"| `{name}` |" in page for name in known_profiles())


@pytest.mark.req("W1")
def test_coord_toml_counts_before_pyproject(tmp_path: Path) -> None:
    assert load_configuration(tmp_path) == Configuration(known_profiles()) == load_configuration(None)
    text = '[project]\nname = "x"\n[tool.coord.agents.mine]\nargv = ["a"]\n'
    assert load(tmp_path, text, "pyproject.toml").profiles["mine"].argv == ("a",)
    assert load(tmp_path, '[agents.mine]\nargv = ["b"]\n').profiles["mine"].argv == ("b",)


@pytest.mark.req("W1", "P5")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[agents.a", "cannot be read as TOML"),
        ("[agent.a]", "coord.toml: agent: there is no such key"),
        ('[agents.a]\nextends = "claude"\nmodle = "x"', "coord.toml: agents.a.modle: there is no such key"),
        ("[agents.a]", "agents.a: it has no command"),
        ('[agents.a]\nextends = "nobody"', "agents.a.extends: no agent profile 'nobody'"),
        ('[agents.a]\nextends = "b"\n[agents.b]\nextends = "a"', "or a circle"),
        ('[agents.a]\nextends = "a"', "it has no command"),
        ('[agents.a]\nargv = ["x"]\nlimits = {stpes = 1}', "unknown limits stpes"),
        ('[agents.a]\nargv = ["x"]\nfallback = ["b"]', "agents.a.fallback: no agent profile 'b'"),
        ('[agents.A]\nargv = ["x"]', "a name is 1 to 40 small letters"),
        ('[agents.a]\nextends = "claude"\nmodel = "default"', "is a placeholder"),
        ("[worktree]\nports = 1000", "worktree.ports"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(BadConfiguration) as caught:
        load(tmp_path, text)
    assert said in str(caught.value)


@pytest.mark.req("W7")
def test_a_model_is_named_behind_the_profile(tmp_path: Path) -> None:
    text = '[agents.ours]\nargv = ["x", "{model}"]\nmodels = ["big", "small:2"]\n'
    profiles = load(tmp_path, text).profiles
    assert resolve_agent("ours:small:2", profiles).model == "small:2"
    assert resolve_agent("claude:opus", profiles).model == "opus"
    with pytest.raises(InvalidArgument, match="'huge' is none of its models big, small:2"):
        resolve_agent("ours:huge", profiles)
    with pytest.raises(InvalidArgument, match="'default' is a placeholder: name one of big, small:2"):
        resolve_agent("ours:default", profiles)
    for nothing in ("", "Default", "<model>", "your-model", " none "):
        with pytest.raises(InvalidArgument, match="is a placeholder: name one that its program knows"):
            resolve_agent(f"claude:{nothing}", profiles)
    with pytest.raises(UnknownProfile, match="no agent profile 'nobody'"):
        resolve_agent("nobody:x", profiles)


@pytest.mark.req("W1")
def test_confinement_is_asked_for_by_the_paths_it_may_write(tmp_path: Path) -> None:
    found = load(tmp_path, '[agents.bound]\nextends = "claude"\nconfine = ["~/.claude"]\n').profiles
    assert found["bound"].confine == ("~/.claude",)
    assert found["claude"].confine is None
