"""Land a result in the repository that all hosts of a session reach: one atomic push under the leader's epoch.

The epoch is a ref there that holds a tag object nobody had before. Whoever takes over moves it; landing moves it too,
from the tag that this leader made to another of its own, in the very push that moves the result: git sends no ref that
does not change, so one that was only to be checked would not be. A former leader's push finds another tag and moves
nothing.
"""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Final

from coordstore_orchestrator.git.errors import LandRefused
from coordstore_orchestrator.git.run import git, text_of
from coordstore_orchestrator.merge.land import result_ref

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from coordstore_orchestrator.git.remote import Remote

__all__ = ["RemoteLanding"]

_TOKEN: Final = re.compile(r"^coord epoch (\d+)$", re.MULTILINE)


class RemoteLanding:
    """The right to land a session's result in the remote, for one leader.

    Args:
        remote: Where.
        session: The session's name.
        source: A git directory of ours that sees all that was merged.
        base: The commit that the session starts from.
        token: The leadership's fencing token.
    """

    def __init__(self, remote: Remote, session: str, source: Path, base: str, token: int) -> None:
        self.remote = remote
        self._session = session
        self._source = source
        self._base = base
        self._token = token
        self._epoch: str | None = None

    def __repr__(self) -> str:
        return f"RemoteLanding({self.remote!r}, token={self._token})"

    async def take(self) -> None:
        """Become the one who may land.

        Raises:
            LandRefused: A later leader has taken it.
            RemoteUnreachable: The remote does not answer.

        Cancelled: it has moved, or not; taking it again is right in both cases.
        """
        name = self.remote.epoch
        current = (await self.remote.refs(name)).get(name)
        if current is not None and current != self._epoch:
            held = await self._token_of(current)
            if held > self._token:
                message = f"another orchestrator leads {self._session} since: its token is {held}, ours {self._token}"
                raise LandRefused(message, ref=name, found=current)
        tag = await self._tag()
        await self.remote.move(self._source, {name: (current, tag)})
        self._epoch = tag

    async def land(self, new: str) -> str:
        """Bring a commit to the remote as the session's result; return the ref.

        Args:
            new: The commit.

        Raises:
            LandRefused: Another leader took over, or somebody moved the result.
            RemoteUnreachable: The remote does not answer; it may have landed, and landing again is right.
        """
        name, epoch = result_ref(self._session), self.remote.epoch
        found = await self.remote.refs(name, epoch)
        current = found.get(name)
        if found.get(epoch) != self._epoch:
            message = f"{self._session} was taken over by another orchestrator: this one may not land its result"
            raise LandRefused(message, ref=epoch, expected=self._epoch, found=found.get(epoch))
        if current == new:
            return name
        if current is not None and not await self._follows(name, current, new):
            message = f"{name} of {self.remote.url} is at {current[:12]}, which is not part of the result: rename it"
            raise LandRefused(message, ref=name, expected=new, found=current)
        tag = await self._tag()
        await self.remote.move(self._source, {epoch: (self._epoch, tag), name: (current, new)})
        self._epoch = tag
        return name

    async def tidy(self, merged: Iterable[str]) -> None:
        """Remove what the session needs no more there: commits to start from, work that was merged, the epoch.

        Args:
            merged: The attempts whose work is part of the result; that of others stays.

        Raises:
            LandRefused, RemoteUnreachable: It stays.
        """
        done = {self.remote.branch(agent) for agent in merged}
        found = await self.remote.refs(f"refs/coord/{self._session}/*")
        gone = {ref: oid for ref, oid in found.items() if ref in done or ref.startswith(self.remote.base(""))}
        moves: dict[str, tuple[str | None, str | None]] = {ref: (oid, None) for ref, oid in gone.items()}
        if self._epoch is not None:
            moves[self.remote.epoch] = (self._epoch, None)
        await self.remote.move(self._source, moves)
        self._epoch = None

    async def _follows(self, name: str, current: str, new: str) -> bool:
        await self.remote.fetch(self._source, name, f"refs/coord/landed/{self._session}")
        args = ["merge-base", "--is-ancestor", "--end-of-options", current, new]
        return (await git(args, git_dir=self._source, check=False)).returncode == 0

    async def _token_of(self, tag: str) -> int:
        await self.remote.fetch(self._source, self.remote.epoch, f"refs/coord/epoch/{self._session}")
        said = await git(["cat-file", "tag", tag], git_dir=self._source, check=False)
        match = _TOKEN.search(text_of(said.stdout))
        return int(match[1]) if match else 0

    async def _tag(self) -> str:
        """Write a tag object that no other leader can have written."""
        text = (
            f"object {self._base}\ntype commit\ntag coord-epoch\ntagger coord <coord@localhost> 0 +0000\n\n"
            f"coord epoch {self._token}\n\nsession {self._session}\nnonce {secrets.token_hex(16)}\n"
        )
        return text_of((await git(["mktag"], git_dir=self._source, stdin=text.encode())).stdout).strip()
