"""Commands that only look make nothing in a cluster, where a prefix may be spelled wrong."""

from __future__ import annotations

import json

import pytest

from coordstore import open_store
from coordstore.cli.main import main
from coordstore.errors import NoStore

LOOKING = (
    ["inspect"],
    ["inspect", "--json"],
    ["events"],
    ["logs", "t1.1"],
    ["report"],
    ["metrics"],
    ["doctor"],
    ["cancel", "s"],
)


def keys(endpoint: str, prefix: str) -> int:
    """Ask etcd itself how many keys lie under a prefix."""
    import grpc

    from coordstore_etcd.member import OPTIONS, described
    from coordstore_etcd.messages import messages

    path, take, give = described("Range")
    with grpc.insecure_channel(endpoint, options=OPTIONS) as channel:
        call = channel.unary_unary(path, request_serializer=take, response_deserializer=give)
        start = prefix.encode()
        request = messages.RangeRequest(key=start, range_end=start[:-1] + bytes([start[-1] + 1]), count_only=True)
        return int(call(request, timeout=20, wait_for_ready=True).count)


def parts(url: str) -> tuple[str, str]:
    endpoint, _, rest = url.removeprefix("etcd://").partition("/")
    return endpoint.split(",")[0], rest.partition("?")[0]


@pytest.mark.req("C1")
@pytest.mark.parametrize("args", LOOKING, ids=" ".join)
def test_looking_at_an_empty_prefix_makes_nothing(
    etcd_url: str, args: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    endpoint, prefix = parts(etcd_url)
    assert main(["--store", etcd_url, *args]) in (0, 1, 2)
    told = "".join(capfd.readouterr())
    assert "Traceback" not in told
    assert keys(endpoint, prefix) == 0
    if args == ["inspect", "--json"]:
        assert json.loads(told) == {"schema": 1, "store": None, "sessions": []}
    if args == ["doctor"]:
        assert "there is no store at etcd://" in told


async def test_an_open_that_may_make_nothing_says_so(etcd_url: str) -> None:
    with pytest.raises(NoStore, match="no store at etcd://"):
        async with open_store(etcd_url, create="0"):
            pass
    async with open_store(etcd_url) as made:
        store_id = (await made.info()).store_id
    async with open_store(etcd_url, create="0") as found:
        assert (await found.info()).store_id == store_id
