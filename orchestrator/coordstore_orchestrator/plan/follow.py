"""Follows the advice about many agents or one, where it was measured and nobody said otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coordstore.session.keys import SessionKeys
from coordstore.session.values import as_object
from coordstore_orchestrator.plan.breakeven import estimate
from coordstore_orchestrator.plan.history import measured
from coordstore_orchestrator.plan.load import plan_digest
from coordstore_orchestrator.plan.single import as_one

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordstore.store import CoordStore
    from coordstore_orchestrator.plan.model import Plan

__all__ = ["followed"]


async def followed(
    store: CoordStore, session: str, plan: Plan, *, one: bool | None, slots: int | None, say: Callable[[str], None]
) -> Plan:
    """Return a plan as it is to be run: as it is, or as one task for one agent.

    A session that exists goes on as it began.

    Args:
        store: Where the session lives, and where was measured.
        session: Its name.
        plan: As it was written.
        one: What was asked for: one agent, many, or None: whatever is faster.
        slots: How many agents run at a time; None: somebody asked for a number, and so for many.
        say: Told what was decided.
    """
    single = as_one(plan)
    begun = as_object(await store.get(SessionKeys(session).meta)).get("digest")
    if single is None or begun is not None:
        return single if single is not None and begun == plan_digest(single) else plan
    if one is None and slots is not None:
        expected = estimate(plan, await measured(store), slots)
        one = expected.measured and expected.one_is_better
        if one:
            say(f"{expected} and does all; --many-agents runs the plan as it is")
    return single if one else plan
