"""The lab does what it says: servers, clusters, the proxy's faults and the network's are seen from outside."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Self

import grpc
import pytest

from tests.etcdlab.certificates import Authority
from tests.etcdlab.cluster import Cluster
from tests.etcdlab.gateway import Gateway, GatewayError
from tests.etcdlab.network import HOST, Network
from tests.etcdlab.proxy import Proxy, Way
from tests.etcdlab.server import Server, ServerError

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.req("S12")

LONG = 20.0


class Bare:
    """A client of bare bytes: one put or get at a time on one channel."""

    def __init__(self, endpoint: str) -> None:
        self.channel = grpc.aio.insecure_channel(endpoint, [("grpc.use_local_subchannel_pool", 1)])

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.channel.close()

    async def put(self, key: bytes, value: bytes, deadline: float = LONG) -> None:
        request = b"\x0a" + bytes([len(key)]) + key + b"\x12" + bytes([len(value)]) + value
        await self.channel.unary_unary("/etcdserverpb.KV/Put")(request, timeout=deadline)

    async def get(self, key: bytes, deadline: float = LONG) -> bytes:
        request = b"\x0a" + bytes([len(key)]) + key
        return bytes(await self.channel.unary_unary("/etcdserverpb.KV/Range")(request, timeout=deadline))


def proxy_before(server: Server) -> Proxy:
    return Proxy(server.host, server.port)


async def test_a_server_keeps_its_data_over_a_kill_and_loses_it_when_wiped(etcd_server: Server) -> None:
    gateway = etcd_server.gateway()
    gateway.put("a", "b")
    etcd_server.restart()
    etcd_server.ready()
    assert gateway.range() == {b"a": b"b"}
    etcd_server.wipe()
    etcd_server.start()
    etcd_server.ready()
    assert gateway.range() == {}


def test_a_server_that_cannot_run_says_why(etcd_program: str, tmp_path: Path) -> None:
    server = Server(etcd_program, tmp_path, prefix=("sh", "-c", "echo no disk; exit 1"))
    with pytest.raises(ServerError, match="no disk"), server:
        pass


def test_a_stopped_server_is_silent_and_goes_on(etcd_server: Server) -> None:
    etcd_server.stop()
    assert not etcd_server.healthy()
    etcd_server.cont()
    etcd_server.ready()


@pytest.mark.timeout(120)
def test_a_cluster_elects_another_leader_and_takes_the_old_one_back(etcd_cluster: Cluster) -> None:
    old = etcd_cluster.leader()
    etcd_cluster.followers()[0].gateway().put("a", "b")
    old.kill()
    assert etcd_cluster.leader(after=old) is not old
    etcd_cluster.restart()
    assert old.gateway().range() == {b"a": b"b"}
    assert etcd_cluster.endpoints.count(",") == 2


def test_passwords_and_prefixes_are_asked_for(start_etcd: Callable[..., Server]) -> None:
    server = start_etcd(token_ttl=5)
    server.gateway().add_user("ann", "secret", "a/")
    server.gateway().require_passwords("root")
    ann = server.gateway()
    with pytest.raises(GatewayError, match="user name is empty"):
        ann.put("a/1", "x")
    ann.log_in("ann", "secret")
    ann.put("a/1", "x")
    with pytest.raises(GatewayError, match="permission denied"):
        ann.put("b/1", "x")


@pytest.mark.skipif(not shutil.which("openssl"), reason="makes certificates with openssl")
def test_certificates_are_good_expired_or_strange_as_asked(start_etcd: Callable[..., Server], tmp_path: Path) -> None:
    good, other = Authority(tmp_path / "good"), Authority(tmp_path / "other")
    ann = good.sign("ann")
    server = start_etcd(certificate=good.sign("server"), client_ca=good.certificate)
    server.gateway(ann).put("a", "b")
    with pytest.raises(OSError, match=r"certificate|alert|reset|EOF|Broken pipe"):
        server.gateway(other.sign("ann")).put("a", "b")
    context = ssl.create_default_context(cafile=str(good.certificate))
    with pytest.raises(OSError, match=r"certificate|alert|reset|EOF|Broken pipe"):
        Gateway(f"https://{server.endpoint}", context).put("a", "b")
    for wrong in (good.sign("old", days=-1), good.sign("elsewhere", names="DNS:elsewhere.test")):
        with pytest.raises(OSError, match="certificate verify failed"):
            start_etcd(certificate=wrong).gateway(ann).put("a", "b")


# The proxy -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stall", [False, True])
async def test_a_lost_reply_is_that_of_a_call_that_was_carried_out(etcd_server: Server, stall: bool) -> None:
    async with proxy_before(etcd_server) as proxy, Bare(proxy.endpoint) as client:
        await client.put(b"a", b"1")
        proxy.lose_next_reply(stall=stall)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.put(b"a", b"2", deadline=1.0 if stall else LONG)
        expected = grpc.StatusCode.DEADLINE_EXCEEDED if stall else grpc.StatusCode.UNAVAILABLE
        assert caught.value.code() is expected
        assert proxy.losses == 1
        assert etcd_server.gateway().range() == {b"a": b"2"}
        proxy.heal()
        await until_it_works(client)


async def until_it_works(client: Bare) -> None:
    async with asyncio.timeout(LONG):
        while True:
            try:
                return await client.put(b"z", b"z", deadline=2.0)
            except grpc.aio.AioRpcError:
                continue


async def test_what_is_held_comes_later_and_what_is_lost_never(etcd_server: Server) -> None:
    async with proxy_before(etcd_server) as proxy, Bare(proxy.endpoint) as client:
        await client.put(b"a", b"1")
        proxy.requests = Way.HELD
        late = asyncio.create_task(client.put(b"a", b"2"))
        with pytest.raises(grpc.aio.AioRpcError):
            await client.get(b"a", deadline=0.3)
        assert etcd_server.gateway().range() == {b"a": b"1"}
        proxy.requests = Way.OPEN
        await late
        assert etcd_server.gateway().range() == {b"a": b"2"}
        proxy.replies = Way.LOST
        with pytest.raises(grpc.aio.AioRpcError):
            await client.put(b"a", b"3", deadline=0.5)
        assert etcd_server.gateway().range() == {b"a": b"3"}
        proxy.heal()
        proxy.requests = Way.LOST
        with pytest.raises(grpc.aio.AioRpcError):
            await client.put(b"a", b"4", deadline=0.5)
        assert etcd_server.gateway().range() == {b"a": b"3"}
        proxy.heal()
        await until_it_works(client)


async def test_a_connection_is_cut_at_the_byte_that_was_asked_for(etcd_server: Server) -> None:
    etcd_server.gateway().put("a", "x" * 5000)
    async with proxy_before(etcd_server) as proxy, Bare(proxy.endpoint) as client:
        proxy.lifetime = lambda: 3000
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.get(b"a")
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert proxy.cuts == 1
        proxy.heal()
        await until_it_works(client)
        assert await client.get(b"a")
        proxy.refusing = True
        proxy.cut()
        with pytest.raises(grpc.aio.AioRpcError):
            await client.get(b"a")


# The network ---------------------------------------------------------------------------------------------------------


def lab_network() -> Network:
    for program in ("ip", "iptables"):
        if not shutil.which(program):
            pytest.skip(f"needs {program}")
    network = Network(["n0", "n1", "n2"])
    try:
        with network:
            pass
    except OSError as error:
        pytest.skip(f"may not make network namespaces: {error}")
    return network


@pytest.mark.timeout(120)
def test_a_network_drops_packets_one_way_or_both(etcd_program: str, tmp_path: Path) -> None:
    with (
        lab_network() as network,
        Cluster(etcd_program, tmp_path, nodes=[network[f"n{i}"] for i in range(3)]) as cluster,
    ):
        old = cluster.leader()
        others = [server.name for server in cluster.servers if server is not old]
        network.part(old.name, *others)
        assert cluster.leader(after=old).name in others
        with pytest.raises(OSError, match="timed out"):
            old.gateway(patience=0.5).put("a", "lost")
        network.heal()
        cluster.ready()
        for way in ((HOST, "n0"), ("n0", HOST)):
            network.drop(*way)
            with pytest.raises(OSError, match="timed out"):
                cluster.servers[0].gateway(patience=0.5).put("a", " ".join(way))
            assert cluster.servers[1].healthy()
            network.heal()
        cluster.ready()
        names = [node.namespace for node in network.nodes.values() if node.namespace]

    assert not {path.name for path in Path("/run/netns").iterdir()} & set(names)
