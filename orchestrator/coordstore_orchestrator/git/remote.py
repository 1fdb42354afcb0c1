"""The repository that all hosts of a session reach: commits to start from go out over it, attempts' work comes in.

    refs/coord/<session>/base/<commit>   a commit that attempts start from: the session's base, and each integrated tip
    refs/coord/<session>/<agent>         what an attempt did, whatever came of it
    refs/coord/<session>/epoch           who may land: see `coordstore_orchestrator.merge.remote`

What a ref of the first kind holds is in its name, so a former leader can do no harm there; of the second kind only
the commit counts that the store records, so a former worker cannot either.
"""

from __future__ import annotations

import asyncio
import logging
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

from coordstore.errors import InvalidArgument
from coordstore_orchestrator.git.batch import missing
from coordstore_orchestrator.git.errors import GitError, LandRefused
from coordstore_orchestrator.git.names import checked
from coordstore_orchestrator.git.run import git, text_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from coordstore_orchestrator.git.run import GitResult
    from coordstore_orchestrator.git.user import UserRepository

__all__ = ["Remote", "RemoteLacks", "RemoteUnreachable", "default_url", "url_of"]

P = ParamSpec("P")
T = TypeVar("T")
log = logging.getLogger(__name__)

PATIENCE: Final = 120.0
"""Seconds for one fetch or push."""
PAUSES: Final = (0.5, 1.0, 2.0, 4.0)
"""Seconds before each further try."""
_URL: Final = re.compile(r"[a-z][a-z0-9+.-]*://.+|[^/:]+@?[^/:]*:.+", re.IGNORECASE)
_UMASK: Final = 0o022
_REJECTED: Final = re.compile(r"\[rejected\]|\[remote rejected\]|stale info|atomic push failed")
_MISSING: Final = "couldn't find remote ref"


class RemoteUnreachable(GitError):
    """The repository that all hosts share does not answer."""


class RemoteLacks(RemoteUnreachable):
    """The repository that all hosts share answers, and does not have what it must have."""


def url_of(text: str) -> str:
    """Return a remote as git takes it from any folder: URLs as they are, paths absolute.

    Args:
        text: What a person gave.

    Raises:
        InvalidArgument: It could be taken for an option or runs a program.
    """
    if not text or text.startswith("-") or "::" in text or "\0" in text or "\n" in text:
        message = f"{text!r} is no git remote: give a URL (ssh://, https://, git://, HOST:PATH) or a path"
        raise InvalidArgument(message)
    return text if _URL.fullmatch(text) else str(Path(text).expanduser().absolute())


async def default_url(user: UserRepository, name: str = "") -> str:
    """Return the remote that other hosts are to use: the one of that name, `origin`, or the repository itself.

    Args:
        user: The user's repository.
        name: A remote's name, a URL or a path; empty: `origin`, and without one the repository itself.
    """
    found = await git(["config", "--get", f"remote.{name or 'origin'}.url"], cwd=user.cwd, trust_user=True, check=False)
    said = text_of(found.stdout).strip()
    if said and not _URL.fullmatch(said) and not said.startswith("/"):
        return str(user.cwd / said)  # git takes it from the repository's folder
    return url_of(said or name or str(user.common_dir))


