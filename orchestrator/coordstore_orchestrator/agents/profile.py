"""A profile says how to start an agent, where its prompt goes, and what it may see and use."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from coordstore.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["INHERITED", "PLACEHOLDERS", "Argument", "Profile", "PromptWay", "environment"]

PromptWay: TypeAlias = Literal["stdin", "file", "argument-file"]
"""How an agent gets its prompt: on stdin; from the file that ``{prompt_file}`` names; told to read that file."""

TALKING: Final = ("--input-format", "stream-json")
"""The option by which Claude Code and its kin read messages on stdin, each a line of JSON, for as long as they run."""

Argument: TypeAlias = "str | tuple[str, ...]"
"""One argument, or several that are left out together when a placeholder among them has no value."""

PLACEHOLDERS: Final = frozenset({"{prompt_file}", "{instruction}", "{worktree}", "{model}", "{trace_file}"})
"""What stands for a value, always as a whole argument: nothing is ever put together from text."""

LIMITS: Final = frozenset({"steps", "idle", "deadline", "cost", "attempts"})

INHERITED: Final = (
    *("PATH", "HOME", "USER", "SHELL", "LANG", "LC_*", "TERM", "TMPDIR", "TZ", "SSH_AUTH_SOCK"),
    *("GIT_AUTHOR_*", "GIT_COMMITTER_*", "*_PROXY", "*_proxy"),
)
"""What every agent sees of the environment; programs read proxies from names in small letters too."""

OWN: Final = "COORD_"
"""How our own variables begin; an agent gets those of its task and inherits none."""

WITHHELD: Final = frozenset({"COORD_STORE", "COORD_HOME"})
"""Where the store is: no agent is told, it reports to its worker."""

NO_MODELS: Final = frozenset(
    {"", "default", "none", "null", "model", "placeholder", "unknown", "todo", "tbd", "changeme", "change-me"}
    | {"your-model", "your-model-here", "your-model-name", "model-name"}
)
"""What stands where somebody forgot to name a model."""

NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How one kind of agent is run.

    Args:
        name: What plans call it: small letters, digits and hyphens.
        argv: Its command. ``{prompt_file}`` is the prompt's path, ``{instruction}`` the sentence that says to read
            it, ``{worktree}`` where it works, ``{model}`` the model, ``{trace_file}`` a private file for a record
            that the agent itself writes.
        prompt: Where the prompt goes.
        verbatim: Whether the command is used as it is, braces and all.
        env_allow: More variables that it may see, by name or pattern.
        env_set: Variables that are set for it.
        model: The model it uses unless told otherwise.
        models: The models it is known to take; empty: any.
        fallback: Profiles to try, in order, when this one cannot start.
        limits: Limits for tasks that set none: steps, idle, deadline (seconds), cost (US dollars), attempts.
        watch: Thresholds of detectors, by name; 0: it is not watched for that.
        litter: Patterns of files that it leaves in the worktree and that are nobody's work.
        output: How its output is read; ``plain`` is for what just prints.
        confine: Where it may write beside its worktree, its branch and temporary files (``~`` is its HOME); None: it is
            not confined. Needs a kernel with Landlock, and says so where there is none.
        version: The arguments that make the program print its version; empty: it takes too long, or cannot.
        summary: One line for people.

    Raises:
        InvalidArgument: Something of it cannot be right; the message names the profile.
    """

    name: str
    argv: tuple[Argument, ...]
    prompt: PromptWay = "stdin"
    verbatim: bool = False
    env_allow: tuple[str, ...] = ()
    env_set: Mapping[str, str] = field(default_factory=dict)
    model: str | None = None
    models: tuple[str, ...] = ()
    fallback: tuple[str, ...] = ()
    limits: Mapping[str, float] = field(default_factory=dict)
    watch: Mapping[str, float] = field(default_factory=dict)
    litter: tuple[str, ...] = ()
    output: str = "plain"
    confine: tuple[str, ...] | None = None
    version: tuple[str, ...] = ("--version",)
    summary: str = ""

    def __post_init__(self) -> None:
        for trouble in _troubles(self):
            message = f"agent profile {self.name!r}: {trouble}"
            raise InvalidArgument(message)

    def command(self, *, prompt_file: Path, worktree: Path, model: str | None = None) -> list[str]:
        """Return the command for one attempt.

        Args:
            prompt_file: Where the prompt lies.
            worktree: Where the agent works.
            model: The model to use; None: the profile's.
        """
        if self.verbatim:
            return list(_flat(self.argv))
        values = {
            "{prompt_file}": str(prompt_file),
            "{instruction}": f"Do the task in {prompt_file}",
            "{worktree}": str(worktree),
            "{model}": model or self.model,
            "{trace_file}": str(prompt_file.with_name("trace.json")),
        }
        found: list[str] = []
        for item in self.argv:
            group = [values.get(argument, argument) for argument in _flat((item,))]
            if None not in group:
                found += [argument for argument in group if argument is not None]
        return found

    @property
    def talks(self) -> bool:
        """Whether it reads messages on stdin while it runs, its task as the first."""
        given = pairwise(_flat(self.argv))
        return self.prompt == "stdin" and not self.verbatim and TALKING in given

    def stdin(self, prompt_file: Path) -> Path | None:
        """Return the file that the agent reads on stdin; None when a prompt there would confuse it."""
        return prompt_file if self.prompt == "stdin" else None


