"""Recipes that do what a recipe must not do, each with the check that has to notice."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any

from coordstore import recipes
from coordstore.errors import Fenced, OutcomeUnknown
from coordstore.model import Delete, Put
from coordstore.recipes import delivery, held, inbox, letter, looking, pool_memory, pool_view, reservation
from coordstore.recipes.waiting import by_age
from tests.recipes import agents, lines, meeting, notes, post
from tests.recipes.world import Kit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import pytest

    from coordstore.model import Check as Condition
    from tests.recipes.world import World

    Check = Callable[[World, Kit], Awaitable[None]]
    Plant = Callable[[pytest.MonkeyPatch], Kit]

BROKEN: dict[str, tuple[Plant, Check]] = {}


def caught_by(check: Check) -> Callable[[Plant], Plant]:
    """Note a bug and the check that must notice it."""

    def note(plant: Plant) -> Plant:
        BROKEN[plant.__name__] = plant, check
        return plant

    return note


# Lock ----------------------------------------------------------------------------------------------------------------


@caught_by(lines.lock_fences_off_a_former_holder)
def lock_without_fencing(patch: pytest.MonkeyPatch) -> Kit:
    patch.setattr(held.Held, "fence", None)
    return Kit()


@caught_by(lines.lock_has_one_holder)
def lock_that_looks_before_it_takes(patch: pytest.MonkeyPatch) -> Kit:
    class Lock(recipes.Lock):
        async def _look(self, held: Any, wait: float | None) -> Any:
            listing = await self.store.list(f"{self.prefix}/line/", keys_only=True)
            if len(listing.entries) > 2:
                return listing.entries[0].key, listing.revision, lambda change: change.entry is None
            return None

    return Kit(Lock=Lock)


@caught_by(lines.lock_used_again_and_again_has_one_holder)
def lock_that_trusts_its_memory(patch: pytest.MonkeyPatch) -> Kit:
    from coordstore.model import Check as Sound

    patch.setattr("coordstore.recipes.lock.Check", lambda key, revision: Sound("never", revision=0))
    return Kit()


@caught_by(lines.lock_is_handed_on_in_the_order_of_asking)
def lock_that_is_unfair(patch: pytest.MonkeyPatch) -> Kit:
    def by_name(entries: list[Any]) -> list[Any]:
        first, *others = by_age(entries)
        return [first, *reversed(others)]

    class Lock(recipes.Lock):
        async def _look(self, held: Any, wait: float | None) -> Any:
            listing = await self.store.list(f"{self.prefix}/line/", keys_only=True)
            line = by_age(listing.entries)
            if line[0].key == held.key and len(line) in (1, 6):
                return None
            if len(line) < 6 and line[-1].key == held.key:
                return None
            return self.prefix, listing.revision, lambda change: change.entry is None

    return Kit(Lock=Lock)


@caught_by(lines.lock_wakes_only_who_is_next)
def lock_that_wakes_the_herd(patch: pytest.MonkeyPatch) -> Kit:
    class Lock(recipes.Lock):
        async def _look(self, held: Any, wait: float | None) -> Any:
            news = await super()._look(held, wait)
            return news and (self.prefix, *news[1:])

    return Kit(Lock=Lock)


@caught_by(lines.lock_ends_the_body_of_who_lost_it)
def lock_that_never_says_that_it_was_lost(patch: pytest.MonkeyPatch) -> Kit:
    async def asleep(self: Any, body: Any) -> None:
        await asyncio.Event().wait()

    patch.setattr(held.Held, "_watch_over", asleep)
    return Kit()


@caught_by(lines.lock_ends_the_body_of_who_lost_it)
def lock_that_leaves_its_cancellation_behind(patch: pytest.MonkeyPatch) -> Kit:
    async def kept(self: Any, error: Any) -> bool:
        return False

    patch.setattr(held.Held, "_withdraw", kept)
    return Kit()


@caught_by(lines.lock_says_so_when_it_was_lost_at_the_end_of_the_body)
def lock_that_ends_well_although_lost(patch: pytest.MonkeyPatch) -> Kit:
    sound = held.Held.__aexit__

    async def quiet(self: Any, kind: Any, error: Any, trace: Any) -> None:
        with suppress(TimeoutError):
            await sound(self, kind, error, trace)

    patch.setattr(held.Held, "__aexit__", quiet)
    return Kit()


@caught_by(lines.lock_passes_on_a_cancellation_from_outside)
def lock_that_swallows_a_cancellation(patch: pytest.MonkeyPatch) -> Kit:
    sound = held.Held.__aexit__

    async def swallow(self: Any, kind: Any, error: Any, trace: Any) -> bool:
        await sound(self, kind, error, trace)
        return True

    patch.setattr(held.Held, "__aexit__", swallow)
    return Kit()


@caught_by(lines.lock_can_be_given_up_inside_the_body)
def lock_that_strikes_who_gave_it_up(patch: pytest.MonkeyPatch) -> Kit:
    sound = held.Held.release

    async def release(self: Any) -> None:
        guard, self._guard = self._guard, None
        await sound(self)
        self._guard = guard

    patch.setattr(held.Held, "release", release)
    return Kit()


def leaking(recipe: Any) -> Any:
    """Return a recipe whose place in line stays when it is cancelled."""

    class Leaking(recipe):  # type: ignore[misc]
        async def until(self, held: Any, turn: Any, wait: Any, what: str) -> None:
            await super().until(_Kept(held), turn, wait, what)

    return Leaking


class _Kept:
    """Stands for what is held, and does not let go of it."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    async def release(self) -> None:
        """Do nothing."""


