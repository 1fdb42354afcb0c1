"""Writing what a person or another program will read: whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import ClassVar

from coordstore.errors import CoordError

__all__ = ["CannotWrite", "write_whole"]


class CannotWrite(CoordError, OSError):
    """A file that was asked for cannot be written; what was there before is as it was."""

    hint: ClassVar[str] = "Make the folder, make room, or choose another place."

    exit_code = 2


def write_whole(path: Path, text: str, mode: int = 0o600) -> None:
    """Replace a file at once: who reads it sees the old text or the new one, never a part; blocks.

    Raises:
        CannotWrite: The folder is missing, full or somebody else's.
    """
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                os.fchmod(descriptor, mode)
                file.write(text)
            os.replace(name, path)  # noqa: PTH105  (the name is a string here)
        except BaseException:
            Path(name).unlink()
            raise
    except OSError as error:
        message = f"{path} cannot be written ({error.strerror}): make its folder, or choose another place"
        raise CannotWrite(message) from error
