"""What can go wrong with git, in sentences: what, where, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from coordstore.errors import CoordError, Unsupported

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "GitError",
    "GitMissing",
    "LandRefused",
    "NotARepository",
    "UnknownBase",
    "WorktreeRefused",
]


class GitError(CoordError, RuntimeError):
    """A git command failed; the message ends with what git itself said.

    Args:
        message: What was tried, the exit status, the last lines of git's own words, what to do.
        argv: The command.
        returncode: Its exit status (negative: the signal that ended it).
        stderr: The tail of its error output.
    """

    hint: ClassVar[str] = "Look at what git said; the repository may be locked, damaged or on a full disk."

    def __init__(self, message: str, *, argv: Sequence[str] = (), returncode: int = 0, stderr: str = "") -> None:
        super().__init__(message)
        self.argv = tuple(argv)
        self.returncode = returncode
        self.stderr = stderr


class GitMissing(Unsupported):
    """There is no git on PATH, or one that is too old."""

    hint: ClassVar[str] = "Install git 2.38 or newer, so that it is on PATH."

    exit_code = 2


class NotARepository(CoordError, LookupError):
    """There is no git repository at that place, or git refuses to trust it."""

    exit_code = 2


class UnknownBase(CoordError, LookupError):
    """The commit to start from cannot be had: no such name, or no commit yet."""

    hint: ClassVar[str] = "Name a branch, tag or commit that this repository has as the plan's `base`."

    exit_code = 2


class WorktreeRefused(CoordError, ValueError):
    """A folder is not, or must not become, the worktree of that attempt."""

    hint: ClassVar[str] = "Move the folder away, or run `coord gc`."


class LandRefused(CoordError, PermissionError):
    """The result did not reach the user's repository: something moved under it, or another leader took over.

    Args:
        message: Which ref, what was expected, what is there, what to do.
        ref: The ref that was not as expected.
        expected: The object id it had to have (None: absent).
        found: The object id it has (None: absent).
    """

    hint: ClassVar[str] = "Look at who moved the ref; then run the plan again: it lands onto what is there."

    def __init__(self, message: str, *, ref: str = "", expected: str | None = None, found: str | None = None) -> None:
        super().__init__(message)
        self.ref = ref
        self.expected = expected
        self.found = found
