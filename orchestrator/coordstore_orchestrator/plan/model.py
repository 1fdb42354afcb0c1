"""A plan as data: what is to be done, by whom, in which files; the names are those that people write.

The models check the form of each field. What concerns several tasks (circles, scopes that clash) is checked by
`check_plan`, and text is read by `load_plan`, which turns whatever is wrong into a `PlanError`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationInfo, field_validator, model_validator

from coordstore_orchestrator.plan import bounds
from coordstore_orchestrator.plan.fields import (
    Argument,
    Attempts,
    Base,
    Cost,
    HandBack,
    Label,
    Name,
    Need,
    PathPattern,
    Priority,
    ProfileName,
    Prompt,
    Seconds,
    StepCount,
    TaskId,
    Text,
    Threshold,
    refuse,
)
from coordstore_orchestrator.plan.scope import Scope

__all__ = ["AgentCommand", "AgentRef", "Limits", "Plan", "Task"]

PROFILE_TAG, COMMAND_TAG = "profile name", "command line"
"""The two forms of an agent; no key of a plan has a blank in it, so that they are told from keys in errors."""

Texts: TypeAlias = Annotated[tuple[Text, ...], Field(max_length=bounds.ENTRIES_MAX)]
Patterns: TypeAlias = Annotated[tuple[PathPattern, ...], Field(max_length=bounds.PATTERNS_MAX)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AgentCommand(_Model):
    """An agent given as its command line: the program and its arguments, never seen by a shell."""

    command: tuple[Argument, ...] = Field(
        max_length=bounds.ARGV_MAX,
        description="The program and its arguments, each one entry.",
        json_schema_extra={"minItems": 1},  # told by `_named`: pydantic would also tell it of entries that are wrong
    )

    @field_validator("command")
    @classmethod
    def _named(cls, command: tuple[str, ...]) -> tuple[str, ...]:
        if not command or not command[0].strip():
            refuse("names no program", "write [program, argument, …]")
        return command


def _fits(text: str, limit: int) -> None:
    """Refuse what would not fit into one value of a store."""
    size = len(text.encode())
    if size > limit:
        fix = "put long material into a file of the repository and name that file"
        refuse(f"takes {size} bytes as JSON and may take {limit}", fix)


def _agent_form(value: object) -> str | None:
    if isinstance(value, str):
        return PROFILE_TAG
    return COMMAND_TAG if isinstance(value, (dict, AgentCommand)) else None


AgentRef: TypeAlias = Annotated[
    Annotated[ProfileName, Tag(PROFILE_TAG)] | Annotated[AgentCommand, Tag(COMMAND_TAG)], Discriminator(_agent_form)
]
"""Who does a task: the name of a profile, or a command line."""


class Limits(_Model):
    """What one attempt may use; what is left out is the profile's to say."""

    steps: StepCount | None = Field(None, description="Steps of the agent.")
    idle: Seconds | None = Field(None, description="Seconds without any sign of life.")
    deadline: Seconds | None = Field(None, description="Seconds from start to end of one attempt.")
    cost: Cost | None = Field(None, description="US dollars.")
    attempts: Attempts | None = Field(None, description="Attempts, the first included.")


class Task(_Model):
    """One piece of work for one agent in a worktree of its own."""

    id: TaskId = Field(description="Small letters, digits and '-'; names branch, folder and agent.")
    name: Name = Field("", validate_default=True, description="Shown to people; the id when left out.")
    prompt: Prompt = Field(description="What the agent is told, byte for byte.")
    writes: Patterns = Field(description="Patterns of the files that the task may change; [] for one that only reads.")
    reads: Patterns = Field((), description="Patterns of the files that the task relies on.")
    needs: Annotated[tuple[Need, ...], Field(max_length=bounds.TASKS_MAX)] = Field(
        (), description="Ids of the tasks whose results this one starts from."
    )
    accept: Texts = Field((), description="Criteria by which the agent judges its own work.")
    checks: Texts = Field((), description="Shell commands that must succeed in the worktree afterwards.")
    agent: AgentRef | None = Field(None, description="A profile's name or {command: [...]}; else the plan's agent.")
    size: Literal["small", "normal"] = Field("normal", description="A small task gets small limits.")
    priority: Priority = Field(0, description="Of several tasks that are ready the highest starts first.")
    labels: Annotated[tuple[Label, ...], Field(max_length=bounds.ENTRIES_MAX)] = Field(
        (), description="Classes of workers that may run the task."
    )
    limits: Limits = Field(default_factory=Limits, description="What one attempt may use.")
    watch: dict[Label, Threshold] = Field(
        default_factory=dict, description="Thresholds of detectors by name; 0: it is not watched for that."
    )

    @field_validator("name")
    @classmethod
    def _named(cls, name: str, info: ValidationInfo) -> str:
        return name if name.strip() else str(info.data.get("id", ""))

    @model_validator(mode="after")
    def _storable(self) -> Task:
        _fits(self.model_dump_json(by_alias=True, exclude_defaults=True), bounds.TASK_BYTES_MAX)
        return self

    @property
    def write_scope(self) -> Scope:
        """The files that the task may change."""
        return Scope.parse(self.writes)

    @property
    def read_scope(self) -> Scope:
        """The files that the task relies on."""
        return Scope.parse(self.reads)


class Plan(_Model):
    """Tasks for several agents that work at the same time on one repository."""

    goal: Text = Field(description="What all of it is for; names the session and the result.")
    base: Base = Field("HEAD", description="The revision that the work starts from.")
    agent: AgentRef | None = Field(None, description="Who does tasks that name nobody: a profile or {command: [...]}.")
    setup: Texts = Field((), description="Shell commands run in every new worktree before its agent.")
    validation: Texts = Field(
        (), alias="validate", description="Shell commands that must succeed on the merged result."
    )
    hand_back: HandBack = Field(
        0, description="How many times a task's work that conflicts goes back to its agent; 0: it is left out."
    )
    tasks: tuple[Task, ...] = Field(
        max_length=bounds.TASKS_MAX,
        description="The pieces of work.",
        json_schema_extra={"minItems": 1},  # told by `_some`, as above
    )

    @field_validator("tasks")
    @classmethod
    def _some(cls, tasks: tuple[Task, ...]) -> tuple[Task, ...]:
        if not tasks:
            refuse("has no task", "write at least one")
        return tasks

    @model_validator(mode="after")
    def _storable(self) -> Plan:
        _fits(self.model_dump_json(by_alias=True, exclude_defaults=True, exclude={"tasks"}), bounds.HEAD_BYTES_MAX)
        return self

    def agent_of(self, task: Task) -> str | AgentCommand | None:
        """Return who does a task: its own agent, else the plan's, else None."""
        return task.agent if task.agent is not None else self.agent

    def as_json(self) -> dict[str, Any]:
        """Return the plan as it is written, without what is left to defaults; `build_plan` reads it back."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
