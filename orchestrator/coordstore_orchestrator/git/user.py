"""The user's repository: what is in it, who the user is, what a session starts from. Everything here only reads."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, cast

from coordstore_orchestrator.git.errors import GitError, NotARepository, UnknownBase
from coordstore_orchestrator.git.locate import home_name, locate, repository_name
from coordstore_orchestrator.git.objects import Identity
from coordstore_orchestrator.git.run import git, require_git, text_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coordstore_orchestrator.git.objects import Algorithm

__all__ = ["UserRepository"]

NAMED_CHANGES: Final = 5
STAND_IN: Final = Identity("coord", "coord@localhost", configured=False)
_CARRIED: Final = (
    "core.autocrlf",
    "core.eol",
    "core.safecrlf",
    "core.filemode",
    "core.symlinks",
    "core.ignorecase",
    "core.precomposeunicode",
)
"""Settings that decide what a file's content means: the agents' worktrees need the user's."""


@dataclass(frozen=True, slots=True)
class UserRepository:
    """A repository of the user's, found and understood.

    Args:
        git_dir: The git directory of the worktree the user is in.
        common_dir: The one shared by all worktrees of the repository.
        top_level: The root of the user's checkout; None in a bare repository.
        home_name: The folder name under which its state is kept.
        algorithm: The hash of its object ids.
        identity: Who commits there, as git would resolve it.
        settings: What agents' worktrees take over from its configuration, by `section.key`.
        exclude: The user's personal ignore patterns.
        shallow: The content of its `shallow` file; empty: it has all history.
    """

    git_dir: Path
    common_dir: Path
    top_level: Path | None
    home_name: str
    algorithm: Algorithm
    identity: Identity
    settings: Mapping[str, str]
    exclude: bytes
    shallow: bytes

    @classmethod
    async def discover(cls, path: str | os.PathLike[str] = ".") -> Self:
        """Return the repository around a folder.

        Args:
            path: Any path inside it.

        Raises:
            NotARepository: There is none, or git does not trust its owner.
            GitMissing: There is no git, or it is too old.
        """
        place = await asyncio.to_thread(locate, path)
        if place is None:
            message = f"{os.fspath(path)!r} is not inside a git repository; go into one, or name it with --repo"
            raise NotARepository(message)
        _, config = await asyncio.gather(require_git(), _config(place.top_level or place.git_dir))
        bare = config.get("core.bare") == "true" and place.git_dir == place.common_dir
        top_level = None if bare or place.top_level is None else Path(place.top_level)
        common = Path(place.common_dir)
        identity = _identity(config) or await _resolved_identity(place.git_dir)
        exclude, shallow = await asyncio.to_thread(_small_files, config, common)
        return cls(
            git_dir=Path(place.git_dir),
            common_dir=common,
            top_level=top_level,
            home_name=await asyncio.to_thread(home_name, place.common_dir),
            algorithm=cast("Algorithm", config.get("extensions.objectformat", "sha1")),
            identity=identity,
            settings={key: config[key] for key in _CARRIED if key in config},
            exclude=exclude,
            shallow=shallow,
        )

    @property
    def name(self) -> str:
        """What people call it."""
        return repository_name(str(self.common_dir))

    @property
    def cwd(self) -> Path:
        """Where git commands of the user's run."""
        return self.top_level or self.git_dir

    @property
    def objects(self) -> Path:
        """Its object store."""
        return self.common_dir / "objects"

    async def umask(self) -> int:
        """Return the umask that its object store was made under: what lands there is as readable as the rest."""
        found = await asyncio.to_thread(os.stat, self.objects)
        return ~found.st_mode & 0o077

    async def resolve(self, base: str = "HEAD") -> str:
        """Return the commit that a name stands for.

        Args:
            base: A branch, tag, id or expression, as `git rev-parse` takes it.

        Raises:
            UnknownBase: There is no such commit, or no commit at all.
        """
        if base.startswith("-") or "\0" in base:
            message = f"{base!r} cannot name a commit; give a branch, a tag or a commit id as base"
            raise UnknownBase(message)
        found = await self._ask(["rev-parse", "--verify", "--quiet", "--end-of-options", f"{base}^{{commit}}"])
        if found is not None:
            return found.strip()
        if await self._ask(["rev-parse", "--verify", "--quiet", "HEAD^{commit}"]) is None and base == "HEAD":
            message = f"{self.cwd.name!r} has no commit yet: make one first (git add -A && git commit -m 'Begin')"
            raise UnknownBase(message)
        message = (
            f"there is no commit {base!r} in {str(self.cwd)!r}; `git log --oneline {base}` shows what git makes of it"
        )
        raise UnknownBase(message)

    async def lineage(self, base: str = "HEAD") -> str:
        """Return a name of the repository that all its clones share: the smallest id of its first commits.

        A shallow clone knows other first commits than a whole one.

        Args:
            base: The commit whose history is looked at.
        """
        args = ["rev-list", "--max-parents=0", "--end-of-options", base]
        return min((await self._ask(args) or base).split())

    async def is_dirty(self) -> int:
        """Return how many paths the user has changed and not committed (untracked ones count); 0: clean.

        The index is not refreshed on disk.
        """
        if self.top_level is None:
            return 0
        args = ["status", "--porcelain", "-z", "--no-renames", "--untracked-files=normal", "--ignore-submodules=dirty"]
        result = await git(args, cwd=self.cwd, trust_user=True)
        return result.stdout.count(b"\0")

    async def _ask(self, args: list[str]) -> str | None:
        result = await git(args, cwd=self.cwd, trust_user=True, check=False)
        return text_of(result.stdout) if result.returncode == 0 else None


