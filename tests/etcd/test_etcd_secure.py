"""TLS and passwords: the wrong ones are refused, renewed ones are taken up, and no secret is shown anywhere."""

from __future__ import annotations

import asyncio
import logging
import shutil
import socket
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from coordstore import open_store
from coordstore.errors import CoordError, InvalidArgument, Unavailable
from coordstore.model import Append, Put
from tests.etcdlab.certificates import Authority, Certificate
from tests.etcdlab.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.etcdlab.server import Server

pytestmark = [pytest.mark.req("S12"), pytest.mark.timeout(120)]

LONG = 40.0
SECRET = "s3cr3t-of-ann"


def tls(certificate: Certificate, **others: Path) -> dict[str, str]:
    """Return the options that trust a certificate's authority and show it, some of them replaced."""
    files = {"ca": certificate.ca, "cert": certificate.path, "key": certificate.key, **others}
    return {name: str(path) for name, path in files.items()}


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    if not shutil.which("openssl"):
        pytest.skip("makes certificates with openssl")
    return Authority(tmp_path / "authority")


# TLS -----------------------------------------------------------------------------------------------------------------


async def test_a_store_works_over_tls_with_a_certificate_on_both_sides(
    start_etcd: Callable[..., Server], authority: Authority
) -> None:
    ann = authority.sign("ann")
    server = start_etcd(certificate=authority.sign("server"), client_ca=authority.certificate)
    async with open_store(f"etcd://{server.endpoint}/tls", **tls(ann)) as store, await store.grant(5) as lease:
        revision = await store.put("a", b"1", lease=lease)
        watch = store.watch("a", revision - 1)
        assert (await asyncio.wait_for(anext(watch), LONG)).revision == revision
        await watch.aclose()
    assert b"tls:k/a" not in server.gateway(ann).range()


@pytest.mark.security(10)
@pytest.mark.parametrize("wrong", ["authority", "no certificate", "strange certificate", "expired certificate"])
async def test_a_client_with_the_wrong_papers_is_refused_in_time(
    start_etcd: Callable[..., Server], authority: Authority, tmp_path: Path, wrong: str
) -> None:
    ann, other = authority.sign("ann"), Authority(tmp_path / "other")
    stranger, old = other.sign("stranger"), authority.sign("old", days=-1)
    server = start_etcd(certificate=authority.sign("server"), client_ca=authority.certificate)
    options = {
        "authority": tls(ann, ca=other.certificate),
        "no certificate": {"ca": str(authority.certificate)},
        "strange certificate": tls(ann, cert=stranger.path, key=stranger.key),
        "expired certificate": tls(ann, cert=old.path, key=old.key),
    }[wrong]
    with pytest.raises(Unavailable):
        async with asyncio.timeout(LONG), open_store(f"etcd://{server.endpoint}/tls?timeout=0.5", **options):
            pass
    assert not server.gateway(ann).range()


@pytest.mark.security(10)
@pytest.mark.parametrize("wrong", [{"days": -1}, {"names": "DNS:elsewhere.test"}], ids=["expired", "other name"])
async def test_a_server_with_the_wrong_papers_is_not_believed(
    start_etcd: Callable[..., Server], authority: Authority, wrong: dict[str, object]
) -> None:
    server = start_etcd(certificate=authority.sign("server", **wrong))  # type: ignore[arg-type]
    with pytest.raises(Unavailable):
        async with (
            asyncio.timeout(LONG),
            open_store(f"etcd://{server.endpoint}/tls?timeout=0.5", **tls(authority.sign("ann"))),
        ):
            pass


