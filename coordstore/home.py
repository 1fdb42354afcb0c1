"""Where `coord` keeps what belongs to a repository: found from any folder inside it, mostly without running git.

    ${COORD_HOME:-${XDG_STATE_HOME:-~/.local/state}/coord}/
      <repository name>-<12 hex digits>/       one per repository: all its work trees share it
        store.db                               the default store
        sessions/<session>/
          agents.git own.git integration.git   the session's own bare repositories
          worktrees/<agent>                    where an attempt works
          logs/<agent>/                        stdout.log stderr.log prompt.md

Nothing here creates anything: whoever writes makes the folders, with mode 0700.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import ClassVar, Final

from coordstore.errors import CoordError

__all__ = [
    "STDERR_LOG",
    "STDOUT_LOG",
    "NotARepository",
    "default_store_url",
    "find_common_dir",
    "home_dir",
    "home_name",
    "log_dir",
    "session_dir",
    "state_dir",
    "worktree_dir",
]

STDOUT_LOG: Final = "stdout.log"
STDERR_LOG: Final = "stderr.log"

_HOME_NAME = re.compile(r".+-[0-9a-f]{12}")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")
_NAME_MAX = 40
_SESSION_REPOSITORIES = ("agents.git", "own.git", "integration.git")


class NotARepository(CoordError, LookupError):
    """There is no git repository where one is needed."""

    hint: ClassVar[str] = "Go into a repository, or name the store: coord --store URL …."

    exit_code = 2


def state_dir() -> Path:
    """Return the folder that holds the homes of all repositories."""
    if chosen := os.environ.get("COORD_HOME"):
        return Path(chosen).expanduser().absolute()
    base = os.environ.get("XDG_STATE_HOME", "")
    # The XDG specification: a relative path there is to be ignored.
    return (Path(base) if base.startswith("/") else Path("~/.local/state").expanduser()) / "coord"


def home_dir(start: Path) -> Path:
    """Return the home of the repository that a folder lies in; inside a session's worktree: the one of that session.

    Raises:
        NotARepository: There is none.
    """
    if inside := _home_around(start):
        return inside
    common = find_common_dir(start)
    if _belongs_to_session(common):
        return common.parents[2]
    return state_dir() / home_name(common)


def default_store_url(start: Path) -> str:
    """Return the URL of the store that a repository uses when none is named.

    Raises:
        NotARepository: There is none.
    """
    return f"sqlite:{home_dir(start)}/store.db"


def home_name(common: Path) -> str:
    """Return the name of a repository's home from its common git folder."""
    real = Path(os.path.realpath(common))
    name = real.parent.name if real.name == ".git" else real.name.removesuffix(".git")
    safe = _UNSAFE.sub("-", name).strip("._-")[:_NAME_MAX] or "repository"
    return f"{safe}-{hashlib.sha256(os.fsencode(real)).hexdigest()[:12]}"


def session_dir(home: Path, session: str) -> Path:
    """Return a session's folder."""
    return home / "sessions" / session


def worktree_dir(home: Path, session: str, agent: str) -> Path:
    """Return the folder that an attempt works in."""
    return session_dir(home, session) / "worktrees" / agent


def log_dir(home: Path, session: str, agent: str) -> Path:
    """Return the folder of an attempt's output and prompt."""
    return session_dir(home, session) / "logs" / agent


def find_common_dir(start: Path) -> Path:
    """Return the common git folder of the repository around a folder: what all its work trees share.

    ``GIT_DIR`` and ``GIT_COMMON_DIR`` count as they do for git. git itself is asked only where a ``.git`` is
    neither a repository nor the pointer file of a linked worktree or submodule.

    Raises:
        NotARepository: There is none.
    """
    if chosen := os.environ.get("GIT_DIR"):
        git_dir = start / chosen
        return _common(git_dir) if _is_git_dir(git_dir) else _ask_git(start)
    real = Path(os.path.realpath(start))
    for folder in (real, *real.parents):
        dot_git = folder / ".git"
        if _is_git_dir(dot_git):
            return _common(dot_git)
        if dot_git.is_file():
            linked = _pointed_at(dot_git)
            return _common(linked) if linked and _is_git_dir(linked) else _ask_git(start)
        if _is_git_dir(folder):
            return _common(folder)
    message = f"{start.absolute()} is not inside a git repository: go into one, or name the store with --store URL"
    raise NotARepository(message)


def _is_git_dir(folder: Path) -> bool:
    """Tell whether a folder is a repository, or what a linked worktree keeps in one."""
    if not os.path.lexists(folder / "HEAD"):  # older ones hold a symbolic link to a branch not born yet
        return False
    return (folder / "commondir").is_file() or ((folder / "objects").is_dir() and (folder / "refs").is_dir())


def _common(git_dir: Path) -> Path:
    if chosen := os.environ.get("GIT_COMMON_DIR"):
        return Path(os.path.realpath(chosen))
    pointer = git_dir / "commondir"
    target = git_dir / _line(pointer) if pointer.is_file() else git_dir
    return Path(os.path.realpath(target))


def _pointed_at(dot_git: Path) -> Path | None:
    """Return where the pointer file of a worktree or submodule leads."""
    line = _line(dot_git)
    return dot_git.parent / line.removeprefix("gitdir: ") if line.startswith("gitdir: ") else None


def _line(file: Path) -> str:
    return os.fsdecode(file.read_bytes()).rstrip("\r\n")


def _ask_git(start: Path) -> Path:
    import subprocess  # only odd repositories pay for it

    argv = ["git", "-C", str(start), "rev-parse", "--path-format=absolute", "--git-common-dir"]
    try:
        done = subprocess.run(argv, capture_output=True, check=False)
    except OSError as error:
        message = f"the repository at {start.absolute()} cannot be read without git, and git does not start ({error})"
        raise NotARepository(message) from error
    if done.returncode == 0:
        return Path(os.path.realpath(os.fsdecode(done.stdout.rstrip(b"\n"))))
    said = done.stderr.decode(errors="replace").strip().removeprefix("fatal: ")
    message = f"{start.absolute()} is in no git repository that git can read ({said}): repair it, or use another"
    raise NotARepository(message)


def _belongs_to_session(common: Path) -> bool:
    """Tell whether a repository is one of a session's own, wherever the state folder was when it was made."""
    at_place = len(common.parents) > 2 and common.parents[1].name == "sessions"  # noqa: PLR2004  (home, sessions, name)
    return at_place and common.name in _SESSION_REPOSITORIES and bool(_HOME_NAME.fullmatch(common.parents[2].name))


def _home_around(start: Path) -> Path | None:
    """Return the home that a folder lies in (a session's logs, say), or None."""
    state, real = Path(os.path.realpath(state_dir())), Path(os.path.realpath(start))
    if state not in real.parents:
        return None
    name = real.relative_to(state).parts[0]
    return state / name if _HOME_NAME.fullmatch(name) else None
