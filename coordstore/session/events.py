"""Typed events: what happened in a session, one JSON object a record, in the stream of the agent it concerns."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from coordstore.names import RECORD_MAX

__all__ = [
    "Assigned",
    "CheckRun",
    "Completion",
    "Delegated",
    "Error",
    "Event",
    "FilesChanged",
    "Integrated",
    "Leftovers",
    "Message",
    "ModelCall",
    "Note",
    "Progress",
    "Pulse",
    "Returned",
    "Reviewed",
    "StateChanged",
    "Step",
    "ToolCall",
    "ToolResult",
    "Unknown",
    "Usage",
    "Verdict",
    "Waiting",
    "Watching",
    "Woken",
    "decode",
    "encode",
]


TEXT_MAX = 2000
"""Characters that are kept of each text of an event that no record could hold."""
ITEMS_MAX = 50


def _now() -> datetime:
    return datetime.now(UTC)


def _spelled(value: object) -> object:
    if isinstance(value, str) and not value.isascii():
        return value.encode("utf-8", "backslashreplace").decode()
    return value


Text = Annotated[str, BeforeValidator(_spelled)]
"""Anybody's text; what UTF-8 cannot hold is spelled out: file names and output of programs may be any bytes."""


class _Base(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="ignore")

    at: datetime = Field(default_factory=_now)
    """When, by the writer's wall clock, UTC: for people; the order is the stream's."""


class Assigned(_Base):
    """An attempt was made and queued."""

    type: Literal["assigned"] = "assigned"
    task: Text
    attempt: int
    base: Text
    hint: Text | None = None


class StateChanged(_Base):
    """An attempt went from one state to another."""

    type: Literal["state"] = "state"
    old: Text
    new: Text
    reason: Text | None = None


class Note(_Base):
    """Something worth a line: where the worktree is, what was set up."""

    type: Literal["note"] = "note"
    text: Text


class Step(_Base):
    """The agent took a step."""

    type: Literal["step"] = "step"
    step: int
    text: Text | None = None


class ToolCall(_Base):
    """The agent called a tool."""

    type: Literal["tool_call"] = "tool_call"
    name: Text
    digest: Text
    """SHA-256 of the arguments in canonical JSON, hex."""
    summary: Text | None = None


class ToolResult(_Base):
    """A tool came back."""

    type: Literal["tool_result"] = "tool_result"
    name: Text | None = None
    ok: bool
    summary: Text | None = None


class FilesChanged(_Base):
    """Files of the worktree differ from the attempt's base; at most the first hundred are named."""

    type: Literal["files"] = "files"
    paths: tuple[Text, ...]
    count: int


class Message(_Base):
    """The agent said something."""

    type: Literal["message"] = "message"
    text: Text


class Error(_Base):
    """Something went wrong."""

    type: Literal["error"] = "error"
    text: Text


class Usage(_Base):
    """Tokens and cost so far."""

    type: Literal["usage"] = "usage"
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None


class Progress(_Base):
    """The agent reported progress by the completion contract."""

    type: Literal["progress"] = "progress"
    status: Text
    next_steps: Text | None = None


class Completion(_Base):
    """The agent said by the completion contract that it is done, or that it gives up."""

    type: Literal["completion"] = "completion"
    claim: Literal["complete", "failed"]
    text: Text


class CheckRun(_Base):
    """A task's check or a plan's validation was run."""

    type: Literal["check"] = "check"
    command: Text
    ok: bool
    code: int | None
    output: Text = ""


class Leftovers(_Base):
    """Processes that outlived their agent were killed."""

    type: Literal["leftovers"] = "leftovers"
    processes: tuple[Text, ...]


class Integrated(_Base):
    """Completed work was merged into the integrated tree, or left out with the reason."""

    type: Literal["integrated"] = "integrated"
    merged: bool
    commit: Text | None = None
    reason: Text | None = None
    files: tuple[Text, ...] = ()


