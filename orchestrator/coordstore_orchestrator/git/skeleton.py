"""Write a bare repository of ours as plain files: no git process, no template, safe to repeat after any crash.

Each file is brought to its content by a rename, so a creation cut off at any step is finished by the next one.
`extensions.preciousObjects` forbids git to delete objects there: whoever runs `git gc --prune=now` in a worktree
cannot take another's unmerged work with it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from coordstore_orchestrator.git.refs import private_folder, write_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from coordstore_orchestrator.git.objects import Algorithm

__all__ = ["Skeleton", "object_stores"]

_FOLDERS: Final = ("objects/pack", "objects/info", "refs/heads", "refs/tags", "info", "worktrees")
_CONTROL_END: Final = 0x20


@dataclass(frozen=True, slots=True)
class Skeleton:
    """What a bare repository of ours consists of.

    Args:
        algorithm: Its hash; must be that of the repositories it borrows from.
        borrow: `objects` folders whose content it sees without copying.
        settings: Configuration, by `section.key`.
        exclude: Ignore patterns for its worktrees.
        shallow: Content of the `shallow` file of the repository it borrows from; empty: that one has all history.
    """

    algorithm: Algorithm
    borrow: Sequence[Path]
    settings: Mapping[str, str] = field(default_factory=dict)
    exclude: bytes = b""
    shallow: bytes = b""

    def write(self, path: Path) -> list[str]:
        """Make the repository, or repair it; return the names of the files that were not as they must be.

        Args:
            path: Its git directory.
        """
        for folder in _FOLDERS:
            private_folder(path / folder)
        contents = {"objects/info/alternates": self._alternates(), "info/exclude": self.exclude}
        if self.shallow:
            contents["shallow"] = self.shallow
        contents |= {"config": self.config()}
        changed = [name for name, data in contents.items() if write_file(path / name, data)]
        if not (path / "HEAD").exists():  # the last step makes it a repository; agents' worktrees do not use it
            write_file(path / "HEAD", b"ref: refs/heads/coord-none\n")
            changed.append("HEAD")
        return changed

    def config(self) -> bytes:
        """Return the content of its configuration file."""
        settings = {
            "core.repositoryformatversion": "1",
            "core.bare": "true",
            "extensions.preciousObjects": "true",
            "gc.auto": "0",
            "maintenance.auto": "false",
        }
        if self.algorithm != "sha1":
            settings["extensions.objectFormat"] = self.algorithm
        sections: dict[str, list[str]] = {}
        for key, value in (settings | dict(self.settings)).items():
            section, _, name = key.partition(".")
            sections.setdefault(section, []).append(f"\t{name} = {_config_value(value)}\n")
        text = "".join(f"[{name}]\n{''.join(lines)}" for name, lines in sections.items())
        return text.encode("utf-8", "surrogateescape")

    def _alternates(self) -> bytes:
        return b"".join(_alternate_line(os.fsencode(path)) for path in self.borrow)


def object_stores(git_dir: Path) -> list[Path]:
    """Return the `objects` folders that a repository of ours reads from, its own first.

    Args:
        git_dir: Its git directory.
    """
    own = git_dir / "objects"
    lines = (own / "info/alternates").read_bytes().splitlines()
    return [own, *(own.__class__(_unquoted(os.fsdecode(line))) for line in lines)]


def _config_value(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\0", "")
    return f'"{escaped}"'


def _alternate_line(path: bytes) -> bytes:
    """Return a line of an alternates file; a path that could be misread is quoted as git quotes."""
    if min(path) >= _CONTROL_END and not path.startswith((b'"', b"#")):
        return path + b"\n"
    escaped = b"".join(b"\\%03o" % c if c < _CONTROL_END or c in b'"\\' else bytes([c]) for c in path)
    return b'"' + escaped + b'"\n'


def _unquoted(line: str) -> str:
    """Return the path that `_alternate_line` was given."""
    if not line.startswith('"'):
        return line
    parts = line[1:-1].split("\\")
    return parts[0] + "".join(chr(int(part[:3], 8)) + part[3:] for part in parts[1:])