@caught_by(lines.lock_forgets_who_is_cancelled_in_line)
def lock_that_stays_in_line_when_cancelled(patch: pytest.MonkeyPatch) -> Kit:
    return Kit(Lock=leaking(recipes.Lock))


@caught_by(lines.lock_leaves_nothing_when_cancelled_at_any_moment)
def lock_that_does_not_know_what_it_took(patch: pytest.MonkeyPatch) -> Kit:
    patch.setattr("coordstore.recipes.base.to_the_end", _given_up)
    return Kit()


async def _given_up(request: Any, took: Any) -> None:
    took(await asyncio.shield(asyncio.ensure_future(request)))


# Semaphore -----------------------------------------------------------------------------------------------------------


@caught_by(lines.semaphore_gets_the_permits_of_the_dead_and_the_cancelled_back)
def semaphore_that_leaks_on_cancel(patch: pytest.MonkeyPatch) -> Kit:
    return Kit(Semaphore=leaking(recipes.Semaphore))


@caught_by(lines.semaphore_never_has_more_holders_than_its_limit)
def semaphore_that_counts_one_too_many(patch: pytest.MonkeyPatch) -> Kit:
    class Semaphore(recipes.Semaphore):
        async def _look(self) -> Any:
            limit, *rest = await super()._look()
            return limit + 1, *rest

    return Kit(Semaphore=Semaphore)


@caught_by(lines.semaphore_takes_another_limit_without_losing_a_permit)
def semaphore_that_never_hears_of_another_limit(patch: pytest.MonkeyPatch) -> Kit:
    patch.setattr("coordstore.recipes.semaphore._may_admit", lambda change: change.entry is None)
    return Kit()


@caught_by(lines.semaphore_says_that_its_limit_is_reached)
def semaphore_that_waits_although_asked_not_to(patch: pytest.MonkeyPatch) -> Kit:
    class Semaphore(recipes.Semaphore):
        async def acquire(self, wait: float | None = None) -> Any:
            return await super().acquire(wait or 1)

    return Kit(Semaphore=Semaphore)


# Election, membership ------------------------------------------------------------------------------------------------


@caught_by(lines.election_has_one_leader_and_all_see_who)
def election_whose_former_leader_can_speak(patch: pytest.MonkeyPatch) -> Kit:
    async def proclaim(self: Any, value: bytes) -> int:
        return int(await self._store.put(self.key, value))

    patch.setattr(recipes.Leadership, "proclaim", proclaim)
    return Kit()


@caught_by(lines.election_has_one_leader_and_all_see_who)
def election_that_shows_changes_of_leader_only(patch: pytest.MonkeyPatch) -> Kit:
    class Election(recipes.Election):
        async def observe(self) -> Any:
            seen: Any = ""
            async for leader in super().observe():
                if (leader and leader.token) != seen:
                    seen = leader and leader.token
                    yield leader

    return Kit(Election=Election)


@caught_by(lines.membership_shows_who_is_there)
def membership_that_takes_a_name_twice(patch: pytest.MonkeyPatch) -> Kit:
    class Membership(recipes.Membership):
        async def join(self, member: str, value: bytes = b"") -> Any:
            await self.store.delete(f"{self.prefix}/members/{member}")
            return await super().join(member, value)

    return Kit(Membership=Membership)


