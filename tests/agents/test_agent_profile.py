"""A profile gives the command, the input and the environment of an agent, and nothing is put together from text."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy
import pytest

from coordstore.errors import InvalidArgument
from coordstore.hookspecs import hookimpl
from coordstore_orchestrator.agents import (
    Profile,
    UnknownProfile,
    environment,
    known_profiles,
    plain_profile,
    registry,
    resolve_agent,
)
from coordstore_orchestrator.agents import hookspecs as agent_hookspecs
from coordstore_orchestrator.agents.builtin import BUILTIN

if TYPE_CHECKING:
    from coordstore_orchestrator.agents.hookspecs import RegisterProfile

PROMPT = Path("/logs/t1.1/prompt.md")
TREE = Path("/trees/t1.1")

EVERYBODY_SEES = {
    "PATH": "/bin",
    "HOME": "/their/home",
    "USER": "u",
    "SHELL": "/bin/sh",
    "LANG": "C.UTF-8",
    "LC_ALL": "C",
    "LC_TIME": "C",
    "TERM": "xterm",
    "TMPDIR": "/tmp",
    "TZ": "UTC",
    "SSH_AUTH_SOCK": "/run/agent",
    "GIT_AUTHOR_NAME": "A",
    "GIT_COMMITTER_EMAIL": "a@b",
    "HTTPS_PROXY": "http://p",
    "no_proxy": "localhost",
}
NOBODY_SEES = {
    "COORD_STORE": "sqlite:/s",
    "COORD_HOME": "/h",
    "COORD_TASK": "another",
    "GIT_DIR": "/g",
    "GIT_INDEX_FILE": "/i",
    "GIT_SSH_COMMAND": "x",
    "LD_PRELOAD": "/x.so",
    "PYTHONPATH": "/p",
    "ANTHROPIC_API_KEY": "a",
    "OPENAI_API_KEY": "o",
    "GEMINI_API_KEY": "g",
    "AWS_SECRET_ACCESS_KEY": "s",
    "MY_TOKEN": "t",
    "PATHS": "",
    "XPATH": "",
    "LCX": "",
}


@pytest.mark.req("W1")
def test_a_plain_agent_sees_what_everybody_sees_and_its_task() -> None:
    extra = {"COORD_SESSION": "s", "COORD_TASK": "t1", "COORD_AGENT": "t1.1", "COORD_PROMPT_FILE": str(PROMPT)}
    found = environment(plain_profile(["./agent"]), EVERYBODY_SEES | NOBODY_SEES, extra)
    assert found == EVERYBODY_SEES | extra


@pytest.mark.req("W1")
def test_a_profile_names_what_more_its_agents_see() -> None:
    profile = Profile(
        name="x", argv=("x",), env_allow=("MY_*", "COORD_*", "OPENAI_API_KEY"), env_set={"TZ": "X", "A": "1"}
    )
    found = environment(profile, EVERYBODY_SEES | NOBODY_SEES, {"COORD_TASK": "t1"})
    more = {"MY_TOKEN": "t", "OPENAI_API_KEY": "o", "TZ": "X", "A": "1", "COORD_TASK": "t1"}
    assert found == EVERYBODY_SEES | more


@pytest.mark.parametrize("name", ["COORD_STORE", "COORD_HOME"])
def test_no_agent_is_told_where_the_store_is(name: str) -> None:
    everything = Profile(name="x", argv=("x",), env_allow=("*",))
    assert not any(key.startswith("COORD_") for key in environment(everything, EVERYBODY_SEES | NOBODY_SEES, {}))
    with pytest.raises(InvalidArgument, match=f"agents never get {name}"):
        environment(everything, {}, {name: "x"})


@pytest.mark.req("W1")
def test_placeholders_are_whole_arguments() -> None:
    argv = ("x", "{prompt_file}", "{instruction}", "{worktree}", ("--model", "{model}"), "{trace_file}", "{}", "$HOME")
    profile = Profile(name="x", argv=argv, prompt="file")
    rest = ["/trees/t1.1", "/logs/t1.1/trace.json", "{}", "$HOME"]
    start = ["x", "/logs/t1.1/prompt.md", "Do the task in /logs/t1.1/prompt.md"]
    assert profile.command(prompt_file=PROMPT, worktree=TREE) == [*start, *rest]
    with_model = [*start, rest[0], "--model", "m", *rest[1:]]
    assert profile.command(prompt_file=PROMPT, worktree=TREE, model="m") == with_model
    assert replace(profile, model="m").command(prompt_file=PROMPT, worktree=TREE) == with_model


def test_a_value_that_looks_like_a_placeholder_stays_as_it_is() -> None:
    profile = Profile(name="x", argv=("x", "{model}", "{worktree}"))
    found = profile.command(prompt_file=PROMPT, worktree=Path("/{model}"), model="{worktree}")
    assert found == ["x", "{worktree}", "/{model}"]


@pytest.mark.req("W1")
def test_a_command_of_a_plan_is_used_as_it_is() -> None:
    argv = ["sh", "-c", "echo {model} {prompt_file} > $1", "{worktree}", "{unknown}", ""]
    profile = resolve_agent({"command": argv}, {})
    assert profile.command(prompt_file=PROMPT, worktree=TREE, model="m") == argv
    assert profile.stdin(PROMPT) == PROMPT


@dataclass(frozen=True)
class Reference:
    command: tuple[str, ...]


def test_a_plan_names_a_profile_or_gives_a_command() -> None:
    profiles = known_profiles()
    assert resolve_agent("codex", profiles) is profiles["codex"]
    assert resolve_agent(Reference(("a", "b")), profiles).argv == ("a", "b")
    with pytest.raises(
        UnknownProfile, match=r"no agent profile 'cluade': there are aider, claude.*did you mean 'claude'"
    ):
        resolve_agent("cluade", profiles)
    wrong: Any
    for wrong in ({}, {"command": []}, {"command": "sh -c x"}, {"command": [1]}, Reference(())):
        with pytest.raises(InvalidArgument, match="give a profile's name or"):
            resolve_agent(wrong, profiles)


@pytest.mark.req("P5", "W7")
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"name": "Two Words"}, "a name is 1 to 40"),
        ({"argv": ()}, "it has no command"),
        ({"argv": ("",)}, "it has no command"),
        ({"argv": ("x", "{modell}")}, "unknown placeholder {modell}"),
        ({"argv": ("x", "--model={model}")}, "a placeholder is a whole argument"),
        ({"argv": ("x",), "prompt": "file"}, "argv needs {prompt_file}"),
        ({"argv": ("x",), "prompt": "argument-file"}, "argv needs {instruction}"),
        ({"env_set": {"COORD_STORE": "x"}}, "do not begin with COORD_"),
        ({"env_set": {"A=B": "x"}}, "takes plain names"),
        ({"limits": {"seconds": 1}}, "unknown limits seconds"),
        ({"model": "c", "models": ("a", "b")}, "its model 'c' is none of its models a, b"),
    ],
)
def test_a_wrong_profile_says_what_to_change(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Profile(**{"name": "mine", "argv": ("x",)} | wrong)
    assert said in str(caught.value)
    assert "agent profile" in str(caught.value)


@pytest.mark.req("W1")
def test_the_built_in_profiles_are_those_of_the_documentation() -> None:
    found = known_profiles()
    assert list(found) == ["aider", "claude", "codex", "gemini", "mini", "opencode", "pi", "qwen"]
    assert {profile.name: profile for profile in BUILTIN} == found


@pytest.mark.req("W1")
@pytest.mark.parametrize("profile", BUILTIN, ids=lambda profile: profile.name)
def test_no_built_in_profile_puts_text_into_arguments(profile: Profile) -> None:
    argv = profile.command(prompt_file=PROMPT, worktree=TREE)
    assert not any("{" in argument for argument in argv)
    told = [argument for argument in argv if str(PROMPT) in argument]
    assert (profile.stdin(PROMPT) is None) == bool(told)
    assert "m" in profile.command(prompt_file=PROMPT, worktree=TREE, model="m")
    assert profile.summary
    assert not {"*", "COORD_*"} & set(profile.env_allow)


class Stranger:
    """A plugin with a profile of its own."""

    def __init__(self, name: str) -> None:
        self.profile = Profile(name=name, argv=("theirs",))

    @hookimpl
    def register_profiles(self, register: RegisterProfile) -> None:
        register(self.profile)


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> pluggy.PluginManager:
    """Stand in for the plugin manager, with the built-in profiles only."""
    from coordstore_orchestrator.agents import builtin

    manager = pluggy.PluginManager("coordstore")
    manager.add_hookspecs(agent_hookspecs)
    manager.register(builtin)
    monkeypatch.setattr(registry, "agent_plugins", lambda: manager)
    return manager


@pytest.mark.req("W1")
def test_a_plugin_adds_profiles_by_the_hook(manager: pluggy.PluginManager) -> None:
    stranger = Stranger("theirs")
    manager.register(stranger)
    assert known_profiles()["theirs"] is stranger.profile


def test_two_profiles_of_one_name_are_an_error(manager: pluggy.PluginManager) -> None:
    manager.register(Stranger("codex"))
    with pytest.raises(InvalidArgument, match="two plugins have an agent profile 'codex'"):
        known_profiles()


@pytest.mark.parametrize(
    ("argv", "more", "talks"),
    [
        (("x", "--input-format", "stream-json"), {}, True),
        (("x", ("--input-format", "stream-json"), ("-m", "{model}")), {}, True),
        (("x", "--input-format", "text", "stream-json"), {}, False),
        (("x", "--output-format", "stream-json"), {}, False),
        (("x", "--input-format", "stream-json", "{instruction}"), {"prompt": "argument-file"}, False),
        (("x", "--input-format", "stream-json"), {"verbatim": True}, False),
    ],
)
def test_who_reads_messages_is_known_by_the_option(argv: Any, more: dict[str, Any], talks: bool) -> None:
    assert Profile(name="x", argv=argv, **more).talks is talks
