"""Eight senders, eight receivers that are killed at random: every message is handled or dead with its reason.

At ``durability=process``, which is what a kill needs; two receivers share each of four boxes.
"""

from __future__ import annotations

import asyncio
import random
import signal
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from coordstore import open_store
from coordstore.recipes import Mailbox
from tests.children import Child
from tests.faults.campaign import Campaign, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CAMPAIGN", "trial"]

SENDERS: Final = 8
BOXES: Final = 4
RECEIVERS: Final = 8
POISON: Final = 250
"""One of so many messages of a sender can be handled by nobody."""
ATTEMPTS: Final = 30
EVERY: Final = 3.0
"""Seconds between two kills."""
DEADLINE: Final = 600.0
SEND = """
    from coordstore.recipes import Mailbox
    sender, number, boxes, poison = ARGS[0], *map(int, ARGS[1:])
    async with opened() as store:
        mail = Mailbox(store, "s1", sender)
        for box in range(boxes):
            bodies = [f"{sender}.{n}{'!' if n % poison == poison - 1 else ''}" for n in range(box, number, boxes)]
            await mail.send_many(f"box{box}", bodies)
        say("sent")
"""
RECEIVE = """
    from coordstore.recipes import Mailbox
    from coordstore.recipes.letter import Retries

    box, notes = ARGS[0], open(ARGS[1], "a", buffering=1)

    async def handle(message):
        notes.write(message.body + "\\n")  # before it is acknowledged: what is acknowledged is in the file
        await message.ack()

    async def work(inbox):
        under_way = []
        while True:
            message = await inbox.receive()
            poison = message.body.endswith("!")
            if poison or len(under_way) == 32:
                await asyncio.gather(*under_way)
                under_way.clear()
            if poison:
                await message.nack("poison", delay=0)
            else:
                under_way.append(asyncio.create_task(handle(message)))

    async with opened() as store:
        mail = Mailbox(store, "s1", box, retries=Retries(attempts=int(ARGS[2]), base=0.01))
        while True:
            try:
                async with mail.inbox(prefetch=32, ttl=2) as inbox:
                    await work(inbox)
            except (Fenced, LeaseLost):
                pass  # the machine stood still for so long: begin again
"""


def receiver(url: str, folder: Path, n: int) -> Child:
    """Start one of the receivers."""
    return child(url, RECEIVE, f"box{n % BOXES}", str(folder / f"got{n}"), str(ATTEMPTS))


def child(url: str, script: str, *args: str) -> Child:
    """Start a process that works on a store."""
    scheme, _, place = url.partition(":")
    return Child(scheme, script, place, *args)


async def until_empty(url: str, folder: Path, children: list[Child], chance: random.Random) -> tuple[int, set[str]]:
    """Kill receivers until all is sent and handled; return how many, and what is dead in the end."""
    kills, end, calm = 0, time.monotonic() + DEADLINE, time.monotonic()
    async with open_store(url) as store:
        boxes = [Mailbox(store, "s1", f"box{n}") for n in range(BOXES)]
        while time.monotonic() < end:
            await asyncio.sleep(0.2)
            sent = all(sender.process.poll() is not None for sender in children[RECEIVERS:])
            if sent and not (await store.list("s1/mail", limit=1, keys_only=True)).entries:
                break
            if time.monotonic() > calm + EVERY:
                one = chance.randrange(RECEIVERS)
                children[one].signal(signal.SIGKILL)
                children[one].end()
                children[one], calm, kills = receiver(url, folder, one), time.monotonic(), kills + 1
        dead = [letter for box in boxes for letter in await box.dead_letters()]
    reasons = {letter.reason for letter in dead} - {f"given up after {ATTEMPTS} deliveries: poison"}
    return kills, {str(letter.body) for letter in dead} | {f"reason {reason}" for reason in reasons}


def trial(url: str, folder: Path, number: int, chance: random.Random) -> Outcome:
    """Send so many messages and see what became of each; notes of what was handled are kept in a folder."""
    each = number // SENDERS
    began = time.monotonic()
    children = [receiver(url, folder, n) for n in range(RECEIVERS)]
    send = (str(each), str(BOXES), str(POISON))
    children += [child(url, SEND, f"s{n}", *send) for n in range(SENDERS)]
    try:
        kills, dead = asyncio.run(until_empty(url, folder, children, chance))
    finally:
        for each_child in children:
            each_child.end()
    took = time.monotonic() - began
    every = {f"s{n}.{m}{'!' if m % POISON == POISON - 1 else ''}" for n in range(SENDERS) for m in range(each)}
    got = [line for path in folder.glob("got*") for line in path.read_text().splitlines()]
    poison = {body for body in every if body.endswith("!")}
    failures = [f"lost, or not handled within {DEADLINE:g} s: {body}" for body in sorted(every - poison - set(got))]
    failures += [f"not dead: {body}" for body in sorted(poison - dead)]
    failures += [f"dead: {body}" for body in sorted(dead - poison)]
    twice = len(got) - len(set(got))
    note = f"{kills} kills, {len(poison)} dead letters, {twice} handled twice, {len(every) / took:,.0f}/s"
    return Outcome(url.partition(":")[0], len(every), tuple(failures), note)


def run(trials: int, seed: int) -> Iterator[Outcome]:
    """Send so many messages on each backend."""
    for scheme in ("sqlite", "file"):
        with tempfile.TemporaryDirectory() as folder:
            url = f"{scheme}:{folder}/store?durability=process"
            yield trial(url, Path(folder), trials, random.Random(seed))


CAMPAIGN = Campaign("mail-kills", "No message is lost when receivers are killed.", run, full=100_000, part=2000)
