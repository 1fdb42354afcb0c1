"""Locks and private paths, with real files, threads and processes."""

from __future__ import annotations

import os
import select
import threading
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from coordstore.errors import Unavailable, Unsupported
from coordstore.hostkit import StoreLock, boot_id
from coordstore.hostkit.paths import create_file, file_system, prepare_directory, refuse_network

if TYPE_CHECKING:
    from collections.abc import Iterator

MOUNTS = """\
22 1 {root} / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:99 / /mnt/share rw - nfs4 host:/export rw
31 22 0:98 / /mnt/with\\040space rw - fuse.sshfs me@host:/ rw
32 22 0:97 / /mnt/own rw - fuse.fuse-overlayfs overlay rw
"""


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[StoreLock]:
    made = StoreLock(tmp_path / "lock", 5)
    yield made
    made.close()


def test_a_lock_excludes_other_handles_and_names_its_holder(lock: StoreLock, tmp_path: Path) -> None:
    other = StoreLock(tmp_path / "lock", 0.02)
    with lock.held():
        with pytest.raises(Unavailable, match=f"process {os.getpid()} on "), other.held():
            pytest.fail("two holders")
        assert str(os.getpid()) in repr(lock.holder())
    with other.held():
        assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600
    other.close()


def test_a_lock_excludes_the_threads_that_share_it(lock: StoreLock) -> None:
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(200):
            with lock.held():
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, inside) == (1, 0)


def test_a_lock_is_free_again_after_an_error(lock: StoreLock) -> None:
    with pytest.raises(KeyError), lock.held():
        raise KeyError
    with lock.held(0):
        pass


def test_a_lock_file_that_was_removed_is_left_for_the_one_at_the_path(lock: StoreLock, tmp_path: Path) -> None:
    with lock.held():
        pass
    lock.path.unlink()
    other = StoreLock(tmp_path / "lock", 0.01)
    with other.held(), pytest.raises(Unavailable), lock.held(0.01):
        pytest.fail("two holders")
    with lock.held(), pytest.raises(Unavailable), other.held():
        pytest.fail("two holders")
    other.close()


@pytest.mark.req("S9")
def test_a_forked_child_does_not_keep_the_lock(lock: StoreLock, tmp_path: Path) -> None:
    ready, told = os.pipe()
    wait, free = os.pipe()
    with lock.held():
        child = os.fork()
        if child == 0:
            os.write(told, b"1")
            os.close(free)
            os.read(wait, 1)
            os._exit(0)
        os.read(ready, 1)
    # The parent dies without unlocking: here, its file is closed.
    with lock.held():
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, lock.fd)
        os.close(nothing)
    other = StoreLock(tmp_path / "lock", 1)
    with other.held():
        assert not select.select([ready], [], [], 0)[0]
    other.close()
    os.close(free)
    os.waitpid(child, 0)
    for descriptor in (ready, told, wait):
        os.close(descriptor)


def test_the_boot_id_is_this_boots() -> None:
    assert boot_id() is boot_id()
    if Path("/proc/sys/kernel/random/boot_id").exists():
        assert str(uuid.UUID(bytes=boot_id())) == Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def test_a_directory_is_made_private_and_a_shared_or_linked_one_refused(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        prepare_directory(tmp_path / "a" / "b")
    finally:
        os.umask(before)
    assert [folder.stat().st_mode & 0o777 for folder in (tmp_path / "a", tmp_path / "a" / "b")] == [0o700] * 2
    prepare_directory(tmp_path / "a" / "b")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    with pytest.raises(Unavailable, match=f"symbolic link: name the directory it leads to .{tmp_path}/a"):
        prepare_directory(tmp_path / "link")
    (tmp_path / "a").chmod(0o770)
    with pytest.raises(Unavailable, match="others may write"):
        prepare_directory(tmp_path / "a")


def test_a_file_is_created_private_and_only_where_there_is_none(tmp_path: Path) -> None:
    before = os.umask(0o777)
    try:
        os.close(create_file(tmp_path / "new"))
    finally:
        os.umask(before)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600
    (tmp_path / "dangling").symlink_to(tmp_path / "elsewhere")
    for name in ("new", "dangling"):
        with pytest.raises(FileExistsError):
            create_file(tmp_path / name)


@pytest.mark.req("S1")
@pytest.mark.parametrize(
    ("point", "kind"),
    [("/mnt/share/deep", "nfs4"), ("/mnt/with space", "fuse.sshfs"), ("/mnt/own/x", ""), ("/mnt/sharebutnot", "")],
)
def test_network_file_systems_are_refused_by_name(tmp_path: Path, point: str, kind: str) -> None:
    device = Path("/").stat().st_dev
    table = tmp_path / "mountinfo"
    table.write_text(MOUNTS.format(root="9:9" if kind else f"{os.major(device)}:{os.minor(device)}"))
    elsewhere = tmp_path / "elsewhere"
    if kind:
        with pytest.raises(Unsupported, match=rf"{kind}.*use a local path, or etcd"):
            refuse_network(_At(point), "sqlite", table)
    else:
        refuse_network(_At(point), "sqlite", table)
    assert file_system(elsewhere, tmp_path / "no table") == ""


class _At(type(Path())):  # type: ignore[misc]  # the platform's class of paths
    """A path that is not there, on a device that no mount shows, as btrfs has them."""

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        return os.stat_result((0, 0, os.makedev(77, 77), 0, 0, 0, 0, 0, 0, 0))
