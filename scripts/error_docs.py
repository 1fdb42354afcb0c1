"""Write docs/errors.md from the error classes themselves, or check it.

python scripts/error_docs.py            write
python scripts/error_docs.py --check    exit 1 when the page is not what would be written
"""

from __future__ import annotations

import importlib
import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from coordstore.cli.main import exit_code
from coordstore.errors import CoordError

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).resolve().parent.parent
PAGE: Final = ROOT / "docs" / "errors.md"
SOURCES: Final = {
    "coordstore": ROOT,
    "coordstore_etcd": ROOT / "backends",
    "coordstore_file": ROOT / "backends",
    "coordstore_orchestrator": ROOT / "orchestrator",
    "coordstore_sqlite": ROOT / "backends",
}

HEAD: Final = """\
# Errors

Generated from the error classes: `make docs` writes it, `make lint` checks it.

`coord` says in one sentence on standard error what happened, where, and behind the last colon what to do; the word in
brackets at the end is the heading below. In Python every error is a `coordstore.errors.CoordError`, and also the
built-in error that it is.

    coord: there is no session 'shpo': there are shop [no-such-session]

## usage

The command line is wrong: a command, option or argument that there is not, or one that is missing; nothing was done.

- What helps: Look at `coord COMMAND --help`; an option of `coord` itself stands before the command.
- Exit status 2.

## internal

Something happened that coordstore did not foresee.

- What helps: Run it again with COORD_DEBUG=1 and report what it prints.
- Exit status 1.
"""


def main(args: list[str]) -> int:
    """Write the page, or with ``--check`` compare it."""
    page = "\n".join([HEAD, *sections()])
    if args != ["--check"]:
        PAGE.write_text(page, encoding="utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == page:
        return 0
    print(f"{PAGE} is not what the errors say: run `make docs`", file=sys.stderr)
    return 1


def sections() -> Iterator[str]:
    """Yield a part for each code, in order."""
    by_code: dict[str, list[type[CoordError]]] = {}
    for error in errors():
        by_code.setdefault(error.code(), []).append(error)
    for code, found in sorted(by_code.items()):
        yield f"## {code}\n"
        for error in found:
            yield from described(error)


def errors() -> list[type[CoordError]]:
    """Return all errors of this distribution, by name."""
    found: set[type[CoordError]] = set()
    for package, base in SOURCES.items():
        for path in (base / package).rglob("*.py"):
            found |= set(_errors_in(".".join(path.relative_to(base).with_suffix("").parts)))
    return sorted(found - {CoordError}, key=lambda error: (error.__name__, error.__module__))


def _errors_in(name: str) -> Iterator[type[CoordError]]:
    if name.endswith(("__main__", "__init__")):
        return
    module = importlib.import_module(name)
    for value in vars(module).values():
        if isinstance(value, type) and issubclass(value, CoordError) and value.__module__ == name:
            yield value


def described(error: type[CoordError]) -> Iterator[str]:
    """Yield what stands below an error's heading."""
    doc = inspect.cleandoc(error.__doc__ or "")
    also = next((base.__name__ for base in error.__mro__ if base.__module__ == "builtins"), "Exception")
    yield f"{doc.partition(chr(10))[0]}\n"
    yield f"- What helps: {error.hint}"
    # The class decides the status, so what an instance would carry does not matter.
    where = f"`{error.__module__}.{error.__name__}`"
    yield f"- Exit status {exit_code(error.__new__(error))}; in Python {where}, also `{also}`.\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
