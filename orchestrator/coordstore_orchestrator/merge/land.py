"""Bring a result into the user's repository: objects first, then one transaction over refs.

Nothing else of the user's changes. `refs/coord/epoch/<session>` is what makes a former leader harmless: whoever takes
over moves it to a tag object nobody had before, and landing verifies, in the very transaction that moves the result,
that it is still the one that this leader made. The tag names the base commit, so it also keeps that from the user's
`git gc` while agents work on it. It is removed when the session is over.

The objects pass through `index-pack --strict`, which recomputes every id and checks every link: what an agent forged
in its repository does not get in.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from coordstore_orchestrator.git.errors import GitError, LandRefused
from coordstore_orchestrator.git.names import checked
from coordstore_orchestrator.git.run import git, pipe, text_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from coordstore_orchestrator.git.user import UserRepository

__all__ = ["epoch_ref", "land", "release_epoch", "result_ref", "send", "take_epoch"]

_DURABLE: Final = ("-c", "core.fsync=committed", "-c", "core.fsyncMethod=fsync")
_TOKEN: Final = re.compile(r"coord epoch (\d+)")


def result_ref(session: str) -> str:
    """Return the ref under which a session's result arrives.

    Args:
        session: Its name.
    """
    return f"refs/heads/coord/{checked(session, 'a session')}"


def epoch_ref(session: str) -> str:
    """Return the ref that a take-over moves.

    Args:
        session: Its name.
    """
    return f"refs/coord/epoch/{checked(session, 'a session')}"


@dataclass(frozen=True, slots=True)
class _Ref:
    """What the user's repository says about a ref: its object, the commit behind a tag, the tag's first line."""

    oid: str
    commit: str
    subject: str


async def take_epoch(user: UserRepository, session: str, base: str, token: int = 0) -> str:
    """Become the one who may land: move the session's epoch; return its new value, for `land`.

    Args:
        user: Where the result will land.
        session: The session's name.
        base: The commit the session starts from, kept alive by the epoch.
        token: The leadership's fencing token: an epoch taken with a higher one is not taken back.

    Raises:
        LandRefused: A later leader has taken it, or a branch of the user's is in the way of the result.

    Cancelled: it has moved, or not; taking it again is right in both cases.
    """
    name = epoch_ref(session)
    refs, tag = await asyncio.gather(_refs(user, session), _tag(user, session, base, token))
    if "refs/heads/coord" in refs:
        message = f"a branch named 'coord' is in the way of {result_ref(session)}: rename it (git branch -m coord …)"
        raise LandRefused(message, ref="refs/heads/coord", found=refs["refs/heads/coord"].oid)
    current = refs.get(name)
    held = _TOKEN.match(current.subject) if current else None
    if current and held and int(held[1]) > token:
        message = f"another orchestrator leads {session} since: its epoch has token {held[1]}, ours is {token}"
        raise LandRefused(message, ref=name, found=current.oid)
    await _move(user, session, {name: (current.oid if current else None, tag)})
    return tag


async def release_epoch(user: UserRepository, session: str, epoch: str) -> bool:
    """Remove the session's epoch when it is still ours; return whether it was.

    Args:
        user: Whose repository.
        session: The session's name.
        epoch: What `take_epoch` returned.
    """
    try:
        await _move(user, session, {epoch_ref(session): (epoch, None)})
    except LandRefused:
        return False
    return True


async def land(
    user: UserRepository, source: Path, session: str, new: str, epoch: str, *, old: str | None = None
) -> str:
    """Bring a commit into the user's repository as the session's result; return the ref.

    The user's checkout, index, HEAD and configuration are not touched. Landing what is there already does nothing.

    Args:
        user: The user's repository.
        source: A git directory of ours that sees the commit.
        session: The session's name.
        new: The commit.
        epoch: What `take_epoch` returned.
        old: What the ref must hold; default: nothing, or an ancestor of the commit.

    Raises:
        LandRefused: Another leader took over, the ref was moved by somebody, or it is checked out somewhere.
        GitError: The objects are damaged or do not fit on the disk.

    Cancelled: the ref has moved, or not; objects may have arrived, which nothing refers to.
    """
    name = result_ref(session)
    refs = await _refs(user, session)
    guard = refs.get(epoch_ref(session))
    if guard is None or guard.oid != epoch:
        raise _taken_over(session, epoch, guard.oid if guard else None)
    current = refs[name].oid if name in refs else None
    if old is not None and current != old:
        raise _moved(name, old, current)
    if current == new:
        return name
    if current is not None:
        await _may_move(user, source, name, current, new)
    await send(user, source, new, [guard.commit, *([current] if current else [])])
    await _move(user, session, {epoch_ref(session): (epoch, epoch), name: (current, new)})
    return name


async def send(user: UserRepository, source: Path, new: str, known: list[str]) -> None:
    """Copy the objects of a commit that the user's repository does not have, every one checked."""
    revisions = "\n".join([new, *(f"^{oid}" for oid in known)]) + "\n"
    await pipe(
        ["pack-objects", "--revs", "--stdout", "-q", "--delta-base-offset"],
        [*_DURABLE, "index-pack", "--stdin", "--strict"],
        first_dir=source,
        second_dir=user.common_dir,
        stdin=revisions.encode("ascii"),
        second_umask=await user.umask(),
    )


