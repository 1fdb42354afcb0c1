"""etcdctl and the etcd3 package read what we wrote, and we read what they write, by the table of docs/etcd.md."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from coordstore import open_store
from coordstore.errors import Conflict
from coordstore.model import Append, Check, Delete, Put
from tests.etcdlab.finding import none_here
from tests.etcdlab.oracle import Etcd3, etcdctl, made

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from coordstore import CoordStore

pytestmark = [pytest.mark.req("S1", "S12"), pytest.mark.timeout(180)]

LONG = 40.0
RAW = bytes(range(256))


@pytest.fixture
def prefix(etcd_url: str) -> str:
    return etcd_url.rpartition("/")[2].partition("?")[0]


@pytest.fixture
async def store(etcd_url: str) -> AsyncIterator[CoordStore]:
    async with open_store(etcd_url) as opened:
        yield opened


@pytest.fixture
def etcd3(etcd_endpoint: str) -> Iterator[Etcd3]:
    try:
        made()
    except subprocess.CalledProcessError as error:
        none_here(f"the package etcd3 cannot be installed: {error.stderr.decode()[-500:]}")
    with Etcd3(etcd_endpoint) as client:
        yield client


async def written(store: CoordStore) -> dict[str, bytes]:
    """Write some of everything; return what by the table should lie where, but for the store's own records."""
    await store.transact(
        [Put("a/b", RAW), Put("gone", b"")], appends=[Append("s/one", b"first"), Append("s/one", b"second")]
    )
    await store.transact([Put("a", b"new"), Delete("gone")], [Check("a", revision=0)], [Append("s/two", RAW)])
    return {
        "k/a": b"new",
        "k/a/b": RAW,
        "h/s/one": b"2",
        "h/s/two": b"1",
        "r/s/one+0000000000000001.00": b"first",
        "r/s/one+0000000000000002.01": b"second",
        "r/s/two+0000000000000001.00": RAW,
    }


def ours(found: dict[str, bytes], prefix: str) -> dict[str, bytes]:
    """Return the keys of the table without the store's prefix and identity."""
    identity = json.loads(found.pop(f"{prefix}:id"))
    assert identity
    return {name.removeprefix(f"{prefix}:"): value for name, value in found.items()}


# etcdctl -------------------------------------------------------------------------------------------------------------


def listed(endpoint: str, prefix: str) -> dict[str, bytes]:
    """Return what etcdctl finds under a store's prefix."""
    answer = json.loads(etcdctl(endpoint, "get", "--prefix", f"{prefix}:", "--write-out=json"))
    decode = base64.b64decode
    return {decode(each["key"]).decode(): decode(each.get("value", "")) for each in answer["kvs"]}


async def test_etcdctl_reads_what_we_wrote(store: CoordStore, etcd_endpoint: str, prefix: str) -> None:
    expected = await written(store)
    assert ours(listed(etcd_endpoint, prefix), prefix) == expected
    assert etcdctl(etcd_endpoint, "get", f"{prefix}:k/a", "--print-value-only") == b"new\n"


async def test_we_read_and_watch_what_etcdctl_writes(store: CoordStore, etcd_endpoint: str, prefix: str) -> None:
    revision = await store.put("a", b"ours")
    watch = store.watch("a", revision)
    etcdctl(etcd_endpoint, "put", f"{prefix}:k/a", stdin=RAW)
    batch = await asyncio.wait_for(anext(watch), LONG)
    (change,) = batch.changes
    assert change.entry is not None
    assert (change.key, change.entry.value) == ("a", RAW)
    entry = await store.get("a")
    assert entry is not None
    assert entry == change.entry
    with pytest.raises(Conflict) as caught:
        await store.put("a", b"ours again", expect=revision)
    assert caught.value.revisions == {"a": entry.revision}
    etcdctl(etcd_endpoint, "del", f"{prefix}:k/a")
    batch = await asyncio.wait_for(anext(watch), LONG)
    assert [(change.key, change.entry) for change in batch.changes] == [("a", None)]
    await watch.aclose()


async def test_a_lease_is_one_that_etcdctl_knows_and_may_end(
    store: CoordStore, etcd_endpoint: str, prefix: str
) -> None:
    lease = await store.grant(60)
    revision = await store.put("held", b"", lease=lease)
    told = json.loads(etcdctl(etcd_endpoint, "lease", "timetolive", f"{lease.id:x}", "--keys", "--write-out=json"))
    assert told["granted-ttl"] == 60
    assert f"{prefix}:k/held" in [base64.b64decode(key).decode() for key in told["keys"]]
    watch = store.watch("held", revision)
    etcdctl(etcd_endpoint, "lease", "revoke", f"{lease.id:x}")
    batch = await asyncio.wait_for(anext(watch), LONG)
    assert [(change.key, change.entry) for change in batch.changes] == [("held", None)]
    await watch.aclose()


# The etcd3 package ---------------------------------------------------------------------------------------------------


def test_the_package_lives_in_an_environment_of_its_own(etcd3: Etcd3) -> None:
    assert made().exists()
    assert made().parents[1].name.startswith(".venv-etcd3-")


async def test_etcd3_reads_what_we_wrote(store: CoordStore, etcd3: Etcd3, prefix: str) -> None:
    expected = await written(store)
    found = {key: value.encode("latin-1") for key, value, _ in etcd3("list", f"{prefix}:")}
    assert ours(found, prefix) == expected
    entry = await store.get("a/b")
    assert entry is not None
    assert [revision for key, _, revision in etcd3("list", f"{prefix}:k/a/b")] == [entry.revision]


async def test_we_read_what_etcd3_writes(store: CoordStore, etcd3: Etcd3, prefix: str) -> None:
    revision = await store.put("a", b"ours")
    watch = store.watch("", revision)
    assert etcd3("swap", f"{prefix}:k/a", "ours", "theirs")
    assert not etcd3("swap", f"{prefix}:k/a", "ours", "never")
    assert etcd3("both", [f"{prefix}:k/b", "1"], [f"{prefix}:k/c", RAW.decode("latin-1")])
    lease = etcd3("put", f"{prefix}:k/d", "held", 60)
    assert etcd3("delete", f"{prefix}:k/a")
    seen: list[dict[str, bytes | None]] = []
    while len(seen) < 4:
        batch = await asyncio.wait_for(anext(watch), LONG)
        seen.append({change.key: change.entry.value if change.entry else None for change in batch.changes})
    assert seen == [{"a": b"theirs"}, {"b": b"1", "c": RAW}, {"d": b"held"}, {"a": None}]
    entry = await store.get("d")
    assert entry is not None
    assert entry.lease == lease
    await watch.aclose()


async def test_etcd3_watches_what_we_write(store: CoordStore, etcd3: Etcd3, prefix: str) -> None:
    revision = await store.put("begin", b"")
    etcd3("watch", f"{prefix}:k/", revision + 1)
    await store.transact([Put("x", b"1"), Put("y", b"2")])
    await store.delete("x")
    assert etcd3("seen", 3) == [
        ["PutEvent", f"{prefix}:k/x", "1"],
        ["PutEvent", f"{prefix}:k/y", "2"],
        ["DeleteEvent", f"{prefix}:k/x", ""],
    ]
