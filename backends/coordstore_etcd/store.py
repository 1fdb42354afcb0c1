"""Opens ``etcd://HOST:PORT[,HOST:PORT…]/PREFIX``; the driver is imported when that is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coordstore.errors import Unsupported
from coordstore_etcd.address import Address

if TYPE_CHECKING:
    from coordstore.store import Clock
    from coordstore.url import StoreURL
    from coordstore_etcd.handle import EtcdStore

__all__ = ["open_etcd"]


async def open_etcd(url: StoreURL, clock: Clock | None = None) -> EtcdStore:
    """Open the store under a prefix of a cluster, making it when there is none.

    Options: ``ca= cert= key=`` (files of TLS; TLS is the default unless all hosts are loopback); ``insecure=1``
    (plain text to another host); ``credentials=FILE`` (``user:password``; else COORD_ETCD_USER and
    COORD_ETCD_PASSWORD); ``compaction=own`` (`compact` may compact the cluster); ``create=0`` (make
    no store where there is none); ``timeout`` (seconds for a call,
    10 by default). Cancelled: nothing stays open; a store that was made stays.

    Args:
        url: ``etcd://HOST:PORT[,HOST:PORT…]/PREFIX``.
        clock: What leases are counted on here; the system's boot-time clock when None.

    Raises:
        InvalidArgument: The URL or an option is wrong.
        Unsupported: The driver is not installed.
        NoStore: There is none, and ``create=0`` was given.
        Unavailable: No member can be reached in time, or it refuses this user.
        VersionMismatch: The store has another format.
        Corrupt: What lies there is no store.
    """
    address = Address.of(url)
    try:
        import google.protobuf  # noqa: F401  (likewise)
        import grpc  # noqa: F401  (only whether they are there)
    except ImportError as error:
        message = "etcd: needs grpcio and protobuf: pip install 'coordstore[etcd]'"
        raise Unsupported(message) from error
    from coordstore_etcd.handle import EtcdStore

    store = EtcdStore(address, clock)
    await store.start()
    return store