async def _may_move(user: UserRepository, source: Path, name: str, current: str, new: str) -> None:
    """Refuse to move a result that somebody has added to, or that somebody's checkout stands on."""
    ancestor = ["merge-base", "--is-ancestor", "--end-of-options", current, new]
    listed = ["worktree", "list", "--porcelain", "-z"]
    follows, worktrees = await asyncio.gather(
        git(ancestor, git_dir=source, check=False), git(listed, cwd=user.cwd, trust_user=True)
    )
    if follows.returncode != 0:
        raise _moved(name, new, current)
    if f"branch {name}" in text_of(worktrees.stdout).split("\0"):
        short = name.removeprefix("refs/heads/")
        message = f"{short} is checked out: moving it would make that checkout look changed; switch to another branch"
        raise LandRefused(message, ref=name, expected=current, found=current)


async def _refs(user: UserRepository, session: str) -> dict[str, _Ref]:
    """Return the refs that landing is about, those that exist."""
    wanted = [epoch_ref(session), result_ref(session), "refs/heads/coord"]
    shape = "--format=%(refname)%00%(objectname)%00%(*objectname)%00%(contents:subject)"
    result = await git(["for-each-ref", shape, *wanted], cwd=user.cwd, trust_user=True)
    rows = (line.split("\0") for line in text_of(result.stdout).splitlines())
    return {name: _Ref(oid, peeled or oid, subject) for name, oid, peeled, subject in rows if name in wanted}


async def _tag(user: UserRepository, session: str, base: str, token: int) -> str:
    """Write a tag object that no other leader can have written."""
    text = (
        f"object {base}\ntype commit\ntag coord-epoch\ntagger coord <coord@localhost> 0 +0000\n\n"
        f"coord epoch {token}\n\nsession {session}\nnonce {secrets.token_hex(16)}\n"
    )
    result = await git(["mktag"], cwd=user.cwd, trust_user=True, stdin=text.encode(), umask=await user.umask())
    return text_of(result.stdout).strip()


async def _move(user: UserRepository, session: str, moves: Mapping[str, tuple[str | None, str | None]]) -> None:
    """Move refs from an old to a new value (None: absent) in one transaction, or none of them."""
    who = user.identity
    env = {"GIT_COMMITTER_NAME": who.name, "GIT_COMMITTER_EMAIL": who.email}  # for the new ref's log
    lines = "".join(_instruction(name, old, new) for name, (old, new) in moves.items())
    args = [*_DURABLE, "update-ref", "-m", f"coord: result of {session}", "--stdin", "-z"]
    umask = await user.umask()
    try:
        await git(args, cwd=user.cwd, trust_user=True, stdin=lines.encode(), env=env, umask=umask)
    except GitError as error:
        await _explain(user, session, moves, error)
        raise


def _instruction(name: str, old: str | None, new: str | None) -> str:
    if old == new:
        return f"verify {name}\0{old}\0"
    if old is None:
        return f"create {name}\0{new}\0"
    return f"delete {name}\0{old}\0" if new is None else f"update {name}\0{new}\0{old}\0"


async def _explain(
    user: UserRepository, session: str, moves: Mapping[str, tuple[str | None, str | None]], error: GitError
) -> None:
    """Raise what a refused transaction means, when one of its refs is not as it had to be."""
    refs = await _refs(user, session)
    for name, (old, _) in moves.items():
        found = refs[name].oid if name in refs else None
        if found != old:
            taken = name == epoch_ref(session)
            raise (_taken_over(session, old, found) if taken else _moved(name, old, found)) from error


def _taken_over(session: str, expected: str | None, found: str | None) -> LandRefused:
    message = f"{session} was taken over by another orchestrator: this one may not land its result any more"
    return LandRefused(message, ref=epoch_ref(session), expected=expected, found=found)


def _moved(name: str, expected: str | None, found: str | None) -> LandRefused:
    message = (
        f"{name.removeprefix('refs/heads/')} is at {found or 'nothing'} and was moved by somebody else meanwhile: "
        "nothing was changed; rename that branch or merge it by hand, then run again"
    )
    return LandRefused(message, ref=name, expected=expected, found=found)
