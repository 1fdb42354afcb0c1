"""What a plugin can add: one hook, one sentence. The built-in backends and commands come in by the same road."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pluggy

if TYPE_CHECKING:
    import click

__all__ = [
    "RegisterBackend",
    "RegisterCheckup",
    "RegisterCommand",
    "RegisterExamination",
    "hookimpl",
    "hookspec",
    "register_backends",
    "register_checkups",
    "register_commands",
    "register_examinations",
]

hookspec = pluggy.HookspecMarker("coordstore")
hookimpl = pluggy.HookimplMarker("coordstore")


class RegisterBackend(Protocol):
    """The callable that `register_backends` receives."""

    def __call__(self, scheme: str, opener: str, *, summary: str) -> None:
        """Register ``module:function`` (``async (StoreURL) -> CoordStore``, imported at the first use) for a scheme."""


class RegisterCommand(Protocol):
    """The callable that `register_commands` receives."""

    def __call__(self, name: str, command: str | click.Command, *, summary: str) -> None:
        """Register ``module:attribute`` (a click command, imported at the first use) under a name of `coord`."""


class RegisterCheckup(Protocol):
    """The callable that `register_checkups` receives."""

    def __call__(self, scheme: str, checkup: str, *, summary: str) -> None:
        """Register ``module:function`` (a `coordstore.checkup.Checkup`) for the stores of a scheme."""


class RegisterExamination(Protocol):
    """The callable that `register_examinations` receives."""

    def __call__(self, name: str, examination: str, *, summary: str) -> None:
        """Register ``module:function`` (a `coordstore.checkup.Examination`) under a name."""


@hookspec
def register_backends(register: RegisterBackend) -> None:
    """Register store backends by URL scheme."""


@hookspec
def register_commands(register: RegisterCommand) -> None:
    """Register commands of `coord`."""


@hookspec
def register_checkups(register: RegisterCheckup) -> None:
    """Register what `coord doctor` looks at in and around the stores of a backend."""


@hookspec
def register_examinations(register: RegisterExamination) -> None:
    """Register what `coord doctor` looks at in the whole installation, whatever the store."""
