"""Sequential models for tier B: keys with compare-and-set and revisions, and leases with fencing tokens.

A model says what an operation does to a state, or that it cannot happen in it. Knowledge that only a later
operation brings is part of the state: a put of unknown outcome has no revision until somebody reads it; a key on
a lease may vanish at any moment, which is seen when somebody finds it absent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from coordstore.errors import InvalidArgument

__all__ = [
    "ABSENT",
    "Effect",
    "Fencing",
    "FencingStep",
    "Holder",
    "KeyState",
    "Keys",
    "KeysStep",
    "Model",
    "Need",
    "Task",
]

State = TypeVar("State")
Step = TypeVar("Step")
StepIn_contra = TypeVar("StepIn_contra", contravariant=True)


class Model(Protocol[State, StepIn_contra]):
    """A sequential specification."""

    def initial(self) -> State:
        """Return the first state."""

    def apply(self, state: State, step: StepIn_contra) -> State | None:
        """Return the state after a step; None: it cannot happen in this state."""


@dataclass(frozen=True, slots=True)
class Task(Generic[Step]):
    """A step and when it was called and returned.

    Args:
        name: The operation's id.
        step: What the model takes.
        call: When it was called.
        ret: When it returned; None: never, and it may not have happened at all.
        pure: It only sees, in whatever state it comes.
        behind: The name of one that certainly comes before it, which spares the search other orders.
    """

    name: str
    step: Step
    call: int
    ret: int | None
    pure: bool = False
    behind: str | None = None


# --- keys -----------------------------------------------------------------------------------------------


class KeyState(NamedTuple):
    """What is known of a key.

    Args:
        value: Its value; None: absent.
        revision: Its revision; None: not known yet.
        low: A revision that its last change is not below.
        created: Its create revision; None: not known yet.
        leased: Whether it may vanish.
    """

    value: str | None = None
    revision: int | None = 0
    low: int = 0
    created: int | None = 0
    leased: bool = False


ABSENT: Final = KeyState()


class Need(NamedTuple):
    """What an operation saw of a key, or demanded; what is None was not looked at. Revision 0: absent."""

    key: int
    value: str | None = None
    revision: int | None = None
    created: int | None = None


class Effect(NamedTuple):
    """What an operation does to a key: a value, or None for a delete."""

    key: int
    value: str | None
    leased: bool = False


class KeysStep(NamedTuple):
    """What an operation saw and did, and the revision that it returned, if it did."""

    needs: tuple[Need, ...] = ()
    effects: tuple[Effect, ...] = ()
    revision: int | None = None


KeysState: TypeAlias = "tuple[KeyState, ...]"


class Keys:
    """One or several keys with compare-and-set.

    Args:
        count: How many keys.
    """

    def __init__(self, count: int) -> None:
        self._count = count

    def initial(self) -> KeysState:
        """Return the empty store."""
        return (ABSENT,) * self._count

    def apply(self, state: KeysState, step: KeysStep) -> KeysState | None:
        """Return the state after an operation."""
        keys = list(state)
        for need in step.needs:
            met = meet(keys[need.key], need)
            if met is None:
                return None
            keys[need.key] = met
        if step.revision is not None and any(step.revision <= key.low for key in keys):
            return None
        for effect in step.effects:
            keys[effect.key] = changed(keys[effect.key], effect, step.revision)
        return tuple(keys)


def meet(key: KeyState, need: Need) -> KeyState | None:
    """Return what is known of a key once it has met a need; None: it does not meet it."""
    if 0 in (need.revision, need.created):
        gone = ABSENT._replace(low=key.low)
        return key if key.value is None else gone if key.leased else None
    if key.value is None or need.value not in (None, key.value):
        return None
    if need.revision is not None and need.revision != key.revision:
        if key.revision is not None or need.revision <= key.low:
            return None
        key = key._replace(revision=need.revision, low=need.revision)
    if need.created is not None and need.created != key.created:
        if key.created is not None:
            return None
        key = key._replace(created=need.created)
    return key


def changed(key: KeyState, effect: Effect, revision: int | None) -> KeyState:
    """Return a key after an effect at a revision."""
    low = key.low if revision is None else revision
    if effect.value is None:
        return ABSENT._replace(low=low)
    # A key on a lease may have vanished just before, so it is not known whether this put created it.
    created = revision if key.value is None else None if key.leased else key.created
    return KeyState(effect.value, revision, low, created, effect.leased)


# --- leases and tokens ----------------------------------------------------------------------------------


class FencingStep(NamedTuple):
    """An operation on a resource that one client holds at a time.

    Args:
        kind: ``claim`` (token got), ``renew`` (token still held), ``lost`` (a renewal was refused), ``release``,
            ``write`` (accepted under the token), ``fenced`` (refused).
        token: The fencing token it is about.
        until: For a claim or a renewal, until when the lease lives at least.
        ret: When it returned; None: never.
    """

    kind: str
    token: int
    until: int = 0
    ret: int | None = None


class Holder(NamedTuple):
    """Who holds a resource: the highest token so far, the holder's, and until when nobody else can have it."""

    highest: int = 0
    token: int | None = None
    not_before: int = 0


class Fencing:
    """A resource with a holder key on a lease.

    Args:
        skew: Nanoseconds by which a lease may end early on the recording clock.
    """

    def __init__(self, skew: int = 0) -> None:
        self._skew = skew

    def initial(self) -> Holder:
        """Return the resource that nobody holds."""
        return Holder()

    def apply(self, state: Holder, step: FencingStep) -> Holder | None:
        """Return the state after an operation."""
        over = step.ret is None or step.ret >= state.not_before - self._skew
        held = step.token == state.token
        match step.kind:
            case "claim":
                free = state.token is None or over
                return Holder(step.token, step.token, step.until) if free and step.token > state.highest else None
            case "renew":
                return state._replace(not_before=max(state.not_before, step.until)) if held else None
            case "lost":
                return state if not held or over else None
            case "release":
                return state._replace(token=None) if held else state
            case "write":
                return state if held else None
            case "fenced":
                return state if not held else state._replace(token=None) if over else None
            case _:
                message = f"a resource has no operation {step.kind!r}"
                raise InvalidArgument(message)
