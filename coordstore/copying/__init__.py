"""Copies one live store into another, of whatever backends, with nothing lost."""

from coordstore.copying.copy import Copy, copy_store
from coordstore.copying.values import CopyDiffers, CopyRefused, CopyReport

__all__ = ["Copy", "CopyDiffers", "CopyRefused", "CopyReport", "copy_store"]
