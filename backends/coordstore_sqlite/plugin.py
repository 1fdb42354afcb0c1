"""Registers the SQLite backend; imports no driver."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coordstore.hookspecs import hookimpl

if TYPE_CHECKING:
    from coordstore.hookspecs import RegisterBackend, RegisterCheckup

__all__ = ["register_backends", "register_checkups"]


@hookimpl
def register_backends(register: RegisterBackend) -> None:
    """Register ``sqlite:PATH``."""
    register("sqlite", "coordstore_sqlite.store:open_sqlite", summary="one file on this host, the embedded default")


@hookimpl
def register_checkups(register: RegisterCheckup) -> None:
    """Register the look at a database, its files and their surroundings."""
    register("sqlite", "coordstore_sqlite.checkup:checkup", summary="the database, its files, SQLite itself")
