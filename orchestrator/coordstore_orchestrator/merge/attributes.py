"""Merge attributes of a tree, for a repository without a checkout.

`git merge-tree` in a bare repository reads no `.gitattributes` from the trees it merges, only the repository's own
`info/attributes`. That file is made here from the base tree: what git can do by itself (`merge=union`, `binary`,
`-merge`, the size of conflict markers) is carried over with its patterns anchored at their folder; whatever names a
driver, a filter or a conversion is left out. Which paths have a filter is told apart, so that the gate can refuse
what would have had to pass through one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["filter_attributes", "info_attributes"]

_BUILT_IN: Final = frozenset({"merge=union", "merge=binary", "merge=text", "merge", "-merge", "!merge"})
_MARKERS: Final = re.compile(r"[-!]?conflict-marker-size|conflict-marker-size=[0-9]{1,3}")
_MACRO: Final = "[attr]"
_LINE: Final = re.compile(r'[ \t]*("(?:[^"\\]|\\.)*"|[^ \t]+)(.*)', re.DOTALL)
_ESCAPE: Final = re.compile(r"\\([0-7]{3}|.)", re.DOTALL)
_LETTERS: Final = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "a": "\a"}


def info_attributes(files: Mapping[str, bytes]) -> bytes:
    """Return the content for `info/attributes` that gives paths the merge attributes they have in a tree.

    Args:
        files: The content of each `.gitattributes`, by its folder (empty: the root).
    """
    return _carried_over(files, _of_merge)


def filter_attributes(files: Mapping[str, bytes]) -> bytes:
    """Return the content of an attributes file that tells which paths of a tree have a filter; empty: none.

    Args:
        files: The content of each `.gitattributes`, by its folder (empty: the root).
    """
    found = _carried_over(files, _of_filters)
    return found if b"filter=" in found else b""


def _carried_over(files: Mapping[str, bytes], keep: Callable[[str, set[str]], list[str]]) -> bytes:
    macros: set[str] = set()
    lines: list[str] = []
    for folder in sorted(
        files, key=lambda name: (name.count("/") + bool(name), name)
    ):  # a deeper file wins: comes later
        text = files[folder].decode("utf-8", "surrogateescape")
        lines += _file(folder, text, macros, keep)
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")


def _file(folder: str, text: str, macros: set[str], keep: Callable[[str, set[str]], list[str]]) -> Iterator[str]:
    for raw in text.split("\n"):
        match = _LINE.match(raw.rstrip("\r"))
        if match is None or match[1].startswith("#"):
            continue
        pattern, attributes = match[1], match[2].split()
        if pattern.startswith(_MACRO):
            if folder:
                continue  # git takes macros from the root only
            macros.add(pattern.removeprefix(_MACRO))
        kept = [word for found in attributes for word in keep(found, macros)]
        if kept:
            yield " ".join([pattern if pattern.startswith(_MACRO) else _anchored(folder, pattern), *kept])


def _of_filters(attribute: str, macros: set[str]) -> list[str]:
    name = attribute.lstrip("-!").partition("=")[0]
    return [attribute] if name == "filter" or name in macros else []


def _of_merge(attribute: str, macros: set[str]) -> list[str]:
    """Return what to say for one attribute: nothing, itself, or what it amounts to."""
    if attribute in _BUILT_IN or _MARKERS.fullmatch(attribute) or attribute.lstrip("-!") in macros:
        return [attribute]
    if attribute == "binary":
        return ["-merge"]
    if attribute.startswith("merge="):
        return ["merge"]  # a driver of the user's: git without it merges as text, also where a line before said union
    return []


def _anchored(folder: str, pattern: str) -> str:
    """Return a pattern that means at the root what another means in a folder."""
    plain = _unquoted(pattern)
    if folder:
        inside = plain.lstrip("/") if "/" in plain.rstrip("/") else f"**/{plain}"
        plain = f"/{_literal(folder)}/{inside}"
    return _quoted(plain)


def _literal(folder: str) -> str:
    return re.sub(r"([\\*?\[])", r"\\\1", folder)


def _unquoted(pattern: str) -> str:
    if not pattern.startswith('"'):
        return pattern
    return _ESCAPE.sub(_character, pattern[1:-1])


def _character(match: re.Match[str]) -> str:
    found = match[1]
    if found.isdigit():
        return bytes([int(found, 8) & 0xFF]).decode("utf-8", "surrogateescape")
    return _LETTERS.get(found, found)


def _quoted(pattern: str) -> str:
    if not re.search(r'[\x00-\x20"]', pattern):
        return pattern
    escaped = re.sub(r'["\\]', r"\\\g<0>", pattern)
    return '"' + re.sub(r"[\x00-\x1f]", lambda m: f"\\{ord(m[0]):03o}", escaped) + '"'