# Barriers, counter ---------------------------------------------------------------------------------------------------


@caught_by(meeting.barrier_opens_when_who_closed_it_dies)
def barrier_that_outlives_who_closed_it(patch: pytest.MonkeyPatch) -> Kit:
    class Barrier(recipes.Barrier):
        async def close(self) -> Any:
            closed = await super().close()
            await self.store.put(closed.key, b"")
            return closed

    return Kit(Barrier=Barrier)


@caught_by(meeting.double_barrier_keeps_the_late_for_the_next_round)
def barrier_that_lets_the_late_in(patch: pytest.MonkeyPatch) -> Kit:
    class DoubleBarrier(recipes.DoubleBarrier):
        async def _all_there(self, held: Any) -> None:
            while not (await self.store.list(f"{self.prefix}/ready")).entries:
                listing = await self.store.list(f"{self.prefix}/")
                await self._go_in({entry.key: entry for entry in listing.entries})
                await asyncio.sleep(0)

    return Kit(DoubleBarrier=DoubleBarrier)


@caught_by(meeting.double_barrier_lets_all_in_and_out_together)
def barrier_that_lets_each_leave_alone(patch: pytest.MonkeyPatch) -> Kit:
    from coordstore.recipes import barrier

    patch.setattr(barrier.Party, "leave", barrier.Party.release)
    return Kit()


@caught_by(meeting.counter_loses_no_change)
def counter_that_loses_updates(patch: pytest.MonkeyPatch) -> Kit:
    class Counter(recipes.Counter):
        async def _write(self, entry: Any, number: int, fence: Any, *, resolvable: bool) -> bool:
            await self.store.put(self.key, str(number).encode(), fence=fence)
            return True

    return Kit(Counter=Counter)


@caught_by(meeting.counter_finds_out_what_became_of_a_write)
def counter_that_tries_again_blindly(patch: pytest.MonkeyPatch) -> Kit:
    class Counter(recipes.Counter):
        async def _write(self, entry: Any, number: int, fence: Any, *, resolvable: bool) -> bool:
            try:
                await self.store.transact([Put(self.key, str(number).encode())], fence=fence, resolvable=resolvable)
            except OutcomeUnknown as error:
                if error.op is None:
                    raise
                return False
            return True

    return Kit(Counter=Counter)


@caught_by(meeting.counter_goes_by_a_fence)
def counter_that_ignores_the_fence(patch: pytest.MonkeyPatch) -> Kit:
    class Counter(recipes.Counter):
        async def add(self, amount: int = 1, *, fence: Any = None, resolvable: bool = False) -> int:
            return await super().add(amount, resolvable=resolvable)

    return Kit(Counter=Counter)


# Pool ----------------------------------------------------------------------------------------------------------------


def _unchecked(patch: pytest.MonkeyPatch, keep: Callable[[Condition], bool]) -> Kit:
    sound = reservation.Taking.take

    async def take(self: Any, store: Any, *args: Any) -> int:
        class Store:
            async def transact(self, writes: Any, checks: Any, **options: Any) -> Any:
                return await store.transact(writes, [check for check in checks if keep(check)], **options)

        return await sound(self, Store(), *args)  # type: ignore[arg-type]

    patch.setattr(reservation.Taking, "take", take)
    return Kit()


@caught_by(agents.pool_never_has_two_holders_of_one_agent)
def pool_that_hands_out_twice(patch: pytest.MonkeyPatch) -> Kit:
    return _unchecked(patch, lambda check: False)


@caught_by(agents.pool_hands_on_in_the_order_of_asking)
def pool_that_is_unfair(patch: pytest.MonkeyPatch) -> Kit:
    patch.setattr(pool_view, "_rank", lambda entry: (0, -entry.create_revision))
    return Kit()


@caught_by(agents.pool_lets_nobody_who_fits_nothing_hold_up_the_others)
def pool_that_falls_back_on_any_free_agent(patch: pytest.MonkeyPatch) -> Kit:
    patch.setattr(pool_view.Agent, "fits", lambda self, request: True)
    return Kit()


@caught_by(agents.pool_takes_the_least_that_is_enough)
def pool_that_wastes_its_best(patch: pytest.MonkeyPatch) -> Kit:
    patch.setattr(pool_view, "_best", lambda free, asked: min((a.name for a in free if a.fits(asked)), default=None))
    return Kit()


