"""What is known of which agents can do the work at all: call tools, write files, complete.

A verdict belongs to a profile as it is configured, its model and the version of its program, on this machine: another
host, model or update has to show it again. Verdicts lie in the state folder, one small file each.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from coordstore.errors import CoordError
from coordstore.home import state_dir
from coordstore.session.values import now_text
from coordstore_orchestrator.agents.profile import environment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coordstore_orchestrator.agents.profile import Profile

__all__ = ["Proof", "Proofs", "Unproven", "needs_proof", "program", "version"]

FOLDER: Final = "proofs"
PATIENCE: Final = 30.0
"""Seconds that a program has to tell its version."""
VERSION_MAX: Final = 100


class Unproven(CoordError, ValueError):
    """An agent has not shown that it can do the work; the message says how it can."""

    hint: ClassVar[str] = "Let it show what it can: coord profiles probe NAME; or run with --allow-unproven."


@dataclass(frozen=True, slots=True)
class Proof:
    """One verdict.

    Args:
        profile: The profile's name.
        model: The model; None: the program's own choice.
        version: What the program said of its version.
        ok: Whether it did all that was asked.
        reason: What was wrong, else empty.
        at: When, RFC 3339.
    """

    profile: str
    model: str | None
    version: str
    ok: bool
    reason: str
    at: str


def needs_proof(profile: Profile) -> bool:
    """Tell whether a profile runs a model; a command that just runs is what it is."""
    arguments = {part for item in profile.argv for part in ((item,) if isinstance(item, str) else item)}
    return not profile.verbatim and (profile.output != "plain" or "{model}" in arguments)


def program(profile: Profile, environ: Mapping[str, str]) -> Path | None:
    """Return where a profile's program is; None: it is not installed."""
    first = profile.argv[0] if isinstance(profile.argv[0], str) else profile.argv[0][0]
    found = shutil.which(first, path=environ.get("PATH", os.defpath))
    return Path(found) if found else None


def version(profile: Profile, environ: Mapping[str, str]) -> str | None:
    """Return the version that a profile's program tells, else a stamp of its file; None: not installed. Blocks.

    Args:
        profile: Whose.
        environ: The environment that agents' variables are taken from.
    """
    path = program(profile, environ)
    if path is None:
        return None
    stamp = _stamp(path)
    if not profile.version:
        return stamp
    cache = _read(state_dir() / FOLDER / f"version-{stamp}.json")
    if cache is None:
        argv = [str(path), *profile.version]
        env = environment(profile, environ, {})
        try:
            done = subprocess.run(
                argv, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False
            )
            lines = (done.stdout or done.stderr).decode(errors="replace").strip().splitlines()
        except (OSError, subprocess.TimeoutExpired):
            lines = []
        cache = {"version": lines[0][:VERSION_MAX] if lines else stamp}
        _write(state_dir() / FOLDER / f"version-{stamp}.json", cache)
    return str(cache.get("version", stamp))


class Proofs:
    """The verdicts of this machine.

    Args:
        environ: The environment that agents' variables are taken from.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def find(self, profile: Profile) -> Proof | None:
        """Return the verdict on a profile as it is now; None: there is none. Blocks."""
        said = version(profile, self._environ)
        data = None if said is None else _read(self._path(profile, said))
        try:
            return None if data is None else Proof(**data)
        except TypeError:
            return None

    def record(self, profile: Profile, *, ok: bool, reason: str = "") -> Proof:
        """Write a verdict; blocks."""
        said = version(profile, self._environ) or "not installed"
        proof = Proof(profile.name, profile.model, said, ok, reason, now_text())
        _write(self._path(profile, said), asdict(proof))
        return proof

    def demand(self, profile: Profile) -> None:
        """Refuse a profile that has not shown what it can do; one that is not installed fails at its start. Blocks.

        Raises:
            Unproven: It has not, or has shown that it cannot.
        """
        if not needs_proof(profile) or program(profile, self._environ) is None:
            return
        proof = self.find(profile)
        if proof is None or not proof.ok:
            name = profile.name if profile.model is None else f"{profile.name}:{profile.model}"
            said = f"failed its probe ({proof.reason})" if proof else "has not shown yet that it can do the work"
            message = (
                f"agent {name}, version {version(profile, self._environ)}, {said}: `coord profiles probe {name}` lets"
                " it try, --allow-unproven runs it all the same"
            )
            raise Unproven(message)

    def _path(self, profile: Profile, said: str) -> Path:
        shape = [profile.argv, profile.prompt, profile.output, sorted(profile.env_set.items())]
        text = json.dumps([profile.name, profile.model, said, shape])
        return state_dir() / FOLDER / f"{profile.name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.json"


def _stamp(path: Path) -> str:
    """Return what tells one installed file from another."""
    real = path.resolve()
    found = real.stat()
    text = f"{path} {real} {found.st_mtime_ns} {found.st_size}"
    return f"file-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _write(path: Path, data: Mapping[str, Any]) -> None:
    """Write a private file, whole or not at all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(data, file)
    draft.replace(path)