async def _config(cwd: str) -> dict[str, str]:
    """Return the effective configuration as the user's git reads it, keys in lower case, last value wins."""
    result = await git(["config", "--list", "-z"], cwd=cwd, trust_user=True)
    entries = (entry.partition("\n") for entry in text_of(result.stdout).split("\0") if entry)
    config = {key: value for key, _, value in entries}
    if "core.repositoryformatversion" not in config:
        await _refuse_untrusted(cwd)
    return config


async def _refuse_untrusted(cwd: str) -> None:
    """Raise with git's own reason when git, left to itself, does not open that repository."""
    try:
        await git(["rev-parse", "--git-dir"], cwd=cwd, trust_user=True)
    except GitError as error:
        message = f"git does not open the repository at {cwd!r}: {error.stderr}"
        raise NotARepository(message) from error


def _identity(config: Mapping[str, str]) -> Identity | None:
    """Return who commits when that is plainly configured."""
    name = os.environ.get("GIT_COMMITTER_NAME") or config.get("committer.name") or config.get("user.name")
    email = os.environ.get("GIT_COMMITTER_EMAIL") or config.get("committer.email") or config.get("user.email")
    return Identity(name, email) if name and email else None


async def _resolved_identity(cwd: str) -> Identity:
    """Return whom git would take from the system's user database, or a stand-in when it would refuse."""
    result = await git(["var", "GIT_COMMITTER_IDENT"], cwd=cwd, trust_user=True, check=False)
    name, found, rest = text_of(result.stdout).rpartition(" <")
    email = rest.partition(">")[0]
    return Identity(name, email) if result.returncode == 0 and found and name and email else STAND_IN


def _small_files(config: Mapping[str, str], common: Path) -> tuple[bytes, bytes]:
    """Return the user's ignore patterns, and the `shallow` file."""
    default = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config") / "git/ignore"
    personal = Path(config.get("core.excludesfile") or default).expanduser()
    parts = [_content(personal), _content(common / "info/exclude")]
    return b"\n".join(part for part in parts if part), _content(common / "shallow")


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError):
        return b""  # git reads none of these either
