"""Find the other Pythons of a machine: what tries the wheel on them, or needs a newer one, asks here."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

__all__ = ["find"]


def find(version: str) -> Path | None:
    """Return a working interpreter of a version, from PATH or from pyenv's folder."""
    on_path = shutil.which(f"python{version}")
    installed = sorted(Path.home().glob(f".pyenv/versions/{version}*/bin/python"))
    candidates = [*([Path(on_path)] if on_path else []), *installed]
    return next((candidate for candidate in candidates if _works(candidate, version)), None)


def _works(candidate: Path, version: str) -> bool:
    """Tell whether an interpreter starts, is of that version, and can make environments."""
    code = "import ensurepip, sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([str(candidate), "-c", code], capture_output=True, text=True, check=False)
    except OSError:
        return False
    return done.returncode == 0 and done.stdout.strip() == version
