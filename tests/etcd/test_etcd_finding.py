"""The etcd to test with is found in the documented order, and its absence fails where etcd is required."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.etcdlab.finding import IMAGE, Found, daemon_answers, find, none_here, program

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.req("S12")

ASKED = ("path", "wheel", "daemon")
Probes = dict[str, object]


def probes(*there: str) -> tuple[Probes, list[str]]:
    """Return probes that find what is there, and the list of those that were asked."""
    asked: list[str] = []

    def answer(name: str, found: object) -> Callable[..., object]:
        def probe(*_: str) -> object:
            asked.append(name)
            return found if name in there else None

        return probe

    return {
        "on_path": answer("path", "/bin/etcd"),
        "in_wheel": answer("wheel", "/wheel/etcd"),
        "daemon": answer("daemon", True),
    }, asked


@pytest.mark.parametrize(
    ("environ", "there", "found", "asked"),
    [
        ({"COORD_TEST_ETCD": "h:1"}, ASKED, Found("endpoint", "h:1"), []),
        ({"COORD_TEST_ETCD": ""}, ASKED, Found("path", "/bin/etcd"), ["path"]),
        ({}, ASKED, Found("path", "/bin/etcd"), ["path"]),
        ({}, ("wheel", "daemon"), Found("wheel", "/wheel/etcd"), ["path", "wheel"]),
        ({}, ("daemon",), Found("container", IMAGE), ["path", "wheel", "daemon"]),
        ({"COORD_TEST_ETCD_IMAGE": "mine:1"}, ("daemon",), Found("container", "mine:1"), ["path", "wheel", "daemon"]),
        ({}, (), None, ["path", "wheel", "daemon"]),
    ],
)
def test_the_first_that_is_there_is_taken_and_no_later_one_is_asked(
    environ: dict[str, str], there: tuple[str, ...], found: Found | None, asked: list[str]
) -> None:
    given, seen = probes(*there)
    assert find(environ, **given) == found  # type: ignore[arg-type]
    assert seen == asked


def test_only_a_program_on_path_is_killed() -> None:
    assert [Found(kind, "x").may_be_killed for kind in ("endpoint", "path", "wheel", "container")] == [
        False,
        True,
        False,
        False,
    ]
    nothing, wheel = (lambda _: None), (lambda: "/wheel/etcd")
    assert program(to_be_killed=True, on_path=nothing, in_wheel=wheel) is None
    assert program(to_be_killed=False, on_path=nothing, in_wheel=wheel) == "/wheel/etcd"


def test_a_docker_client_without_a_daemon_is_no_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    assert not daemon_answers()
    monkeypatch.setenv("DOCKER_HOST", "nonsense://")
    assert not daemon_answers()


def test_without_etcd_a_test_is_skipped_and_where_etcd_is_required_it_fails() -> None:
    with pytest.raises(pytest.skip.Exception, match="no etcd: install etcd"):
        none_here("no etcd", {})
    with pytest.raises(pytest.fail.Exception, match="COORD_REQUIRE_ETCD is set, but no etcd"):
        none_here("no etcd", {"COORD_REQUIRE_ETCD": "1"})