@caught_by(agents.pool_is_not_taken_past_who_got_in_line_unseen)
def pool_that_is_taken_past_the_line(patch: pytest.MonkeyPatch) -> Kit:
    return _unchecked(patch, lambda check: not check.key.endswith("/last"))


@caught_by(agents.pool_takes_the_least_that_is_enough_of_who_came_or_was_freed_unseen)
def pool_that_does_not_see_who_came(patch: pytest.MonkeyPatch) -> Kit:
    return _unchecked(patch, lambda check: not check.key.endswith("/last"))


@caught_by(agents.pool_takes_the_least_that_is_enough_of_who_came_or_was_freed_unseen)
def pool_that_goes_by_what_was_free(patch: pytest.MonkeyPatch) -> Kit:
    patch.setattr(pool_view.PoolView, "has_first_choice", lambda self, request, besides: True)
    return Kit()


@caught_by(agents.pool_is_looked_at_again_when_others_come)
def pool_that_thinks_it_is_alone(patch: pytest.MonkeyPatch) -> Kit:
    sound = pool_memory.Memory.saw

    def saw(self: Any, view: Any) -> None:
        sound(self, view)
        self._alone = True

    patch.setattr(pool_memory.Memory, "saw", saw)
    return Kit()


@caught_by(agents.pool_remembers_although_who_came_last_has_gone_and_leaves_nothing)
def pool_that_counts_an_absence_as_no_arrival(patch: pytest.MonkeyPatch) -> Kit:
    sound = reservation.Taking.__init__

    def init(self: Any, prefix: str, view: Any, agent: str, clock: Any) -> None:
        sound(self, prefix, view, agent, clock)
        self._marked = True

    patch.setattr(reservation.Taking, "__init__", init)
    return Kit()


@caught_by(agents.pool_gives_each_of_many_requests_at_once_another)
def pool_whose_requests_run_into_each_other(patch: pytest.MonkeyPatch) -> Kit:
    patch.setattr(pool_memory.Memory, "asking", lambda self, agent: nullcontext())
    return Kit()


@caught_by(agents.pool_takes_back_what_a_dead_holder_had)
def pool_that_waits_for_the_dead(patch: pytest.MonkeyPatch) -> Kit:
    sound = reservation.Taking.take

    async def take(self: Any, store: Any, lease: Any, owner: str, place: Any = None) -> int:
        token = await sound(self, store, lease, owner, place)
        await store.put(self.slot, owner.encode())
        return token

    patch.setattr(reservation.Taking, "take", take)
    return Kit()


@caught_by(agents.pool_leaks_no_agent_handed_to_who_is_cancelled)
def pool_that_does_not_know_what_it_took(patch: pytest.MonkeyPatch) -> Kit:
    patch.setattr("coordstore.recipes.pool.to_the_end", _given_up)
    return Kit()


@caught_by(agents.pool_gives_back_after_an_error)
def pool_that_keeps_after_an_error(patch: pytest.MonkeyPatch) -> Kit:
    async def leave(self: Any, kind: Any, error: Any, trace: Any) -> None:
        if kind is None:
            await self.release()

    patch.setattr(recipes.Reservation, "__aexit__", leave)
    return Kit()


@caught_by(agents.pool_tells_what_happens_and_how_much_each_was_used)
def pool_that_does_not_count(patch: pytest.MonkeyPatch) -> Kit:
    patch.setattr(recipes.Reservation, "last_words", lambda self: [])
    return Kit()


# Mailbox -------------------------------------------------------------------------------------------------------------


@caught_by(post.mail_of_a_dead_receiver_goes_to_the_next)
def mailbox_that_drops_on_crash(patch: pytest.MonkeyPatch) -> Kit:
    sound = inbox.Inbox._claim

    async def claim(self: Any, picked: Any, lease: Any) -> None:
        await sound(self, picked, lease)
        await self.store.transact([Delete(entry.key) for entry, _ in picked])

    patch.setattr(inbox.Inbox, "_claim", claim)
    return Kit()


@caught_by(post.mail_keeps_the_order_of_a_sender_when_one_has_to_wait)
def mailbox_that_overtakes(patch: pytest.MonkeyPatch) -> Kit:
    class Never(set[str]):
        def add(self, item: str) -> None:
            """Forget it."""

    sound = looking.Look
    patch.setattr(looking, "Look", lambda: sound(blocked=Never()))
    return Kit()


@caught_by(post.mail_is_tried_again_and_then_dead)
def mailbox_that_never_gives_up(patch: pytest.MonkeyPatch) -> Kit:
    patch.setattr(letter.Letter, "death", lambda self, now, retries: "")
    return Kit()