async def test_renewed_certificates_are_taken_up_by_an_open_store(
    start_etcd: Callable[..., Server], authority: Authority, tmp_path: Path
) -> None:
    """Client, server and authority change while the store is open; only connections that were there know the old."""
    ann, shown = authority.sign("ann"), authority.sign("server")
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(authority.certificate.read_bytes())
    server = start_etcd(certificate=shown, client_ca=trusted)
    async with (
        Proxy(server.host, server.port, plain=False) as proxy,
        open_store(f"etcd://{proxy.endpoint}/tls", **tls(ann, ca=trusted)) as store,
    ):
        revision = await store.put("a", b"1")
        watch = store.watch("a", revision)
        waiting = asyncio.create_task(anext(watch))
        renewed = Authority(tmp_path / "renewed")
        trusted.write_bytes(renewed.certificate.read_bytes())
        shown.replace_by(renewed.sign("server"))
        ann.replace_by(renewed.sign("ann"))
        # etcd reads its certificate at each handshake, its clients' authority when it starts.
        server.restart()
        await asyncio.to_thread(server.ready)
        proxy.cut()
        async with asyncio.timeout(LONG):
            second = await usable(store.put, "a", b"2")
            assert (await waiting).revision == second
        await watch.aclose()


async def usable(call: Callable[..., object], *arguments: object) -> int:
    """Make a call until the store can be reached again."""
    while True:
        try:
            return await call(*arguments)  # type: ignore[misc,no-any-return]
        except Unavailable:
            continue


# Plain text ----------------------------------------------------------------------------------------------------------


@pytest.mark.security(10)
async def test_plain_text_leaves_this_host_only_when_that_is_said() -> None:
    """To another host the client speaks TLS, so that a server of plain text is not even asked."""
    heard: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(3))
        writer.transport.abort()

    server = await asyncio.start_server(listen, "0.0.0.0", 0)  # noqa: S104 - on an address that is not loopback
    port = server.sockets[0].getsockname()[1]
    host = own_address()
    async with server:
        for options, first in (("", b"\x16\x03\x01"), ("&insecure=1", b"PRI")):
            heard.clear()
            with pytest.raises(Unavailable):
                async with open_store(f"etcd://{host}:{port}/x?timeout=1{options}"):
                    pass
            assert set(heard) - {b""} == {first}
    with pytest.raises(InvalidArgument, match="insecure"):
        async with open_store(f"etcd://{host}:{port}/x?insecure=1&ca=/x"):
            pass


