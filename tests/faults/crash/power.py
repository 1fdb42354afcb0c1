"""Cuts the power of a real file system: ``python -m tests.faults.crash.power SCHEME CUTS SEED [PLANT]``.

An ext4 on a loop device, mounted in a mount namespace of our own (elsewhere another process could pin the dead file
system, and one would read the old one). A child opens a store there and does deeds; after each it tells and blocks.
After a number of deeds that the seed chooses the file system is shut down without a flush of its journal, the child is
killed, the file system is mounted again (its journal is replayed), and another child tells what the store holds.

The child blocks at the cut on purpose: the shutdown is not atomic with a sync under way, so a cut of a running child
shows losses that are none; and stopping the child by a signal mostly hits the moment just after a sync, which hides
what comes after it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import json
import logging
import os
import pickle
import random
import signal
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from tests.faults.crash.deeds import Deed, Doer, Ledger, ShiftedClock, any_deed
from tests.faults.crash.plants import planted
from tests.faults.crash.record import FAST, Found, look
from tests.faults.crash.workload import opened, place, reboot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

SHUTDOWN = 0x8004587D
NO_LOG_FLUSH = 2
NEW_NAMESPACE = 0x20000
PRIVATE_RECURSIVE = (1 << 18) | (1 << 14)
NO_ACCESS_TIME = 1024
LAZY = 2
MEBIBYTES = 48
DEEDS = 25
"""Deeds of one child, at most."""
FRESH_DISK = 100
"""Cuts after which the file system is made anew."""

libc = ctypes.CDLL(None, use_errno=True)


def checked(result: int, what: str) -> None:
    """Raise the error of a call into the C library."""
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


class Disk:
    """A file system on a loop device, which one can cut the power of.

    Args:
        folder: Where image and mount point are.
    """

    def __init__(self, folder: Path) -> None:
        self.point = folder / "mounted"
        self._image = folder / "image"
        self._device = ""
        self.point.mkdir()

    def make(self) -> None:
        """Make the file system anew and mount it."""
        self.drop()
        with self._image.open("wb") as image:
            image.truncate(MEBIBYTES * 1024**2)
        subprocess.run(["mkfs.ext4", "-q", "-F", str(self._image)], check=True)
        found = subprocess.run(
            ["losetup", "-f", "--show", str(self._image)], check=True, capture_output=True, text=True
        )
        self._device = found.stdout.strip()
        self.mount()

    def mount(self) -> None:
        """Mount it; its journal is replayed."""
        point, device = os.fsencode(self.point), os.fsencode(self._device)
        checked(libc.mount(device, point, b"ext4", NO_ACCESS_TIME, None), f"mount of {self._device}")

    def cut(self) -> None:
        """Cut the power: nothing that is in memory only will reach the disk."""
        handle = os.open(self.point, os.O_RDONLY)
        try:
            fcntl.ioctl(handle, SHUTDOWN, NO_LOG_FLUSH.to_bytes(4, sys.byteorder))
        finally:
            os.close(handle)

    def unmount(self) -> None:
        """Unmount what nobody uses any more."""
        checked(libc.umount2(os.fsencode(self.point), 0), f"unmount of {self.point}")

    def drop(self) -> None:
        """Unmount it and let go of the device, whatever state it is in."""
        if self._device:
            libc.umount2(os.fsencode(self.point), LAZY)
            subprocess.run(["losetup", "-d", self._device], check=True)
            self._device = ""


@contextlib.contextmanager
def disk() -> Iterator[Disk]:
    """Yield a mounted file system that only this process and its children see."""
    checked(libc.unshare(NEW_NAMESPACE), "unshare")
    checked(libc.mount(b"none", b"/", None, PRIVATE_RECURSIVE, None), "making mounts private")
    with tempfile.TemporaryDirectory(prefix="coord-power-", dir=FAST) as folder:
        made = Disk(Path(folder))
        try:
            made.make()
            yield made
        finally:
            made.drop()


def forked(work: Callable[[int, int], None]) -> tuple[int, int, int]:
    """Run something in a warm child; return its pid, a pipe to read from it and one to write to it."""
    (its_in, our_out), (our_in, its_out) = os.pipe(), os.pipe()
    pid = os.fork()
    if not pid:
        os.close(our_in)
        os.close(our_out)
        die_after(work, its_in, its_out)
    os.close(its_in)
    os.close(its_out)
    return pid, our_in, our_out


def die_after(work: Callable[[int, int], None], its_in: int, its_out: int) -> NoReturn:
    """Do the work of a child and end it without a return to what was forked."""
    try:
        work(its_in, its_out)
    except BaseException:  # noqa: BLE001  (nothing may leave this child)
        # The parent finds the pipe closed; a person finds this.
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def deeds_of(chance: random.Random) -> list[Deed]:
    """Return what one child does."""
    return [any_deed(chance, number) for number in range(DEEDS)]


def child(scheme: str, path: Path, deeds: Sequence[Deed], plant: str) -> Callable[[int, int], None]:
    """Return what does the deeds: after the opening and after each, one byte out, then one in."""

    async def work(its_in: int, its_out: int) -> None:
        clock = ShiftedClock()
        store = await opened(scheme, path, clock)
        doer = Doer(store, clock)
        os.write(its_out, store.store_id.encode())  # type: ignore[attr-defined]  # every backend's handle has it
        os.read(its_in, 1)
        for deed in deeds:
            await doer.do(deed)
            os.write(its_out, b".")
            os.read(its_in, 1)

    def run(its_in: int, its_out: int) -> None:
        with planted(plant):
            asyncio.run(work(its_in, its_out))

    return run


def found_by_child(scheme: str, path: Path, plant: str) -> Found:
    """Look at a store in a child of its own."""

    def work(_: int, its_out: int) -> None:
        with planted(plant):
            found = asyncio.run(look(scheme, path))
        with os.fdopen(its_out, "wb") as pipe:
            pickle.dump(found, pipe)

    pid, our_in, our_out = forked(work)
    os.close(our_out)
    with os.fdopen(our_in, "rb") as pipe:
        raw = pipe.read()
    os.waitpid(pid, 0)
    return pickle.loads(raw) if raw else Found(problem="the child that looked died")  # noqa: S301  (our own child's)


def one_cut(there: Disk, scheme: str, number: int, chance: random.Random, plant: str) -> tuple[int, str]:
    """Make one cut; return how many deeds had been acknowledged, and what was wrong."""
    folder = there.point / f"n{number}"
    deeds, last = deeds_of(chance), chance.randint(0, DEEDS - 1)
    path = place(folder, scheme)
    folder.mkdir(mode=0o700)
    boot = there.point.parent / "boot"
    reboot(boot)
    pid, our_in, our_out = forked(child(scheme, path, deeds, plant))
    try:
        store_id = os.read(our_in, 64).decode()
        for _ in range(last if store_id else 0):
            os.write(our_out, b".")
            if not os.read(our_in, 1):
                break
        there.cut()
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(our_in)
        os.close(our_out)
    there.unmount()
    there.mount()
    reboot(boot)
    return last, compared(deeds[:last], store_id, path, scheme, plant)


def compared(deeds: Sequence[Deed], store_id: str, path: Path, scheme: str, plant: str) -> str:
    """Return in what the store on the disk differs from what was acknowledged."""
    ledger = Ledger()
    for deed in deeds:
        ledger.do(deed)
    if not path.exists():
        return "the store is not there"
    found = found_by_child(scheme, path, plant)
    if found.problem:
        return found.problem
    if found.store_id != store_id:
        return f"opened as {store_id}, now it is {found.store_id}"
    wanted = ledger.shown()
    return "" if found.contents == wanted else f"{wanted.told()}, not {found.contents.told()}"


def main(arguments: Sequence[str]) -> None:
    """Make so many cuts and print each as a line of JSON."""
    scheme, cuts, seed, *plant = arguments
    logging.getLogger("coordstore").setLevel(logging.ERROR)
    warm(scheme)
    with disk() as there:
        for number in range(int(cuts)):
            if number and number % FRESH_DISK == 0:
                there.make()
            chance = random.Random(f"{seed}/{number}")
            acked, problem = one_cut(there, scheme, number, chance, plant[0] if plant else "")
            sys.stdout.write(json.dumps({"cut": number, "acked": acked, "problem": problem}) + "\n")
            sys.stdout.flush()


def warm(scheme: str) -> None:
    """Import in the parent what every child needs."""

    async def once(folder: Path) -> None:
        async with await opened(scheme, place(folder, scheme)) as store:
            await store.put("a", b"")

    with tempfile.TemporaryDirectory(dir=FAST) as folder:
        Path(folder).chmod(0o700)
        asyncio.run(once(Path(folder)))


def cuts(scheme: str, number: int, seed: int, plant: str = "") -> Iterator[dict[str, Any]]:
    """Make so many cuts in a process of its own and yield what came of each."""
    command = [sys.executable, "-m", "tests.faults.crash.power", scheme, str(number), str(seed), plant]
    with subprocess.Popen(command, cwd=Path(__file__).parents[3], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield json.loads(line)
    if process.returncode:
        message = f"the cuts of {scheme} ended with {process.returncode}"
        raise RuntimeError(message)


if __name__ == "__main__":
    main(sys.argv[1:])