def environment(profile: Profile, environ: Mapping[str, str], extra: Mapping[str, str]) -> dict[str, str]:
    """Return the whole environment of an agent: what all agents see, what its profile names, what its task adds.

    Args:
        profile: The agent's profile.
        environ: The environment to take from; of it no COORD_ variable is passed on.
        extra: The variables of this attempt.

    Raises:
        InvalidArgument: `extra` holds the store's address.
    """
    if told := WITHHELD & extra.keys():
        message = f"agents never get {', '.join(sorted(told))}: what they report goes through their worker"
        raise InvalidArgument(message)
    allowed = (*INHERITED, *profile.env_allow)
    seen = {
        name: value
        for name, value in environ.items()
        if not name.startswith(OWN) and any(fnmatchcase(name, pattern) for pattern in allowed)
    }
    return seen | dict(profile.env_set) | dict(extra)


def _flat(items: tuple[Argument, ...]) -> Iterator[str]:
    for item in items:
        if isinstance(item, str):
            yield item
        else:
            yield from item


def _troubles(profile: Profile) -> Iterator[str]:
    """Yield what is wrong with a profile, each with what to do."""
    arguments = list(_flat(profile.argv))
    if not NAME.fullmatch(profile.name):
        yield "a name is 1 to 40 small letters, digits and hyphens"
    if not arguments or not arguments[0]:
        yield "it has no command: give argv, the program first"
    if any(name.startswith(OWN) or "=" in name or "\0" in name or not name for name in profile.env_set):
        yield f"env_set takes plain names that do not begin with {OWN}"
    if unknown := sorted(profile.limits.keys() - LIMITS):
        yield f"unknown limits {', '.join(unknown)}: there are {', '.join(sorted(LIMITS))}"
    if negative := sorted(name for name, limit in profile.watch.items() if limit < 0):
        yield f"a threshold is a number from 0 (off): {', '.join(negative)}"
    if profile.model is not None and (said := _wrong_model(profile.model, profile.models)):
        yield said
    if not profile.verbatim:
        yield from _misplaced(profile.prompt, arguments)


def _wrong_model(model: str, models: tuple[str, ...]) -> str | None:
    """Return what is wrong with a model's name."""
    if model.strip(" <>{}[]").lower() in NO_MODELS:
        known = f"one of {', '.join(models)}" if models else "one that its program knows"
        return f"its model {model!r} is a placeholder: name {known}, or none to let the program choose"
    if models and model not in models:
        return f"its model {model!r} is none of its models {', '.join(models)}"
    return None


def _misplaced(prompt: PromptWay, arguments: list[str]) -> Iterator[str]:
    for argument in arguments:
        if re.fullmatch(r"\{\w+\}", argument) and argument not in PLACEHOLDERS:
            yield f"unknown placeholder {argument}: there are {', '.join(sorted(PLACEHOLDERS))}"
        if argument not in PLACEHOLDERS and any(known in argument for known in PLACEHOLDERS):
            yield f"a placeholder is a whole argument, in {argument!r} it is a part: give it an argument of its own"
    wanted = {"file": "{prompt_file}", "argument-file": "{instruction}"}.get(prompt)
    if wanted is not None and wanted not in arguments:
        yield f"the prompt goes by {prompt}, so argv needs {wanted}"
