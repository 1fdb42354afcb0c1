"""Many contend for one lock at the same moment, from several processes: exactly one has it, each time."""

from __future__ import annotations

import contextlib
import tempfile
from typing import TYPE_CHECKING, Final

from tests.children import Child
from tests.faults.campaign import Campaign, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CAMPAIGN", "races"]

PROCESSES: Final = 4
CROWDS: Final = (2, 8, 32)
CONTEND = """
    from coordstore.recipes import Lock, Pool

    async def take(store, thing, round_):
        recipe = Lock(store, f"race-{round_}") if thing == "lock" else Pool(store, f"race-{round_}")
        try:
            return await (recipe.acquire(wait=0) if thing == "lock" else recipe.reserve(wait=0))
        except Busy:
            return None

    async with opened() as store:
        say("ready")
        while (line := await heard()) != "end":
            thing, round_, crowd = line.split()
            found = await asyncio.gather(*(take(store, thing, round_) for _ in range(int(crowd))))
            won = [held for held in found if held is not None]
            say(len(won), *(held.token for held in won))
            await heard()
            for held in won:
                await held.release()
            say("left")
"""
REGISTER = """
    from coordstore.recipes import Pool
    async with opened() as store, await store.grant(3600) as lease:
        for round_ in ARGS:
            await Pool(store, f"race-{round_}", lease=lease).register("only")
        say("ready")
        await heard()
"""


def race(children: list[Child], thing: str, round_: str, crowd: int) -> str:
    """Let a crowd contend once; return what was wrong."""
    shares = [crowd // len(children) + (n < crowd % len(children)) for n in range(len(children))]
    for child, share in zip(children, shares, strict=True):
        child.tell(f"{thing} {round_} {share}")
    said = [child.line().split() for child in children]
    for child in children:
        child.tell("over")
    left = [child.line() for child in children]
    winners = sum(int(words[0]) for words in said if words)
    if winners != 1 or left != ["left"] * len(children):
        return f"{crowd} contenders for {thing} {round_}: {winners} winners, {said}"
    return ""


def races(url: str, trials: int) -> Outcome:
    """Make so many rounds of each crowd on a store; the scheduler is what chance there is."""
    scheme, _, place = url.partition(":")
    rounds = [(crowd, f"{crowd}-{n}") for crowd in CROWDS for n in range(trials)]
    with contextlib.ExitStack() as stack:
        registrar = Child(scheme, REGISTER, place, *(name for _, name in rounds))
        stack.callback(registrar.end)
        registrar.line()
        children = [Child(scheme, CONTEND, place) for _ in range(PROCESSES)]
        for child in children:
            stack.callback(child.end)
            child.line()
        found = [race(children, thing, name, crowd) for crowd, name in rounds for thing in ("lock", "pool")]
    wrong = tuple(failure for failure in found if failure)
    return Outcome(scheme, len(found), wrong, f"{PROCESSES} processes, crowds of 2, 8 and 32")


def run(trials: int, seed: int) -> Iterator[Outcome]:
    """Make so many rounds on each local backend."""
    del seed
    for scheme in ("sqlite", "file"):
        with tempfile.TemporaryDirectory() as folder:
            yield races(f"{scheme}:{folder}/store?durability=process", trials)


CAMPAIGN = Campaign("claim-race", "Of all who contend at once, exactly one wins.", run, full=100, part=2)
