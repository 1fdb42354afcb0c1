"""Read and write loose objects without a git process.

What an agent committed seconds ago is loose nearly always, and a merge commit is a few lines of text: doing these
in place saves a process each. Whatever is not loose is left to git. Content is checked against its id when read.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from coordstore_orchestrator.git.errors import GitError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

__all__ = [
    "Algorithm",
    "Identity",
    "Loose",
    "algorithm_of",
    "commit_text",
    "descends",
    "digest_of",
    "read_loose",
    "sync_loose",
    "write_loose",
]

Algorithm = Literal["sha1", "sha256"]
HEADER_MAX: Final = 64
SHA1_DIGITS: Final = 40
WALK_MAX: Final = 1000


@dataclass(frozen=True, slots=True)
class Identity:
    """Who commits. `configured` is False when git knows nobody and a stand-in is used."""

    name: str
    email: str
    configured: bool = True


@dataclass(frozen=True, slots=True)
class Loose:
    """A loose object: its kind, its size in bytes, and its content unless it is over the limit asked for."""

    kind: str
    size: int
    body: bytes | None


def algorithm_of(oid: str) -> Algorithm:
    """Return the hash that an object id was made with.

    Args:
        oid: The id in hex.
    """
    return "sha1" if len(oid) == SHA1_DIGITS else "sha256"


def _path(objects: Path, oid: str) -> str:
    return os.path.join(objects, oid[:2], oid[2:])


def read_loose(stores: Iterable[Path], oid: str, limit: int | None = None) -> Loose | None:
    """Return a loose object from the first store that has it, or None.

    Args:
        stores: `objects` folders.
        oid: The object's id in hex.
        limit: Content above this many bytes is not read.

    Raises:
        GitError: The content is not what its id says.
    """
    for objects in stores:
        try:
            with open(_path(objects, oid), "rb") as file:
                return _decode(file.read(), oid, limit)
        except FileNotFoundError:
            continue
        except (OSError, zlib.error, ValueError) as error:
            message = f"object {oid} in {os.fspath(objects)!r} cannot be read: {error}; check it with `git fsck`"
            raise GitError(message) from error
    return None


def _decode(packed: bytes, oid: str, limit: int | None) -> Loose:
    inflate = zlib.decompressobj()
    start = inflate.decompress(packed, HEADER_MAX)
    header, found, _ = start.partition(b"\0")
    if not found:
        message = "it has no header"
        raise ValueError(message)
    kind, _, size = header.decode("ascii").partition(" ")
    if limit is not None and int(size) > limit:
        return Loose(kind, int(size), None)
    whole = start + inflate.decompress(inflate.unconsumed_tail, int(size) + HEADER_MAX)
    body = whole[len(header) + 1 :]
    if len(body) != int(size) or _digest(whole, algorithm_of(oid)) != oid:
        message = "its content does not match its id"
        raise ValueError(message)
    return Loose(kind, int(size), body)


def digest_of(kind: str, body: bytes, algorithm: Algorithm) -> str:
    """Return the id of an object.

    Args:
        kind: `commit`, `tag`, `tree` or `blob`.
        body: Its content.
        algorithm: The repository's hash.
    """
    return _digest(f"{kind} {len(body)}".encode() + b"\0" + body, algorithm)


def _digest(data: bytes, algorithm: Algorithm) -> str:
    return hashlib.new(algorithm, data, usedforsecurity=False).hexdigest()


def write_loose(objects: Path, kind: str, body: bytes, algorithm: Algorithm, *, durable: bool = False) -> str:
    """Write an object and return its id; an object that is there already is left alone.

    Args:
        objects: The `objects` folder to write to.
        kind: `commit`, `tag`, `tree` or `blob`.
        body: Its content.
        algorithm: The repository's hash.
        durable: Whether it is on the disk, not only in memory, on return.
    """
    whole = f"{kind} {len(body)}".encode() + b"\0" + body
    oid = _digest(whole, algorithm)
    target = _path(objects, oid)
    if os.path.exists(target):
        if durable:  # who wrote it may not have waited for that
            sync_loose(objects, oid)
    else:
        os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
        temporary = os.path.join(os.path.dirname(target), f"tmp_obj_{secrets.token_hex(8)}")
        _write_new(temporary, zlib.compress(whole, 1), durable=durable)
        os.replace(temporary, target)
    return oid


def _write_new(path: str, data: bytes, *, durable: bool) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400), "wb") as file:
        file.write(data)
        file.flush()
        if durable:
            os.fsync(file.fileno())


def sync_loose(objects: Path, oid: str) -> None:
    """See to it that an object is on the disk; one that is not loose is in a pack, and is already.

    Args:
        objects: The `objects` folder.
        oid: Its id.
    """
    try:
        file = os.open(_path(objects, oid), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.fsync(file)
    finally:
        os.close(file)


def commit_text(tree: str, parents: Sequence[str], who: Identity, when: int, message: str) -> bytes:
    """Return the content of a commit object.

    Args:
        tree: Its tree.
        parents: Its parents.
        who: Author and committer.
        when: Seconds since 1970, told in UTC.
        message: What it says; ends with one newline whatever is passed.
    """
    person = f"{_clean(who.name) or 'coord'} <{_clean(who.email)}> {when} +0000"
    lines = [f"tree {tree}", *(f"parent {oid}" for oid in parents), f"author {person}", f"committer {person}"]
    text = "\n".join(lines) + "\n\n" + message.replace("\0", "").strip() + "\n"
    return text.encode("utf-8", "replace")


def _clean(text: str) -> str:
    """Return a name as git writes it: on one line, without the characters that end it."""
    return "".join(c for c in text if c not in "<>\n\0").strip(" .,:;\"\\'")


def descends(stores: Sequence[Path], base: str, tip: str) -> bool | None:
    """Tell whether one commit is among the ancestors of another; None: git has to be asked.

    Args:
        stores: `objects` folders that may have the commits loose.
        base: The ancestor.
        tip: The descendant.
    """
    seen, waiting = {tip}, [tip]
    while waiting and len(seen) < WALK_MAX:
        oid = waiting.pop()
        if oid == base:
            return True
        commit = read_loose(stores, oid)
        if commit is None or commit.body is None or commit.kind != "commit":
            return None
        parents = [p for p in _parents(commit.body) if p not in seen]
        seen.update(parents)
        waiting.extend(parents)
    return None if waiting else False


def _parents(body: bytes) -> list[str]:
    head = body.partition(b"\n\n")[0]
    return [line[7:].decode("ascii") for line in head.split(b"\n") if line.startswith(b"parent ")]
