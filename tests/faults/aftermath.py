"""What must be so after a traced life, whatever was done to it: nothing but opening the store is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.faults.deeds import DEEDS, MINUTE, Dial, attempted, mismatch, seen
from tests.faults.tracing import opened

if TYPE_CHECKING:
    from coordstore.store import StoreBase
    from tests.faults.tracing import Trial

__all__ = ["aftermath"]


async def aftermath(url: str, trial: Trial) -> list[str]:
    """Open the store after a trial; return what is wrong with what is there, and with going on."""
    dial = Dial(MINUTE * max(trial.begun, 1))
    wrong = []
    try:
        store = await opened(url, dial)
        try:
            wrong += mismatch(await seen(store, "d"), "d", trial.done, trial.unsure, dial.time)
            wrong += await goes_on(store, dial)
        finally:
            await store.aclose()
        store = await opened(url, dial)
        try:
            wrong += mismatch(await seen(store, "again"), "again", range(len(DEEDS)), (), MINUTE * len(DEEDS))
        finally:
            await store.aclose()
    except Exception as error:  # noqa: BLE001  (whatever it is: the store is not as it should be)
        wrong.append(f"using the store afterwards: {error!r}")
    return wrong


async def goes_on(store: StoreBase, dial: Dial) -> list[str]:
    """Do all deeds in another place; each must be done."""
    base = dial.time
    words = [await attempted(store, dial, number, "again", base) for number in range(len(DEEDS))]
    wrong = {deed.name: word for deed, word in zip(DEEDS, words, strict=True) if word != "ok"}
    return [f"the store does not work on: {wrong}"] if wrong else []
