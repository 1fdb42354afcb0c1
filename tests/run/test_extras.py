"""What a project's configuration gives each worktree: files that git does not know, and ports of its own."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from coordstore_orchestrator.worker import extras
from coordstore_orchestrator.worker.extras import FIRST_PORT, ExtrasRefused, Ports, copy_files

if TYPE_CHECKING:
    from pathlib import Path

    from tests.run.conftest import Place

pytestmark = pytest.mark.timeout(300)


@pytest.mark.req("W2")
def test_files_are_copied_and_ports_are_each_agents_own(place: Place) -> None:
    (place.repository / ".env").write_text("DATABASE=local\n")
    (place.repository / "coord.toml").write_text('[worktree]\ncopy = [".env", "absent"]\nports = 3\n')
    script = "cat .env > {0}.txt; echo $COORD_PORT $COORD_PORT_LAST >> {0}.txt; git status --porcelain >> {0}.txt"
    done = place.run(place.plan({name: {"sh": script.format(name)} for name in ("x", "y")}))
    assert done.code == 0, {name: task["reason"] for name, task in place.tasks().items()}
    said = {name: place.show(f"{name}.txt").splitlines() for name in ("x", "y")}
    assert {lines[0] for lines in said.values()} == {"DATABASE=local"}
    ranges = [[int(word) for word in lines[1].split()] for lines in said.values()]
    assert all(last - first == 2 for first, last in ranges)
    assert ranges[0] != ranges[1]
    assert ".env" not in place.git("ls-tree", "--name-only", "coord/s").split()


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", ".git/config", "a/../../x", "link", "folder"])
def test_what_leads_elsewhere_is_not_copied(tmp_path: Path, name: str) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "folder").mkdir(parents=True)
    target.mkdir()
    (source / "link").symlink_to("/etc/passwd")
    with pytest.raises(ExtrasRefused, match=r"worktree\.copy"):
        copy_files(source, target, [name])
    assert not list(target.iterdir())


def test_a_planted_link_is_not_written_through(tmp_path: Path) -> None:
    source, target, victim = (tmp_path / name for name in ("source", "target", "victim"))
    for folder in (source / "d", target, victim):
        folder.mkdir(parents=True)
    (source / ".env").write_text("x")
    (source / "d" / "f").write_text("x")
    (target / ".env").symlink_to(victim / "file")
    (target / "d").symlink_to(victim)
    for name in (".env", "d/f"):
        with pytest.raises(ExtrasRefused, match="is not followed"):
            copy_files(source, target, [name])
    assert not list(victim.iterdir())


def test_used_ports_are_passed_over() -> None:
    first = Ports(2).take()
    with socket.socket() as used:
        used.bind(("127.0.0.1", first[-1]))
        assert Ports(2).take().start > first.start


def test_a_range_that_was_given_back_is_the_last_to_be_given_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else an agent that starts when another has just ended gets that one's ports, and whatever still uses them."""
    monkeypatch.setattr(extras, "LAST_PORT", FIRST_PORT + 200)
    monkeypatch.setattr(extras, "_is_free", lambda _port: True)  # others on this machine use ports, too
    ports, given = Ports(50), []
    for _ in range(6):
        given.append(ports.take())
        ports.give_back(given[-1])
    assert given[0] not in given[1:3]
    assert given[3:] == given[:3]


def test_when_all_ranges_are_taken_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "LAST_PORT", FIRST_PORT + 200)
    monkeypatch.setattr(extras, "_is_free", lambda _port: True)  # others on this machine use ports, too
    ports = Ports(50)
    taken = [ports.take() for _ in range(3)]
    with pytest.raises(ExtrasRefused, match=r"lower worktree\.ports"):
        ports.take()
    ports.give_back(taken[1])
    assert ports.take() == taken[1]


def test_agents_that_start_at_the_same_time_get_different_ports() -> None:
    ports = Ports(1)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: ports.take(), range(64)))
    assert len({each.start for each in found}) == 64