class Remote:
    """What one session keeps in the repository that all hosts reach.

    Args:
        url: Where it is.
        session: The session's name.
        pauses: Seconds before each further try of what did not work.
    """

    def __init__(self, url: str, session: str, pauses: Sequence[float] = PAUSES) -> None:
        self.url = url_of(url)
        self._prefix = f"refs/coord/{checked(session, 'a session')}"
        self._pauses = pauses

    def __repr__(self) -> str:
        return f"Remote({self.url!r}, {self._prefix!r})"

    @property
    def epoch(self) -> str:
        """The ref that says who may land."""
        return f"{self._prefix}/epoch"

    def base(self, oid: str) -> str:
        """Return the ref of a commit to start from."""
        return f"{self._prefix}/base/{oid}"

    def branch(self, agent: str) -> str:
        """Return the ref of an attempt's work."""
        return f"{self._prefix}/{checked(agent)}"

    # --- commits ----------------------------------------------------------------------------------------

    async def publish(self, source: Path, *oids: str) -> None:
        """Make commits ones that attempts on all hosts can start from.

        Args:
            source: A git directory that has them.
            oids: The commits.

        Raises:
            RemoteUnreachable: They could not be brought there.
        """
        await self._tried(self.push, source, {self.base(oid): oid for oid in oids})

    async def fetch_base(self, into: Path, oid: str, *, keep: bool = True) -> None:
        """Have a commit to start from in a repository here; one that is there already is not fetched.

        Args:
            into: The git directory.
            oid: The commit.
            keep: Whether a ref keeps it there.

        Raises:
            RemoteUnreachable: It could not be had.
        """
        if await missing(into, [oid]):
            await self._tried(self._fetch, into, {self.base(oid): f"refs/coord/base-{oid}" if keep else ""})

    async def push_branch(self, source: Path, agent: str, oid: str) -> None:
        """Bring an attempt's work to the remote.

        Args:
            source: A git directory that has it.
            agent: Whose.
            oid: The commit that it ends at.

        Raises:
            RemoteUnreachable: It could not be brought there.
        """
        await self._tried(self.push, source, {self.branch(agent): oid})

    async def fetch_branch(self, into: Path, agent: str, oid: str, others: Mapping[str, str] | None = None) -> None:
        """Have the commit that an attempt ended at in a repository here.

        Args:
            into: The git directory.
            agent: Whose.
            oid: The commit that the store records.
            others: More of these, by agent, that come along if they can: one fetch costs as much as many.

        Raises:
            RemoteLacks: The remote has no work under that name, or another one.
            RemoteUnreachable: It does not answer.
        """
        works = {**(others or {}), agent: oid}
        lacking = set(await missing(into, list(works.values())))
        if oid not in lacking:
            return
        if len(lacking) > 1:
            with suppress(GitError):  # one that is not there spoils it for all
                await self._fetch(into, {self.branch(each): _fetched(each) for each in works if works[each] in lacking})
            if not await missing(into, [oid]):
                return
        await self._tried(self._fetch, into, {self.branch(agent): _fetched(agent)})
        if await missing(into, [oid]):
            message = f"{self.url} has no commit {oid[:12]} of {agent}: somebody moved {self.branch(agent)}"
            raise RemoteLacks(message)

    # --- refs -------------------------------------------------------------------------------------------

    async def refs(self, *names: str) -> dict[str, str]:
        """Return the objects of those refs that exist, and of all below a name that ends with `*`.

        Raises:
            RemoteUnreachable: The remote does not answer.
        """
        said = await self._tried(self._git, ["ls-remote", "--refs", "--", self.url, *names])
        rows = (line.split("\t") for line in text_of(said.stdout).splitlines())
        return {name: oid for oid, name in rows}

    async def move(self, source: Path, moves: Mapping[str, tuple[str | None, str | None]]) -> None:
        """Move refs from an old to a new value (None: absent), all of them or none.

        Args:
            source: A git directory that has the new objects.
            moves: By ref. One that is to be checked only must move nevertheless: git does not send the others.

        Raises:
            LandRefused: One of them did not hold the old value.
            RemoteUnreachable: The remote does not answer; they may have moved.
        """
        leases = [f"--force-with-lease={name}:{old or ''}" for name, (old, _) in moves.items()]
        try:
            await self.push(source, {name: new for name, (_, new) in moves.items()}, ["--atomic", *leases])
        except GitError as error:
            found = await self.refs(*moves)
            if all(found.get(name) == new for name, (_, new) in moves.items()):
                return  # it did move, and only the answer was lost
            for name, (old, _) in moves.items():
                if found.get(name) != old:
                    message = f"{name} of {self.url} is at {found.get(name) or 'nothing'}: somebody else moved it"
                    raise LandRefused(message, ref=name, expected=old, found=found.get(name)) from error
            raise

    async def push(self, source: Path, refs: Mapping[str, str | None], options: Sequence[str] = ("--force",)) -> None:
        """Set refs to objects (None: remove), once.

        Raises:
            GitError: It did not work.
        """
        specs = [f"{oid or ''}:{name}" for name, oid in refs.items()]
        args = ["push", "--quiet", "--porcelain", "--no-verify", "--no-signed", *options, "--", self.url, *specs]
        await self._git(args, source)

    async def fetch(self, into: Path, ref: str, name: str) -> None:
        """Have what a ref holds in a repository here, under a name.

        Args:
            into: The git directory.
            ref: What is fetched.
            name: What it is called there; empty: it gets no ref there.

        Raises:
            RemoteUnreachable: It could not be had.
        """
        await self._tried(self._fetch, into, {ref: name})

    async def _fetch(self, into: Path, refs: Mapping[str, str]) -> None:
        args = ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance", "--force"]
        await self._git(
            [*args, "--", self.url, *(f"{ref}:{name}" if name else ref for ref, name in refs.items())], into
        )

    async def _git(self, args: Sequence[str], git_dir: Path | None = None) -> GitResult:
        try:
            async with asyncio.timeout(PATIENCE):
                return await git(args, git_dir=git_dir, network=True, umask=_UMASK)
        except TimeoutError as error:
            message = f"{self.url} did not answer within {PATIENCE:g} s"
            raise RemoteUnreachable(message) from error

    async def _tried(self, do: Callable[P, Awaitable[T]], *args: P.args, **more: P.kwargs) -> T:
        """Do it, and again after a pause when it did not work; what is not there stays so."""
        for pause in (*self._pauses, None):
            try:
                return await do(*args, **more)
            except GitError as error:
                lacks = _MISSING in error.stderr
                if pause is None or lacks or _REJECTED.search(error.stderr):
                    message = f"the repository that all hosts share, {self.url}, is of no use here: {error}"
                    raise (RemoteLacks if lacks else RemoteUnreachable)(message, stderr=error.stderr) from error
                log.info("%s; trying again in %g s", error, pause)
                await asyncio.sleep(pause)
        raise AssertionError


def _fetched(agent: str) -> str:
    """Return the ref that keeps an attempt's work here."""
    return f"refs/coord/fetched/{agent}"