def own_address() -> str:
    """Return an address of this host that is not on loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this host has no address but loopback")
        return str(probe.getsockname()[0])


# Passwords -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def guarded(start_etcd: Callable[..., Server]) -> Server:
    """Return a server on which ann may use the store `mine` and nothing else; its tokens live for a second."""
    server = start_etcd(token_ttl=1)
    gateway = server.gateway()
    gateway.add_user("ann", SECRET, "mine:")
    gateway.require_passwords("of-root")
    return server


@pytest.fixture
def as_ann(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COORD_ETCD_USER", "ann")
    monkeypatch.setenv("COORD_ETCD_PASSWORD", SECRET)


@pytest.fixture
def credentials(tmp_path: Path) -> Path:
    path = tmp_path / "credentials"
    path.touch(0o600)
    path.write_text(f"ann:{SECRET}\n")
    return path


@pytest.mark.security(10)
async def test_a_user_of_one_prefix_can_use_the_whole_contract(guarded: Server, credentials: Path) -> None:
    url = f"etcd://{guarded.endpoint}/mine?credentials={credentials}"
    async with open_store(url) as store, await store.grant(5) as lease:
        revision = await store.put("a", b"1", lease=lease)
        assert await store.get("a")
        await store.transact([Put("b", b"")], appends=[Append("s", b"r")], fence=("a", revision), resolvable=True)
        assert [record.data for record in await store.read("s")] == [b"r"]
        watch = store.watch("", revision - 1)
        assert (await asyncio.wait_for(anext(watch), LONG)).revision == revision
        await watch.aclose()
        assert [info.id for info in await store.leases()].count(lease.id) == 1
    with pytest.raises(CoordError, match=r"refused|permission"):
        async with open_store(f"etcd://{guarded.endpoint}/other?timeout=3&credentials={credentials}"):
            pass


@pytest.mark.usefixtures("as_ann")
async def test_an_expired_token_is_renewed_and_nobody_notices(guarded: Server) -> None:
    async with open_store(f"etcd://{guarded.endpoint}/mine") as store:
        revision = await store.put("a", b"1")
        watch = store.watch("a", revision)
        waiting = asyncio.create_task(anext(watch))
        # A token lives on while it is used, and to ask whether it does would use it.
        await asyncio.sleep(2.5)
        second = await store.put("a", b"2", expect=revision)
        assert (await asyncio.wait_for(waiting, LONG)).revision == second
        await watch.aclose()
        assert store.statistics()["logins"] == 2


@pytest.mark.usefixtures("as_ann")
async def test_what_is_asked_while_a_token_is_renewed_is_not_refused(guarded: Server) -> None:
    async with open_store(f"etcd://{guarded.endpoint}/mine") as store:
        await store.put("a", b"1")
        await asyncio.sleep(2.5)  # as above
        first = asyncio.create_task(store.get("a"))
        meanwhile = []
        while not first.done():  # a password is checked for a tenth of a second
            meanwhile.append(asyncio.create_task(store.get("a")))
            await asyncio.sleep(0.005)
        assert {entry.value for entry in await asyncio.gather(first, *meanwhile) if entry} == {b"1"}
        assert len(meanwhile) > 2
        assert store.statistics()["logins"] < len(meanwhile), "each logged in for itself"


async def test_a_wrong_password_is_told_apart_from_no_server(guarded: Server, credentials: Path) -> None:
    credentials.write_text("ann:wrong")
    with pytest.raises(CoordError, match=r"(?i)authenticat|password|user") as caught:
        async with open_store(f"etcd://{guarded.endpoint}/mine?timeout=3&credentials={credentials}"):
            pass
    assert "wrong" not in str(caught.value).replace("wrong password", "")
    with pytest.raises(CoordError, match=r"(?i)password|user|credentials|COORD_ETCD_USER"):
        async with open_store(f"etcd://{guarded.endpoint}/mine?timeout=3"):
            pass


@pytest.mark.usefixtures("as_ann")
async def test_no_secret_is_shown(guarded: Server, caplog: pytest.LogCaptureFixture, credentials: Path) -> None:
    caplog.set_level(logging.DEBUG)
    texts = []
    for options in ("", f"&credentials={credentials}"):
        async with open_store(f"etcd://{guarded.endpoint}/mine?timeout=1{options}") as store:
            await store.put("a", b"1")
            texts += [repr(store), str(store), repr(await store.info()), repr(store.statistics()), repr(vars(store))]
            guarded.kill()
            with pytest.raises(CoordError) as caught:
                await asyncio.wait_for(store.put("a", b"2"), LONG)
            texts += [repr(caught.value), str(caught.value)]
            guarded.start()
            await asyncio.to_thread(guarded.ready)
    shown = "\n".join([*texts, caplog.text, *(record.getMessage() for record in caplog.records)])
    assert SECRET not in shown
    assert "etcd://" in shown


async def test_a_password_in_the_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(InvalidArgument, match="COORD_ETCD_PASSWORD") as caught:
        async with open_store(f"etcd://ann:{SECRET}@127.0.0.1:1/x"):
            pass
    assert SECRET not in str(caught.value)
    for option in ("password", "user"):
        with pytest.raises(InvalidArgument):
            async with open_store(f"etcd://127.0.0.1:1/x?{option}={SECRET}"):
                pass


@pytest.mark.security(10)
@pytest.mark.usefixtures("as_ann")
@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_no_secret_is_in_the_arguments_of_a_command(guarded: Server) -> None:
    coord = Path(sysconfig.get_path("scripts")) / "coord"
    watch = subprocess.Popen(
        [str(coord), "--store", f"etcd://{guarded.endpoint}/mine", "inspect", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    arguments = Path(f"/proc/{watch.pid}/cmdline").read_bytes()
    said, _ = watch.communicate(timeout=LONG)
    assert watch.returncode == 0, said
    assert SECRET not in said
    assert SECRET.encode() not in arguments
