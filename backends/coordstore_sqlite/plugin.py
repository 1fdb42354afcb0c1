"""Registers the SQLite backend; imports no driver."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coordstore.hookspecs import hookimpl

if TYPE_CHECKING:
    from coordstore.hookspecs import RegisterBackend

__all__ = ["register_backends"]


@hookimpl
def register_backends(register: RegisterBackend) -> None:
    """Register ``sqlite:PATH``."""
    register("sqlite", "coordstore_sqlite.store:open_sqlite", summary="one file on this host, the embedded default")
