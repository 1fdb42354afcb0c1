"""Where `coord` starts: agents' own reports take the short way, everything else the whole command line."""

from __future__ import annotations

import gc
import sys
from typing import Final

__all__ = ["main"]

COLLECTED: Final = (150_000, 20, 20)
"""When garbage is looked for: seldom, as a session of a thousand agents is up to 100,000 objects, no garbage."""


def main() -> int:
    """Run `coord` with the process's arguments: the console script."""
    if sys.argv[1:2] == ["agent"] and len(sys.argv) > 2:  # noqa: PLR2004  (the program, agent, its command)
        from coordstore_orchestrator.agent import main as report

        code = report(sys.argv[2:])
        if code is not None:
            return code
    gc.set_threshold(*COLLECTED)  # before the imports: to look for garbage in them is a thirtieth of a start
    from coordstore.cli.main import main as whole

    return whole()