@caught_by(post.mail_is_tried_again_and_then_dead)
def mailbox_that_never_waits(patch: pytest.MonkeyPatch) -> Kit:
    patch.setattr(letter.Retries, "delay", lambda self, attempts, chance: 0.0)
    return Kit()


@caught_by(post.mail_not_acknowledged_in_time_is_given_back)
def mailbox_that_waits_for_ever(patch: pytest.MonkeyPatch) -> Kit:
    patch.setattr(delivery.Message, "extend", lambda self, seconds: None)
    return Kit()


@caught_by(post.mail_is_shared_among_receivers)
def mailbox_that_delivers_to_all(patch: pytest.MonkeyPatch) -> Kit:
    sound = looking._letters
    patch.setattr(looking, "_letters", lambda listing: ((entry, False) for entry, _ in sound(listing)))

    async def claim(self: Any, picked: Any, lease: Any) -> None:
        key = f"{picked[0][0].key}/claim"
        token = await self.store.put(key, b"me", lease=lease)
        entry = await self.store.get(key)
        self._fetched.append(inbox.Message(self, picked[0][1], entry.create_revision if entry else token, lease))

    patch.setattr(inbox.Inbox, "_claim", claim)
    return Kit()


@caught_by(post.mail_of_a_dead_receiver_goes_to_the_next)
def mailbox_whose_late_receiver_removes_it(patch: pytest.MonkeyPatch) -> Kit:
    async def finish(self: Any, writes: Any) -> None:
        self._end()
        with suppress(Fenced):
            await self._store.transact([Delete(self.key), *writes])

    patch.setattr(delivery.Message, "_finish", finish)
    return Kit()


@caught_by(post.mail_sent_twice_under_one_id_is_there_once)
def mailbox_that_doubles(patch: pytest.MonkeyPatch) -> Kit:
    class Mailbox(recipes.Mailbox):
        async def send(self, to: str, body: object, *, ttl: Any = None, message_id: str = "") -> str:
            await super().send(to, body, ttl=ttl)
            return message_id

    return Kit(Mailbox=Mailbox)


@caught_by(post.mail_is_not_lost_to_a_cancelled_receiver)
def mailbox_that_loses_what_it_fetched(patch: pytest.MonkeyPatch) -> Kit:
    patch.setattr(inbox, "to_the_end", _given_up)
    return Kit()


# Scratchpad ----------------------------------------------------------------------------------------------------------


@caught_by(notes.pad_stays_within_its_bounds)
def pad_that_throws_the_persistent_away(patch: pytest.MonkeyPatch) -> Kit:
    from coordstore.recipes import scratchpad

    def oldest(found: Any, least: int) -> list[Any]:
        return list(found[: len(found) - 40])

    patch.setattr(scratchpad, "oldest", oldest)
    return Kit()


@caught_by(notes.pad_stays_within_its_bounds)
def pad_that_grows(patch: pytest.MonkeyPatch) -> Kit:
    class Scratchpad(recipes.Scratchpad):
        async def tidy(self) -> int:
            return 0

    return Kit(Scratchpad=Scratchpad)


@caught_by(notes.pad_gets_by_without_its_hook)
def pad_that_believes_its_hook(patch: pytest.MonkeyPatch) -> Kit:
    from coordstore.recipes import scratchpad

    async def believing(hook: Any, found: Any, least: int, now: float) -> Any:
        try:
            digest = await hook(found, 0)
        except RuntimeError:
            return [], ""
        return [note for note in found if note.id in digest.remove], digest.text

    patch.setattr(scratchpad, "summarised", believing)
    return Kit()


@caught_by(notes.pad_tidied_by_several_loses_no_more_than_by_one)
def pad_that_cleans_up_blindly(patch: pytest.MonkeyPatch) -> Kit:
    class Scratchpad(recipes.Scratchpad):
        async def tidy(self) -> int:
            first, *_ = found = await self.notes()
            for _ in range(8):
                first, *found = found
                await self.remove(first.id)
            return 8

    return Kit(Scratchpad=Scratchpad)


@caught_by(notes.pad_keeps_what_was_noted)
def pad_that_shows_what_has_expired(patch: pytest.MonkeyPatch) -> Kit:
    from coordstore.recipes.note import Note

    patch.setattr(Note, "expired", lambda self, now: False)
    return Kit()
