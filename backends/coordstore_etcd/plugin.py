"""Registers the etcd backend; imports no driver."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coordstore.hookspecs import hookimpl

if TYPE_CHECKING:
    from coordstore.hookspecs import RegisterBackend, RegisterCheckup

__all__ = ["register_backends", "register_checkups"]


@hookimpl
def register_backends(register: RegisterBackend) -> None:
    """Register ``etcd://HOST:PORT[,HOST:PORT…]/PREFIX``."""
    register("etcd", "coordstore_etcd.store:open_etcd", summary="a prefix of an etcd cluster, for several hosts")


@hookimpl
def register_checkups(register: RegisterCheckup) -> None:
    """Register the look at a cluster and its members."""
    register("etcd", "coordstore_etcd.checkup:checkup", summary="the cluster: members, versions, size, alarms")
