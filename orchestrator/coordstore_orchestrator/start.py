"""Where `coord` starts: agents' own reports take the short way, everything else the whole command line."""

from __future__ import annotations

import gc
import sys

__all__ = ["main"]


def main() -> int:
    """Run `coord` with the process's arguments: the console script."""
    if sys.argv[1:2] == ["agent"] and len(sys.argv) > 2:  # noqa: PLR2004  (the program, agent, its command)
        from coordstore_orchestrator.agent import main as report

        code = report(sys.argv[2:])
        if code is not None:
            return code
    gc.set_threshold(50_000)  # what is imported is no garbage: to look for some there is a thirtieth of a start
    from coordstore.cli.main import main as whole

    return whole()
