"""Registers the File backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coordstore.hookspecs import hookimpl

if TYPE_CHECKING:
    from coordstore.hookspecs import RegisterBackend

__all__ = ["register_backends"]


@hookimpl
def register_backends(register: RegisterBackend) -> None:
    """Register ``file:PATH``."""
    register("file", "coordstore_file.store:open_file", summary="a directory that cat and tail can read, on this host")
