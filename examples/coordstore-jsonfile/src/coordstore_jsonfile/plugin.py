"""Registers the backend; loaded at every start of `coord`, so it imports nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coordstore.hookspecs import hookimpl

if TYPE_CHECKING:
    from coordstore.hookspecs import RegisterBackend

__all__ = ["register_backends"]


@hookimpl
def register_backends(register: RegisterBackend) -> None:
    """Register ``jsonfile:PATH``."""
    opener = "coordstore_jsonfile.store:open_jsonfile"
    register("jsonfile", opener, summary="one file of JSON lines, to read and to learn from")