class ModelCall(_Base):
    """The agent asked its model, by its own words; what it does next ends that."""

    type: Literal["model_call"] = "model_call"


class Pulse(_Base):
    """What a quiet agent was seen to use; all times are seconds on its worker's monotonic clock."""

    type: Literal["pulse"] = "pulse"
    up: float
    """Since the agent was started."""
    still: float
    """Since its last step."""
    quiet: float
    """Since its last sign of life."""
    cpu: float
    """Processor time that it and what it started have used."""
    output: int
    """Bytes that it has printed."""
    files: int
    """How many times its files were seen to change."""
    looked: int = 0
    """How many steps it had taken when its files were last looked at."""


class Watching(_Base):
    """An agent was started, and from here on is watched with these thresholds, by detector."""

    type: Literal["watching"] = "watching"
    profile: Text
    thresholds: dict[str, float]


class Verdict(_Base):
    """A detector's verdict on an attempt, with what it rests on."""

    type: Literal["verdict"] = "verdict"
    detector: Text
    action: Literal["suspect", "hint", "stop"]
    reason: Text
    hint: Text | None = None
    """What the agent, or its next attempt, is told."""
    evidence: dict[str, Any] = Field(default_factory=dict)


class Reviewed(_Base):
    """Completed work waits for a review, or somebody decided on it, or it was merged after that."""

    type: Literal["review"] = "review"
    state: Text
    by: Text
    comment: Text | None = None


class Delegated(_Base):
    """The agent delegated a subtask."""

    type: Literal["delegated"] = "delegated"
    task: Text
    name: Text


class Waiting(_Base):
    """The agent waits for subtasks, asleep."""

    type: Literal["waiting"] = "waiting"
    tasks: tuple[Text, ...]


class Woken(_Base):
    """The agent waits no longer: something ended, or it was long enough."""

    type: Literal["woken"] = "woken"
    why: Text


class Returned(_Base):
    """A subtask has ended, and what came of it went to its parent, in whose stream this stands."""

    type: Literal["returned"] = "returned"
    task: Text
    state: Text
    commit: Text | None = None
    reason: Text | None = None


class Unknown(_Base):
    """An event of a kind this version does not know, kept whole."""

    type: Literal["unknown"] = "unknown"
    raw: Annotated[Any, BeforeValidator(_spelled)]


Event = (
    Assigned
    | StateChanged
    | Note
    | Step
    | ToolCall
    | ToolResult
    | FilesChanged
    | Message
    | Error
    | Usage
    | Progress
    | Completion
    | CheckRun
    | Leftovers
    | Integrated
    | ModelCall
    | Pulse
    | Verdict
    | Watching
    | Reviewed
    | Delegated
    | Waiting
    | Woken
    | Returned
    | Unknown
)

_ADAPTER: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="type")])


def encode(event: Event) -> bytes:
    """Return the record of an event; the texts of one that is too long for a record are shortened."""
    data = event.model_dump_json(exclude_none=True).encode()
    if len(data) <= RECORD_MAX:
        return data
    kept = {name: _shortened(value) for name, value in event if name != "at"}
    return event.model_copy(update=kept).model_dump_json(exclude_none=True).encode()


def _shortened(value: object) -> object:
    if isinstance(value, tuple):
        return tuple(_shortened(each) for each in value[:ITEMS_MAX])
    if isinstance(value, int | float | None):
        return value
    if isinstance(value, dict):
        return {name: _shortened(each) for name, each in list(value.items())[:ITEMS_MAX]}
    text = str(value)
    return text if len(text) <= TEXT_MAX else f"{text[:TEXT_MAX]}… ({len(text)} characters)"


def decode(data: bytes) -> Event:
    """Return the event of a record; one that cannot be understood comes back as `Unknown`, never as an error."""
    try:
        return _ADAPTER.validate_json(data)
    except ValidationError:
        return Unknown(raw=data.decode(errors="replace"))
