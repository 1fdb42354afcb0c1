"""Makes a plan of a goal: asks a planner, checks what it says, tells it what is wrong, a bounded number of times."""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final, Protocol

from coordstore.errors import CoordError, InvalidArgument
from coordstore_orchestrator.plan.check import check_plan
from coordstore_orchestrator.plan.errors import PlanError, Problem
from coordstore_orchestrator.plan.load import parse_plan
from coordstore_orchestrator.plan.schema import plan_schema
from coordstore_orchestrator.registering import add_once, with_hooks

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    import pluggy

    from coordstore_orchestrator.plan.model import AgentRef, Plan

__all__ = ["RETRIES", "Planner", "PlannerFailed", "PlannerMaker", "Wanted", "make_plan", "planner_of", "planners"]

RETRIES: Final = 3
"""How often a planner is told what is wrong with its plan, unless the caller says otherwise."""
FILES_SHOWN: Final = 500
"""Files of the repository that a planner is told of."""
_FENCED = re.compile(r"^```[\w-]*[ \t]*\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)


class PlannerFailed(CoordError, RuntimeError):
    """A planner gave no plan: its command failed, its model was not reached; the message says which."""


class Planner(Protocol):
    """Whoever makes plans."""

    async def propose(self, prompt: str) -> str:
        """Answer a prompt with a plan as text (YAML, JSON or TOML, in a fenced block if there is other text).

        Raises:
            PlannerFailed: There is no answer. Cancelled: whatever it started has ended.
        """


class PlannerMaker(Protocol):
    """What a plugin registers: makes a planner of the arguments that a person typed."""

    def __call__(self, arguments: Sequence[str]) -> Planner:
        """Return the planner, or raise `InvalidArgument` with what to type."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a plan is to be made for.

    Args:
        goal: What all of it is for.
        files: The repository's files, so that scopes can name them.
        agent: Who is to do tasks that name nobody, or None: the planner says.
        profiles: The agent profiles that a plan can name; None leaves names unchecked.
    """

    goal: str
    files: Sequence[str] = ()
    agent: AgentRef | None = None
    profiles: Collection[str] | None = None

    def prompt(self) -> str:
        """Return what a planner is asked first."""
        more = len(self.files) - FILES_SHOWN
        files = [*self.files[:FILES_SHOWN], *([f"… and {more} more"] if more > 0 else [])]
        agent = "" if self.agent is None else "Leave `agent` out: it is chosen already.\n"
        known = "" if self.agent is not None else f"Agent profiles: {', '.join(sorted(self.profiles or ())) or 'any'}\n"
        return (
            "Split a goal into tasks for several agents that work at the same time on one repository, each in a\n"
            "worktree of its own. Answer with one plan as JSON that fits the schema below, and nothing else.\n\n"
            "Rules: two tasks that may run at the same time cannot write the same files, nor read what the other\n"
            "writes; let one need the other (`needs`), or make one task of them. Every task names what it changes\n"
            "(`writes`; [] when it only reads). A prompt says all that its agent has to know. Few tasks are better\n"
            f"than many: each costs a start and a merge.\n{agent}{known}\n"
            f"Goal:\n{self.goal}\n\nFiles:\n{chr(10).join(files) or '(none)'}\n\n"
            f"Schema:\n{json.dumps(plan_schema(), separators=(',', ':'))}\n"
        )

    def read(self, answer: str) -> Plan:
        """Return the plan in an answer.

        Raises:
            PlanError: There is none, or it cannot be run.
        """
        fenced = _FENCED.findall(answer)
        plan = parse_plan(fenced[-1] if fenced else answer, source="the answer")
        if self.agent is not None:
            plan = plan.model_copy(update={"agent": self.agent})
        check_plan(plan, self.profiles)
        return plan


async def make_plan(
    planner: Planner, wanted: Wanted, retries: int = RETRIES, told: Callable[[PlanError], None] = lambda _error: None
) -> Plan:
    """Make a plan that can be run.

    Args:
        planner: Whom to ask.
        wanted: What for.
        retries: How often to tell it what is wrong with its plan.
        told: Called with what was wrong, each time.

    Raises:
        PlanError: The last plan cannot be run either, or is the one before once more.
        PlannerFailed: There is no answer.
    """
    first = wanted.prompt()
    prompt, before = first, None
    for left in range(retries, -1, -1):
        answer = await planner.propose(prompt)
        try:
            return wanted.read(answer)
        except PlanError as error:
            if not left or answer == before:
                raise
            told(error)
            prompt, before = f"{first}\nYour answer was:\n{answer}\n\nThat cannot be run:\n{error}\n", answer
            prompt += "Answer with the whole plan, corrected.\n"
    raise PlanError.of([Problem("retries", f"is {retries}", "write 0 or more")])


@functools.cache
def planners() -> dict[str, tuple[str, str]]:
    """Return all planners by name: their maker and one line for people.

    Raises:
        InvalidArgument: Two plugins have a planner of the same name.
    """
    found: dict[str, tuple[str, str]] = {}

    def register(name: str, maker: str, *, summary: str) -> None:
        add_once(found, "a planner", name, (maker, summary))

    _manager().hook.register_planners(register=register)
    return dict(sorted(found.items()))


@functools.cache
def _manager() -> pluggy.PluginManager:
    """Return the library's plugin manager, which knows our hook from here on."""
    from coordstore_orchestrator.plan import builtin, hookspecs

    return with_hooks(hookspecs, builtin, "coordstore:planners")


def planner_of(name: str, arguments: Sequence[str]) -> Planner:
    """Return a planner by its name.

    Args:
        name: As it is registered.
        arguments: What it is made of: a file, a command line, a model.

    Raises:
        InvalidArgument: There is none of that name, or the arguments are not what it needs.
    """
    from coordstore.plugins import load

    known = planners()
    if name not in known:
        near = get_close_matches(name, known, n=1)
        message = f"no planner {name!r}: there are {', '.join(known)}" + (f"; did you mean {near[0]}?" if near else "")
        raise InvalidArgument(message)
    maker: PlannerMaker = load(known[name][0])
    return maker(arguments)
