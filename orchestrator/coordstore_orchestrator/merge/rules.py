"""What no agent may change, whatever its write scope says: rules on names, kinds and contents of changed paths.

Decided here, and shown to people in the refusals:

- `.git`, `.gitattributes` and `.gitmodules` steer git itself and are refused at any depth, also in spellings that some
  file systems take for the same. `.gitignore`, `.gitkeep`, `.github/` and the like are files as any other: in scope
  they are allowed.
- A new file may be executable. To change the mode of an existing one, or its kind (file, symbolic link), is refused
  unless the limits allow it.
- A symbolic link must be relative and stay inside the tree; `..` may only stand at its beginning, since behind a name
  it would mean what that name, perhaps another link, makes of it.
- A path that exists is not judged by its name again: it is the user's.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = [
    "ABSENT",
    "GITLINK",
    "SYMLINK",
    "Change",
    "Limits",
    "Violation",
    "fold",
    "has_conflict",
    "of_link",
    "of_path",
    "shown",
    "too_large",
]

ABSENT: Final = "000000"
SYMLINK: Final = "120000"
GITLINK: Final = "160000"
_STEERING: Final = frozenset({".git", ".gitattributes", ".gitmodules", "git~1"})
_IGNORABLE: Final = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]")
_CONFLICT: Final = re.compile(rb"^<{7}(?: [^\n]*)?$.*?^={7}$.*?^>{7}(?: [^\n]*)?$", re.MULTILINE | re.DOTALL)
_BINARY_PROBE: Final = 8000


@dataclass(frozen=True, slots=True)
class Limits:
    """What a change may be.

    Args:
        file_bytes: The largest file that may be added or changed, in bytes.
        mode_changes: Whether existing files may change mode or kind.
        violations: How many refusals are told; the rest is left out.
    """

    file_bytes: int = 50 * 1024 * 1024
    mode_changes: bool = False
    violations: int = 1000


@dataclass(frozen=True, slots=True)
class Violation:
    """Why a change is refused.

    Args:
        path: The path (bytes that are no UTF-8 as surrogates).
        rule: Which rule: scope, git, submodule, mode, name, case, symlink, size, conflict.
        sentence: For people, with control characters made visible.
    """

    path: str
    rule: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Change:
    """One path in which two commits differ; a mode of 000000 says that it was, or is, not there."""

    path: str
    old_mode: str
    new_mode: str
    old_oid: str
    new_oid: str

    @property
    def added(self) -> bool:
        """Whether the path is new."""
        return self.old_mode == ABSENT

    @property
    def has_content(self) -> bool:
        """Whether there is a blob to look at."""
        return self.new_mode not in {ABSENT, GITLINK} and self.new_oid != self.old_oid


def of_path(change: Change, allowed: Callable[[str], bool], limits: Limits) -> Iterator[Violation]:
    """Yield what a change breaks by its path and mode alone.

    Args:
        change: The change.
        allowed: The write scope.
        limits: What a change may be.
    """
    path = change.path
    if not allowed(path):
        yield Violation(path, "scope", f"{shown(path)} is outside the task's write scope")
    if any(_steers(segment) for segment in path.split("/")):
        yield Violation(path, "git", f"{shown(path)} steers git itself: no agent may change it")
    if GITLINK in {change.old_mode, change.new_mode}:
        yield Violation(path, "submodule", f"{shown(path)} is a submodule: no agent may add, move or remove one")
    elif _changes_mode(change) and not limits.mode_changes:
        modes = f"from {change.old_mode} to {change.new_mode}"
        yield Violation(path, "mode", f"{shown(path)} changed its mode {modes}, which is not allowed")
    if change.added and _is_bad_name(path):
        yield Violation(path, "name", f"{shown(path)} has control characters or '.' and '..' in its name")


def _steers(segment: str) -> bool:
    """Tell whether git, on any file system, might take a name for one of its own files."""
    plain = _IGNORABLE.sub("", segment).casefold().partition(":")[0].rstrip(". ")
    return plain in _STEERING


def _changes_mode(change: Change) -> bool:
    return ABSENT not in {change.old_mode, change.new_mode} and change.old_mode != change.new_mode


def _is_bad_name(path: str) -> bool:
    return any(unicodedata.category(c) == "Cc" for c in path) or not {".", "..", ""}.isdisjoint(path.split("/"))


def of_link(change: Change, target: bytes) -> Iterator[Violation]:
    """Yield what is wrong with a symbolic link.

    Args:
        change: The link.
        target: What it points to.
    """
    text = target.decode("utf-8", "surrogateescape")
    segments = [segment for segment in text.split("/") if segment not in {"", "."}]
    ups = len(segments) - len([*_without_leading_ups(segments)])
    if text.startswith("/") or not text or "\0" in text:
        reason = "is absolute" if text.startswith("/") else "is empty or no path"
    elif ups > change.path.count("/") or ".." in segments[ups:]:
        reason = "leads out of the tree"
    elif any(_steers(segment) for segment in segments):
        reason = "leads into git's own files"
    else:
        return
    message = f"{shown(change.path)} is a symbolic link whose target {shown(text)} {reason}"
    yield Violation(change.path, "symlink", message)


def _without_leading_ups(segments: Iterable[str]) -> Iterator[str]:
    leading = True
    for segment in segments:
        leading = leading and segment == ".."
        if not leading:
            yield segment


def too_large(change: Change, size: int, limits: Limits) -> Iterator[Violation]:
    """Yield a violation when a file is over the limit.

    Args:
        change: The file.
        size: Its size in bytes.
        limits: What a change may be.
    """
    if size > limits.file_bytes:
        message = f"{shown(change.path)} has {size:,} bytes; the limit is {limits.file_bytes:,}"
        yield Violation(change.path, "size", message)


def has_conflict(data: bytes) -> bool:
    """Tell whether a text has a whole set of conflict markers.

    Args:
        data: The text; what looks binary has none.
    """
    if b"<<<<<<<" not in data or b">>>>>>>" not in data or b"\0" in data[:_BINARY_PROBE]:
        return False
    return _CONFLICT.search(data.replace(b"\r\n", b"\n")) is not None


def fold(name: str) -> str:
    """Return what two names share that some file system takes for one.

    Args:
        name: A file's or folder's name.
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def shown(path: str) -> str:
    """Return a path for a sentence: quoted, control characters and foreign bytes made visible.

    Args:
        path: The path.
    """
    return repr(path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"))
