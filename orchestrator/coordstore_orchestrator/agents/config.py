"""Agent profiles and worktree extras from a project's own configuration: `coord.toml`, or `[tool.coord]` in pyproject.

[agents.careful]
extends = "claude"              # everything that is not said here
model = "opus"
limits = {steps = 40, idle = 300}
fallback = ["codex"]

[worktree]
copy = [".env"]                 # files that git does not know, copied into each worktree
ports = 10                      # ports of its own for each agent
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from coordstore.errors import CoordError, InvalidArgument
from coordstore_orchestrator.agents.profile import Profile
from coordstore_orchestrator.agents.registry import known_profiles

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["BadConfiguration", "Configuration", "load_configuration"]

FILE: Final = "coord.toml"
PYPROJECT: Final = "pyproject.toml"
SIZE_MAX: Final = 1 << 20
PORTS_MAX: Final = 100


class BadConfiguration(CoordError, ValueError):
    """The configuration file cannot be used; the message names the file and the key."""

    hint: ClassVar[str] = "Correct the file and the key that are named."


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _ProfileTable(_Strict):
    """One `[agents.NAME]`."""

    extends: str | None = None
    argv: tuple[str | tuple[str, ...], ...] | None = None
    prompt: str | None = None
    env_allow: tuple[str, ...] | None = None
    env_set: dict[str, str] | None = None
    model: str | None = None
    models: tuple[str, ...] | None = None
    fallback: tuple[str, ...] | None = None
    limits: dict[str, float] | None = None
    watch: dict[str, float] | None = None
    litter: tuple[str, ...] | None = None
    output: str | None = None
    confine: tuple[str, ...] | None = None
    version: tuple[str, ...] | None = None
    summary: str | None = None


class WorktreeTable(_Strict):
    """`[worktree]`: what each new worktree gets beside what git knows."""

    copy_files: tuple[str, ...] = Field((), alias="copy")
    ports: int = Field(0, ge=0, le=PORTS_MAX)


class _File(_Strict):
    agents: dict[str, _ProfileTable] = {}
    worktree: WorktreeTable = WorktreeTable()


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a project's configuration says.

    Args:
        profiles: All profiles by name: those of plugins, and the project's own, which come first.
        copy: Files to copy into each worktree.
        ports: How many ports each agent gets.
    """

    profiles: Mapping[str, Profile]
    copy: tuple[str, ...] = ()
    ports: int = 0


def load_configuration(folder: Path | None) -> Configuration:
    """Return the configuration of a project; without a file, that is the profiles there are anyway. Blocks.

    Args:
        folder: The root of the user's checkout; None: there is none.

    Raises:
        BadConfiguration: The file cannot be read, or a key of it is wrong.
        PluginError: A plugin cannot be loaded.
    """
    known = known_profiles()
    name, data = _read(folder)
    try:
        found = _File.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        said = "there is no such key" if first["type"] == "extra_forbidden" else first["msg"]
        message = f"{name}: {where}: {said}"
        raise BadConfiguration(message) from error
    own: dict[str, Profile] = {}
    for key in found.agents:
        own[key] = _profile(name, key, found.agents, known, ())
    profiles = {**known, **own}
    for profile in own.values():
        for other in profile.fallback:
            if other not in profiles:
                message = f"{name}: agents.{profile.name}.fallback: no agent profile {other!r}"
                raise BadConfiguration(message)
    return Configuration(dict(sorted(profiles.items())), found.worktree.copy_files, found.worktree.ports)


def _read(folder: Path | None) -> tuple[str, dict[str, Any]]:
    """Return the name of the file that counts, and what it says."""
    if folder is None:
        return FILE, {}
    for name in (FILE, PYPROJECT):
        path = folder / name
        if not path.is_file():
            continue
        try:
            if path.stat().st_size > SIZE_MAX:
                message = f"{path} is larger than {SIZE_MAX} bytes: that is no configuration"
                raise BadConfiguration(message)
            data = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            if name == PYPROJECT:
                return FILE, {}  # somebody else's file, and none of our business when it is broken
            message = f"{path} cannot be read as TOML: {error}"
            raise BadConfiguration(message) from error
        found = data if name == FILE else data.get("tool", {}).get("coord")
        if isinstance(found, dict):
            return name, found
    return FILE, {}


def _profile(
    file: str, name: str, tables: Mapping[str, _ProfileTable], known: Mapping[str, Profile], seen: tuple[str, ...]
) -> Profile:
    """Make one profile, and first the one that it extends."""
    table = tables[name]
    where = f"{file}: agents.{name}"
    said = {key: value for key, value in table.model_dump(exclude={"extends"}).items() if value is not None}
    try:
        if table.extends is None or (table.extends == name and name not in known):
            if "argv" not in said:
                message = f"{where}: it has no command: give argv, or the profile that it extends"
                raise BadConfiguration(message)
            return Profile(name=name, **said)
        base = table.extends
        if base in tables and base != name and base not in seen:
            return replace(_profile(file, base, tables, known, (*seen, name)), name=name, **said)
        if base in known:
            return replace(known[base], name=name, **said)
    except InvalidArgument as error:
        if isinstance(error, BadConfiguration):
            raise
        message = f"{where}: {error}"
        raise BadConfiguration(message) from error
    message = f"{where}.extends: no agent profile {base!r}, or a circle: there are {', '.join(known)}"
    raise BadConfiguration(message)
