"""A session's private repositories: the one that agents see, and the one that only we use.

Agents are not trusted with the user's repository, nor with what they do to their own: their worktrees hang off
`agents.git`, whose configuration, hooks and attributes any of them can change. Our commands therefore never read
it: they run in `own.git`, which sees the same objects, and work on the agents' folders from there with an index and
a HEAD of our own. Both share objects with the user's repository and with each other; nothing is copied.
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from coordstore.errors import InvalidArgument
from coordstore_orchestrator.git import leftovers
from coordstore_orchestrator.git.errors import GitError, WorktreeRefused
from coordstore_orchestrator.git.objects import Identity, descends
from coordstore_orchestrator.git.planted import take_away
from coordstore_orchestrator.git.refs import private_folder, read_head, read_ref, write_ref
from coordstore_orchestrator.git.run import git, text_of, to_end
from coordstore_orchestrator.git.skeleton import Skeleton, object_stores
from coordstore_orchestrator.git.worktrees import Worktrees

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from coordstore_orchestrator.git.user import UserRepository

__all__ = ["SessionRepository"]

_DURABLE: Final = {"core.fsync": "committed", "core.fsyncMethod": "batch"}
"""What agents commit must survive what the store's record of it survives."""


class SessionRepository:
    """The private repositories of one session, in one folder.

    Args:
        folder: Where they are, or are to be made: an absolute path, since worktrees point to it.
        now: The wall clock, for commit times.
    """

    def __init__(self, folder: str | Path, *, now: Callable[[], float] = time.time) -> None:
        self.folder = Path(folder)
        self.agents_path = self.folder / "agents.git"
        self.path = self.folder / "own.git"
        self._worktrees = Worktrees(self.agents_path, self.path)
        self._now = now
        self._identity = Identity("coord", "coord@localhost")
        self._forbidden: list[Path] = []
        self._skeletons: dict[Path, Skeleton] = {}

    def __repr__(self) -> str:
        return f"SessionRepository({str(self.folder)!r})"

    async def create(self, user: UserRepository, base_oid: str) -> None:
        """Make the repositories, or open and repair them; to be called once by every process that uses them.

        Args:
            user: Whose objects and identity they share.
            base_oid: The commit that the session starts from, kept alive in our repository by a ref.

        Raises:
            InvalidArgument: The folder's path is not absolute.

        A crash or a cancellation at any step is made good by calling it again.
        """
        await to_end(self._create, user, base_oid)

    def _create(self, user: UserRepository, base_oid: str) -> None:
        if not self.folder.is_absolute():
            message = f"{str(self.folder)!r} must be absolute: worktrees elsewhere point to it"
            raise InvalidArgument(message)
        settings = dict(user.settings) | {"core.sharedRepository": "0600"}
        who = {"user.name": user.identity.name, "user.email": user.identity.email}
        agents = settings | who | _DURABLE | {"core.hooksPath": os.devnull, "core.logAllRefUpdates": "true"}
        agents |= {"core.fsmonitor": "false", "commit.gpgSign": "false", "tag.gpgSign": "false"}
        private_folder(self.folder)
        theirs = [user.objects]
        shape = Skeleton(user.algorithm, [self.agents_path / "objects", *theirs], settings, user.exclude, user.shallow)
        self._skeletons[self.path] = shape
        self._skeletons[self.agents_path] = replace(shape, borrow=[self.path / "objects", *theirs], settings=agents)
        for path, skeleton in self._skeletons.items():
            skeleton.write(path)
        write_ref(self.path / "refs/coord/base", base_oid, break_lock=True)
        self._identity = user.identity
        self._forbidden = [path for path in (user.top_level, user.common_dir) if path is not None]

    async def borrow(self, objects: Path) -> None:
        """See the objects of one more repository, so that worktrees can start from what was merged there.

        Args:
            objects: Its object store.
        """
        for path, skeleton in self._skeletons.items():
            wider = replace(skeleton, borrow=[*dict.fromkeys([*skeleton.borrow, objects])])
            self._skeletons[path] = wider
            await to_end(wider.write, path)

    async def restore(self) -> list[str]:
        """Undo what agents did to the configuration of their repository; return the names of what was changed.

        Other agents' git would otherwise run what one of them planted; ours never reads it.
        """
        return await to_end(self._restore)

    def _restore(self) -> list[str]:
        skeleton = self._skeletons.get(self.agents_path)
        if skeleton is None:
            message = f"{self!r} is not open: call create() first"
            raise GitError(message)
        changed = skeleton.write(self.agents_path)
        for name in ("hooks", "info/attributes", "info/grafts", "config.worktree", "refs/replace", "modules"):
            changed += [name] if take_away(self.agents_path / name, self.path) else []
        for agent in self._worktrees.names():
            name = f"worktrees/{agent}/config.worktree"
            changed += [name] if take_away(self.agents_path / name, self.path) else []
        return changed

    async def add_worktree(self, agent: str, base_oid: str, path: str | Path, *, branch: bool = True) -> None:
        """Check out a commit into a new folder, on a new branch `refs/heads/<agent>`.

        Safe to call for many agents at once, in many processes: no two write the same file.

        Args:
            agent: Whose: names the branch.
            base_oid: The commit to start from.
            path: The folder, absolute; must not exist.
            branch: False: on no branch, for a look at a commit.

        Raises:
            WorktreeRefused: That path must not be used.
            InvalidArgument: That name cannot be a branch.
            GitError: The checkout failed; the folder is gone again.

        Cancelled: the folder is gone again.
        """
        where = Path(path)
        try:
            await to_end(self._add, agent, base_oid, where, branch=branch)
            env = self._env(agent, where) | {"GIT_INDEX_FILE": str(self._worktrees.admin(agent) / "index")}
            await git(["read-tree", "--reset", "-u", base_oid], cwd=where, env=env)
        except WorktreeRefused:
            raise
        except BaseException:
            await to_end(self._worktrees.forget, agent)
            raise

    def _add(self, agent: str, base_oid: str, path: Path, *, branch: bool) -> None:
        self._restore()
        self._worktrees.add(agent, base_oid, path, self._forbidden, branch=branch)

    async def reset_worktree(self, agent: str, oid: str, path: str | Path) -> None:
        """Turn a worktree on no branch into that of another commit, as if it had just been made; much is left alone.

        What changed, is new or is ignored goes; the index is our own, whatever was done to the worktree's.

        Args:
            agent: Whose.
            oid: The commit.
            path: The folder.

        Raises:
            WorktreeRefused: The folder is not that worktree.
            GitError: Something in it cannot be removed, or git failed: remove the worktree and make another.
        """
        where = Path(path)
        env = self._env(agent, where)
        await to_end(self._before_reset, agent, where, oid)
        await git(["read-tree", "--reset", "-u", oid], cwd=where, env=env)
        await git(["clean", "-ffdxq"], cwd=where, env=env)
        theirs, ours = self.indexes(agent)
        await to_end(leftovers.lend_index, ours, theirs)

    def _before_reset(self, agent: str, path: Path, oid: str) -> None:
        self._restore()
        self._worktrees.validate(agent, path)
        for side in (self._worktrees.record(agent), self._worktrees.admin(agent)):
            write_ref(side / "HEAD", oid, break_lock=True)

    async def validate_worktree(self, agent: str, path: str | Path) -> None:
        """Check that a folder is the worktree of an agent and stands on its branch, as it must before a start.

        Args:
            agent: Whose.
            path: The folder.

        Raises:
            WorktreeRefused: It is not; the message says what is wrong.
        """
        await asyncio.to_thread(self._worktrees.validate_fresh, agent, Path(path))

    async def commit_leftovers(
        self, agent: str, path: str | Path, message: str, ignore: Sequence[str] = ()
    ) -> str | None:
        """Commit what an agent changed and did not commit, untracked files included; return the commit.

        No process of the agent may run any more: its locks are taken to be dead. No hook, filter or monitor runs.

        Args:
            agent: Whose.
            path: Its worktree.
            message: What the commit says.
            ignore: Patterns, in the form of `.gitignore`, of what is litter and no work.

        Returns:
            The new commit, to which its branch and HEAD have moved; None when there was nothing to commit.

        Raises:
            WorktreeRefused: The folder is not that worktree any more, or holds a repository of its own.
            GitError: git failed; the worktree is as it was.
        """
        where = Path(path)
        head = await to_end(self._before_commit, agent, where)
        work = leftovers.Work(self.path, self.agents_path / "objects", self._env(agent, where), where)
        tree = await leftovers.tree(work, ignore)
        if tree is None:
            return None
        oid = await to_end(leftovers.commit, work, tree, head, self._identity, int(self._now()), message)
        await to_end(self._move, agent, oid)
        return oid

    def _before_commit(self, agent: str, path: Path) -> str:
        """Repair what the agent may have broken, lend our record its index; return where its HEAD is."""
        self._restore()
        self._worktrees.validate(agent, path)
        _, head = read_head(self._worktrees.admin(agent), self.agents_path)
        if head is None:
            message = f"{agent} left its worktree on a branch without a commit; its work cannot be told from its base"
            raise WorktreeRefused(message)
        write_ref(self._worktrees.record(agent) / "HEAD", head, break_lock=True)
        leftovers.lend_index(self._worktrees.admin(agent) / "index", self._worktrees.record(agent) / "index")
        return head

    def _move(self, agent: str, oid: str) -> None:
        """Move the branch and the HEAD of a worktree to a new commit, and give it the index that belongs to it."""
        admin, record = self._worktrees.admin(agent), self._worktrees.record(agent)
        branch, _ = read_head(admin, self.agents_path)
        write_ref(self.agents_path / "refs/heads" / agent, oid, break_lock=True, durable=True)
        if branch is None:
            write_ref(admin / "HEAD", oid, break_lock=True)
        elif branch != f"refs/heads/{agent}":
            write_ref(admin / "HEAD", f"ref: refs/heads/{agent}", break_lock=True)
        (admin / "index.lock").unlink(missing_ok=True)
        (record / "index").replace(admin / "index")

    async def untracked(self, agent: str, path: str | Path) -> list[str]:
        """Return what lies in a worktree and is neither tracked nor ignored; a whole new folder as one, with ``/``.

        Args:
            agent: Whose.
            path: Its worktree.

        Raises:
            GitError: git failed.
        """
        where = Path(path)
        args = ["ls-files", "--others", "--exclude-standard", "--directory", "--no-empty-directory", "-z"]
        result = await git(args, cwd=where, env=self._env(agent, where))
        return text_of(result.stdout).split("\0")[:-1]

    def looking(self, agent: str, path: str | Path) -> dict[str, str]:
        """Return the environment in which our git looks at an agent's folder at any time, with an index for that alone.

        Args:
            agent: Whose.
            path: Its worktree.
        """
        index = self._worktrees.record(agent) / "seen"
        return {**self._env(agent, Path(path)), "GIT_INDEX_FILE": str(index)}

    async def head(self, agent: str, path: str | Path, base_oid: str) -> str:
        """Return the commit that an agent's work ends at: the HEAD of its worktree, whatever branch that is on.

        Its own branch is moved there when it switched to another, so that the work is found under its name.

        Args:
            agent: Whose.
            path: Its worktree.
            base_oid: The commit it started from.

        Raises:
            WorktreeRefused: The folder is not that worktree, or its HEAD does not descend from the base.
        """
        stores = [self.agents_path / "objects", self.path / "objects"]
        tip, known = await to_end(self._head, agent, Path(path), base_oid, stores)
        if known is None:
            args = ["merge-base", "--is-ancestor", "--end-of-options", base_oid, tip]
            result = await git(args, git_dir=self.path, check=False)
            known = result.returncode == 0
        if not known:
            message = (
                f"{agent} moved its worktree to {tip[:12]}, which does not descend from its base {base_oid[:12]}: "
                "it reset or rewrote history, so its work cannot be told from its base"
            )
            raise WorktreeRefused(message)
        return tip

    def _head(self, agent: str, path: Path, base_oid: str, stores: Sequence[Path]) -> tuple[str, bool | None]:
        self._worktrees.validate(agent, path)
        branch, tip = read_head(self._worktrees.admin(agent), self.agents_path)
        if tip is None:
            message = f"{agent} left its worktree on {branch or 'a HEAD'} without a commit"
            raise WorktreeRefused(message)
        if branch != f"refs/heads/{agent}":
            write_ref(self.agents_path / "refs/heads" / agent, tip, break_lock=True)
        return tip, descends(stores, base_oid, tip)

    async def branch(self, agent: str) -> str | None:
        """Return the commit of an agent's branch, which stays when its worktree is gone; None: there is none.

        Args:
            agent: Whose.
        """
        return await asyncio.to_thread(read_ref, self.agents_path, f"refs/heads/{agent}")

    async def changed_paths(self, base_oid: str, tip_oid: str) -> list[str]:
        """Return the paths in which two commits differ.

        Args:
            base_oid: One commit.
            tip_oid: The other.

        Raises:
            GitError: One of them is missing.
        """
        args = ["diff-tree", "-r", "-z", "--name-only", "--no-renames", base_oid, tip_oid, "--"]
        result = await git(args, git_dir=self.path)
        return text_of(result.stdout).split("\0")[:-1]

    async def remove_worktree(self, agent: str, path: str | Path | None = None) -> None:
        """Remove an agent's worktree and its folder; its branch stays. Nothing to remove is no error.

        Args:
            agent: Whose.
            path: The folder, when the caller knows it: checked against the one that was made.

        Raises:
            WorktreeRefused: The folder is another one than was made; it is left alone.
        """
        await to_end(self._remove, agent, path)

    def _remove(self, agent: str, path: str | Path | None) -> None:
        made = self._worktrees.folder(agent)
        if path is not None and made is not None and Path(path) != made:
            message = f"{str(path)!r} is not the worktree of {agent}, which is {str(made)!r}; nothing was removed"
            raise WorktreeRefused(message)
        self._worktrees.forget(agent)

    async def list_worktrees(self) -> dict[str, Path | None]:
        """Return the folder of each agent that has a worktree, or remains of one (None: no folder was made yet)."""
        names = await asyncio.to_thread(self._worktrees.names)
        return {name: await asyncio.to_thread(self._worktrees.folder, name) for name in names}

    async def prune(self, keep: Collection[str] = ()) -> list[str]:
        """Remove all worktrees, whole or half made, but those of some agents; return whose were removed.

        Branches stay: they hold what failed attempts got done.

        Args:
            keep: Agents whose worktrees stay.

        Raises:
            WorktreeRefused: A folder is another one than was made; it is left alone, the others are removed.
        """
        gone = [name for name in await asyncio.to_thread(self._worktrees.names) if name not in keep]
        results = await asyncio.gather(*(self.remove_worktree(name) for name in gone), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return gone

    def indexes(self, agent: str) -> tuple[Path, Path]:
        """Return the index of an agent's worktree, and the one that we use for it.

        Args:
            agent: Whose.
        """
        return self._worktrees.admin(agent) / "index", self._worktrees.record(agent) / "index"

    async def stores(self) -> list[Path]:
        """Return the object stores that the session reads from, ours first."""
        return await asyncio.to_thread(object_stores, self.path)

    def _env(self, agent: str, path: Path) -> dict[str, str]:
        """Return the environment in which our git works on an agent's folder without reading the agents' repository."""
        record = self._worktrees.record(agent)
        return {"GIT_DIR": str(record), "GIT_WORK_TREE": str(path), "GIT_INDEX_FILE": str(record / "index")}
