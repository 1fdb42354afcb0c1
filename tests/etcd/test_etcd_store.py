"""What is etcd's own: addresses, transactions wider than its limit, names in the cluster, compaction, loops, doctor."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import TYPE_CHECKING

import pytest

from coordstore import open_store
from coordstore.cli.main import main
from coordstore.errors import Conflict, Fenced, InvalidArgument, StoreReplaced, Unavailable, Unsupported
from coordstore.model import Append, Check, Delete, Put
from coordstore.testing.stateful import check_against_memory
from coordstore.url import StoreURL
from coordstore_etcd.address import Address
from coordstore_etcd.checkup import _is_old
from coordstore_etcd.layout import Layout
from tests.etcdlab.gateway import Gateway

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from coordstore import CoordStore

pytestmark = [pytest.mark.req("S1"), pytest.mark.timeout(120)]


def address(url: str, **options: object) -> Address:
    return Address.of(StoreURL.parse(url, **options))


# Addresses -----------------------------------------------------------------------------------------------------------


def test_a_url_names_members_and_a_prefix() -> None:
    found = address("etcd://10.0.0.1:2379,[::1]:2379,etcd-3.example:2379/team/a?timeout=3")
    assert found.endpoints == ("10.0.0.1:2379", "[::1]:2379", "etcd-3.example:2379")
    assert (found.prefix, found.timeout, found.own_compaction) == ("team/a", 3.0, False)
    assert str(found) == "etcd://10.0.0.1:2379,[::1]:2379,etcd-3.example:2379/team/a"


@pytest.mark.parametrize(
    "url",
    [
        "etcd:127.0.0.1:2379/a",
        "etcd:///a",
        "etcd://127.0.0.1/a",
        "etcd://127.0.0.1:0/a",
        "etcd://127.0.0.1:70000/a",
        "etcd://127.0.0.1:2379",
        "etcd://127.0.0.1:2379/",
        "etcd://127.0.0.1:2379/A",
        "etcd://127.0.0.1:2379/" + "/".join(["p" * 60] * 3),
        "etcd://127.0.0.1:2379/a?compaction=yes",
        "etcd://127.0.0.1:2379/a?timeout=0",
        "etcd://127.0.0.1:2379/a?cert=/c.pem",
        "etcd://127.0.0.1:2379/a?ca=/c.pem&insecure=1",
        "etcd://127.0.0.1:2379/a?password=x",
    ],
)
def test_a_wrong_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidArgument):
        address(url)


def test_a_password_in_a_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(InvalidArgument) as caught:
        address("etcd://me:hunter2@127.0.0.1:2379/a")
    assert "hunter2" not in str(caught.value)


def test_tls_is_the_default_unless_every_member_is_loopback() -> None:
    assert address("etcd://127.0.0.1:1,localhost:2,[::1]:3/a").files is None
    assert address("etcd://127.0.0.1:1,10.0.0.1:2/a").files is not None
    assert address("etcd://10.0.0.1:2/a?insecure=1").files is None
    assert address("etcd://127.0.0.1:1/a?ca=/ca.pem").files is not None


def test_credentials_come_from_a_private_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "login"
    file.write_text("me:pass:word\n")
    file.chmod(0o600)
    found = address("etcd://127.0.0.1:1/a", credentials=file).credentials()
    assert found is not None
    assert (found.user, found.password) == ("me", "pass:word")
    assert "pass" not in repr(found)
    file.chmod(0o644)
    with pytest.raises(Unavailable, match="chmod 600"):
        address("etcd://127.0.0.1:1/a", credentials=file).credentials()
    assert address("etcd://127.0.0.1:1/a").credentials() is None
    monkeypatch.setenv("COORD_ETCD_USER", "me")
    with pytest.raises(InvalidArgument, match="both"):
        address("etcd://127.0.0.1:1/a").credentials()
    monkeypatch.setenv("COORD_ETCD_PASSWORD", "secret")
    found = address("etcd://127.0.0.1:1/a").credentials()
    assert found is not None
    assert found.password == "secret"


# Transactions wider than etcd's limit --------------------------------------------------------------------------------


async def test_all_limits_of_a_transaction_at_once_are_kept(etcd_url: str) -> None:
    async with open_store(etcd_url) as store:
        token = await store.create("lock", b"")
        made = await store.transact([Put(f"checked/{n}", b"") for n in range(64)])
        checks = [Check(f"checked/{n}", revision=made, create_revision=made) for n in range(64)]
        appends = [Append(f"s/{n}", b"%d" % n) for n in range(64)]
        for turn in (1, 2):
            revision = await store.transact(checks=checks, appends=appends, fence=("lock", token), resolvable=True)
            assert await store.heads("s") == {f"s/{n}": turn for n in range(64)}
            assert {(await store.read(f"s/{n}"))[-1].revision for n in range(64)} == {revision}
        follow = store.follow("s")
        records = [await anext(follow) for _ in range(128)]
        await follow.aclose()
        assert [record.stream for record in records] == [append.stream for append in appends] * 2


async def test_a_wide_transaction_tells_what_did_not_hold(etcd_url: str) -> None:
    async with open_store(etcd_url) as store:
        made = await store.transact([Put(f"a/{n}", b"") for n in range(64)])
        later = await store.put("a/7", b"")
        good = [Check(f"a/{n}", revision=made, create_revision=made) for n in range(64) if n != 7]
        appends = [Append(f"s/{n}", b"") for n in range(64)]
        with pytest.raises(Conflict) as caught:
            await store.transact(checks=[*good, Check("a/7", revision=made, create_revision=made)], appends=appends)
        assert caught.value.revisions == {"a/7": later}
        with pytest.raises(Conflict) as caught:
            await store.transact(checks=[*good, Check("a/7", revision=later, create_revision=later)], appends=appends)
        assert caught.value.revisions == {"a/7": later}
        with pytest.raises(Fenced):
            await store.transact(checks=good, appends=appends, fence=("a/7", later))
        assert await store.heads() == {}


async def test_wide_transactions_and_drops_and_appends_at_once_keep_streams_dense(etcd_url: str) -> None:
    names = [f"s/{n}" for n in range(64)]
    checks = [Check(f"absent/{n}", revision=0, create_revision=0) for n in range(64)]
    async with open_store(etcd_url) as one, open_store(etcd_url) as two:

        async def wide(store: CoordStore) -> None:
            for _ in range(3):
                await store.transact(checks=checks, appends=[Append(name, b"w") for name in names])

        async def narrow(store: CoordStore) -> None:
            for turn in range(12):
                await store.append("s/1", [b"n"])
                if turn % 4 == 3:
                    await store.drop("s/2")

        await asyncio.gather(wide(one), wide(two), narrow(one), narrow(two))
        assert (await one.heads("s/0"), await one.heads("s/1")) == ({"s/0": 6}, {"s/1": 30})
        for name in names:
            records = await one.read(name)
            assert [record.sequence for record in records] == list(range(1, len(records) + 1))


# What lies in the cluster --------------------------------------------------------------------------------------------


async def test_what_was_written_lies_where_the_guide_says(etcd_url: str, etcd_endpoint: str) -> None:
    prefix = address(etcd_url).prefix
    async with open_store(etcd_url) as store:
        await store.put("agents/t1.1/status", b"running")
        await store.append("events/t1.1", [b"one", b"two"])
        lease = await store.grant(60)
        held = Gateway(f"http://{etcd_endpoint}").range(f"{prefix}:")
        identity = json.loads(held.pop(f"{prefix}:id".encode()))
        assert (identity["store"], identity["format"]) == ((await store.info()).store_id, 1)
        assert held == {
            f"{prefix}:k/agents/t1.1/status".encode(): b"running",
            f"{prefix}:h/events/t1.1".encode(): b"2",
            f"{prefix}:r/events/t1.1+0000000000000001.00".encode(): b"one",
            f"{prefix}:r/events/t1.1+0000000000000002.01".encode(): b"two",
            f"{prefix}:l/{lease.id:016x}".encode(): b"60",
        }
        await lease.revoke()


def test_no_store_lies_within_another() -> None:
    outer, inner = Layout("team/a"), Layout("team/a/k")
    for kind in "khrl":
        assert not inner.identity.startswith(outer.area(kind).low)
        assert not inner.area(kind).low.startswith(b"team/a:")


async def test_a_store_that_was_removed_is_not_the_one_that_was_opened(etcd_url: str, etcd_endpoint: str) -> None:
    async with open_store(etcd_url) as store:
        await store.put("a", b"1")
        Gateway(f"http://{etcd_endpoint}").delete(f"{address(etcd_url).prefix}:")
        async with open_store(etcd_url) as other:
            await other.put("a", b"2")
            for work in (
                lambda: store.get("a"),
                lambda: store.put("a", b"3"),
                lambda: store.append("s", [b"3"]),
                lambda: store.delete_prefix("a"),
                store.list,
                lambda: store.grant(5),
            ):
                with pytest.raises(StoreReplaced):
                    await work()
            entry = await other.get("a")
            assert entry is not None
            assert entry.value == b"2"
            await other.transact([Delete("a")])


# Compaction, event loops, doctor -------------------------------------------------------------------------------------


async def test_a_cluster_is_not_compacted_unasked(etcd_url: str) -> None:
    async with open_store(etcd_url) as store:
        await store.put("a", b"1")
        floor = (await store.info()).floor
        with pytest.raises(Unsupported, match="compaction=own"):
            await store.compact()
        assert (await store.info()).floor == floor


async def test_a_handle_refuses_another_event_loop(etcd_url: str) -> None:
    async with open_store(etcd_url) as store:

        def elsewhere() -> None:
            with pytest.raises(Unavailable, match="another event loop"):
                asyncio.run(store.get("a"))

        await asyncio.to_thread(elsewhere)
        assert await store.get("a") is None


async def test_nobody_at_the_endpoint_is_unavailable_for_certain() -> None:
    with pytest.raises(Unavailable, match="can be reached"):
        async with open_store("etcd://127.0.0.1:1/a?timeout=0.3"):
            pass


@pytest.mark.req("C2")
def test_doctor_tells_about_the_cluster(etcd_url: str, capfd: pytest.CaptureFixture[str]) -> None:
    async def make() -> None:
        async with open_store(etcd_url):
            """The store is there now."""

    asyncio.run(make())
    main(["doctor", etcd_url, "--json"])
    found = {finding["check"]: finding for finding in json.loads(capfd.readouterr().out)["findings"]}
    member = next(finding for check, finding in found.items() if check.startswith("member "))
    assert member["level"] in {"ok", "warning"}
    assert found["alarms"]["level"] == "ok"
    assert found["reachable"]["level"] == "ok"


@pytest.mark.req("C2")
def test_doctor_tells_who_does_not_answer(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "etcd://127.0.0.1:1/a?timeout=0.3", "--json"]) == 1
    found = {finding["check"]: finding for finding in json.loads(capfd.readouterr().out)["findings"]}
    assert found["member 127.0.0.1:1"]["level"] == "problem"


@pytest.mark.parametrize(
    ("version", "old"),
    [("3.4.40", True), ("3.5.32", True), ("3.5.33", False), ("3.6.13", True), ("3.6.14", False), ("3.7.0", False)],
)
def test_versions_with_known_bugs_are_named(version: str, *, old: bool) -> None:
    assert _is_old(version) is old


# The state machine ---------------------------------------------------------------------------------------------------


@pytest.mark.req("S4", "S5", "S6", "S7", "S10")
def test_etcd_does_what_memory_does(etcd_url: str) -> None:
    numbers = itertools.count()

    def fresh() -> AbstractAsyncContextManager[CoordStore]:
        place, _, options = etcd_url.partition("?")
        return open_store(f"{place}/{next(numbers)}{'?' if options else ''}{options}", compaction="own", timeout=60)

    check_against_memory(fresh, examples=15, steps=25)
