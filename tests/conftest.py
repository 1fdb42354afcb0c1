"""Fixtures for every test here: an etcd."""

from __future__ import annotations

from tests.etcdlab.fixtures import etcd_cluster, etcd_endpoint, etcd_program, etcd_server, etcd_url, start_etcd

__all__ = ["etcd_cluster", "etcd_endpoint", "etcd_program", "etcd_server", "etcd_url", "start_etcd"]
