"""One pattern of a scope as a set of paths: read it, tell whether a path is in it, find what two have in common.

A path is a list of names; a pattern is read into a list of *steps*. A step stands for one name (a plain name, or one
in which each ``*`` stands for any run of characters) or, `ACROSS`, for any number of names, none included:

    written       steps                  stands for
    src           src ACROSS             the file src, or all below the folder src: a folder means its contents
    src/  src/**  src * ACROSS           what is below the folder src
    src/*         src *                  what lies directly in src: a star in the last name makes it a file's name
    **/*.py       ACROSS *.py            every file so named
    **/a.py       ACROSS a.py            likewise: behind a star, a last name with an extension is a file's
    **/tests      ACROSS tests ACROSS    every file or folder tests
    **            * ACROSS               the whole repository

Only ``*`` and ``**`` are special, so that ``app/[slug]/page.tsx`` and ``{{name}}/setup.py`` are what they are on
disk; what looks like another kind of wildcard is refused, because read as a plain name it would match nothing.
That stars make files of the last name lets tasks share a tree by kind: else ``**/*.py`` and ``**/*.md`` would meet
in ``x.py/x.md``. A slash at the end says folder wherever one is meant.

The names of a path are chosen one by one and independently. So two patterns have a path in common exactly when the
product of their two automata, whose states are pairs of positions, can be walked to its end; the names picked on
the way are such a path. No file needs to exist for that.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from coordstore_orchestrator.plan.bounds import PATTERN_MAX, STEPS_MAX
from coordstore_orchestrator.plan.errors import PlanError, Problem, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ACROSS", "ANY", "Pattern", "Step", "common", "meet", "split_path"]


class Step(NamedTuple):
    """One step of a pattern: its text, and the plain parts between its stars (one part: a plain name)."""

    text: str
    parts: tuple[str, ...]

    @property
    def wild(self) -> bool:
        """Whether the step stands for more than one name."""
        return len(self.parts) > 1

    def fits(self, name: str) -> bool:
        """Tell whether the step stands for this name."""
        if not self.wild:
            return name == self.text
        first, *middle, last = self.parts
        if len(name) < len(first) + len(last) or not (name.startswith(first) and name.endswith(last)):
            return False
        at, end = len(first), len(name) - len(last)
        for part in middle:  # the leftmost place is right: it leaves the most for the others
            found = name.find(part, at, end)
            if found < 0:
                return False
            at = found + len(part)
        return True


ANY: Final = Step("*", ("", ""))
ACROSS: Final = Step("**", ())


def common(one: Step, two: Step) -> str | None:
    """Return a name that both steps stand for, or None; neither may be `ACROSS`."""
    if not one.wild:
        return one.text if two.fits(one.text) else None
    if not two.wild:
        return two.text if one.fits(two.text) else None
    (first, *middle, last), (other_first, *other_middle, other_last) = one.parts, two.parts
    short, first = sorted((first, other_first), key=len)
    tail, last = sorted((last, other_last), key=len)
    if not first.startswith(short) or not last.endswith(tail):
        return None
    # With a star in both, ends that agree suffice: the middles stand one after the other. The x keeps the
    # name from being empty, `.` or `..`, which no file is called.
    return "".join([first, "x", *middle, *other_middle, last])


@dataclass(frozen=True, slots=True)
class Pattern:
    """One pattern: as it was written, and its steps."""

    text: str
    steps: tuple[Step, ...]

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """Read a pattern.

        Raises:
            PlanError: It is not one; the problem says what to write instead.
        """
        problem = _refusal(text)
        if problem is not None:
            raise PlanError.of([problem])
        names = text.removesuffix("/").split("/")
        if names[-1] == "**":
            return cls(text, (*_steps(names[:-1]), ANY, ACROSS))
        if text.endswith("/"):
            return cls(text, (*_steps(names), ANY, ACROSS))
        file = "*" in names[-1] or ("*" in text and _EXTENSION.fullmatch(names[-1]) is not None)
        return cls(text, (*_steps(names), *([] if file else [ACROSS])))

    @property
    def whole(self) -> bool:
        """Whether every path is in it."""
        return set(self.steps) == {ANY, ACROSS} and self.steps.count(ANY) == 1

    def matches(self, path: str) -> bool:
        """Tell whether a path, written from the root with slashes as git does, is in the pattern."""
        names = split_path(path)
        if names is None:
            return False
        at = self._skip({0})
        for name in names:
            stay = {i for i in at if i < len(self.steps) and self.steps[i] == ACROSS}
            move = {i + 1 for i in at - stay if i < len(self.steps) and self.steps[i].fits(name)}
            at = self._skip(stay | move)
        return len(self.steps) in at

    def _skip(self, positions: set[int]) -> set[int]:
        skipped = {i + 1 for i in positions if i < len(self.steps) and self.steps[i] == ACROSS}
        return positions | (self._skip(skipped) if skipped else skipped)

    def explain(self) -> str:
        """Say in words which paths are in the pattern."""
        if self.whole:
            return "everything in the repository"
        text = self.text.removesuffix("/**").removesuffix("/")
        if self.steps[-2:] == (ANY, ACROSS):
            return f"everything below the folder {text}"
        if self.steps[-1] == ACROSS:
            return f"the file {text}, or everything below the folder {text}"
        return f"files that match {text}, but not what lies in a folder that does"


def split_path(path: str) -> tuple[str, ...] | None:
    """Return the names of a path, or None for what is no path from the root: empty, absolute, with ``.`` or ``..``."""
    names = tuple(path.split("/"))
    return None if any(name in {"", ".", ".."} for name in names) else names


def meet(one: Pattern, two: Pattern) -> str | None:
    """Return a path that is in both patterns, or None when there is none, whatever files will exist."""
    start, goal = (0, 0), (len(one.steps), len(two.steps))
    came: dict[tuple[int, int], tuple[tuple[int, int], str]] = {}
    todo = deque([start])
    while todo and goal not in came:
        state = todo.popleft()
        for following, name in _moves(one.steps, two.steps, *state):
            if following not in came:
                came[following] = (state, name)
                todo.append(following)
    if goal not in came:
        return None
    names: list[str] = []
    while goal != start:
        goal, name = came[goal]
        names.append(name)
    return "/".join(name for name in reversed(names) if name)


def _moves(one: tuple[Step, ...], two: tuple[Step, ...], i: int, j: int) -> Iterator[tuple[tuple[int, int], str]]:
    """Yield the states that follow and the name that leads there ("": none, an `ACROSS` ends)."""
    a = one[i] if i < len(one) else None
    b = two[j] if j < len(two) else None
    if a == ACROSS:
        yield (i + 1, j), ""
    if b == ACROSS:
        yield (i, j + 1), ""
    if a is None or b is None or a == b == ACROSS:
        return
    name = common(ANY if a == ACROSS else a, ANY if b == ACROSS else b)
    if name is not None:
        yield (i if a == ACROSS else i + 1, j if b == ACROSS else j + 1), name


def _steps(names: list[str]) -> list[Step]:
    steps: list[Step] = []
    for name in names:
        step = ACROSS if name == "**" else Step(name, tuple(name.split("*")))
        if step != ACROSS or steps[-1:] != [ACROSS]:
            steps.append(step)
    return steps


_EXTENSION: Final = re.compile(r".+\..+")
_REFUSED: Final = (
    (r"\s*", "is empty", "name a file or a folder; '**' is the whole repository"),
    (r"\s.*|.*\s", "begins or ends with a blank", "leave the blank out"),
    (r".*\\.*", "contains a backslash", "write '/' between folders; nothing is escaped in a pattern"),
    (r"!.*", "begins with '!': there is no negation", "name what belongs to the scope"),
    (r"(/|[A-Za-z]:/).*", "is an absolute path", "write it from the root of the repository, without a leading '/'"),
    (r"~.*", "begins with '~'", "write it from the root of the repository"),
    (r".*\?.*", "contains '?'", "write '*'; only '*' and '**' are special"),
    (
        r".*\[([!^][^]/]*|([^]/]-[^]/])+)\].*",
        "contains a character class",
        "write '*'; '[' is a plain character here, as in 'app/[slug]/page.tsx'",
    ),
    (r".*\{[^{}/]*,[^{}/]*\}.*", "contains '{…,…}'", "write one pattern for each alternative"),
    (r".*//.*", "contains '//'", "write one '/'"),
    (r"(.*/)?\./?", "names the folder itself with '.'", "leave the '.' out; '**' is the whole repository"),
    (r"(.*/)?\./.*", "contains a '.' between slashes", "leave './' out"),
    (r"(.*/)?\.\.(/.*)?", "contains '..'", "write the path from the root of the repository, without '..'"),
    (r"(.*/)?\.[gG][iI][tT](/.*)?", "names git's own folder", "nothing in '.git' can be part of a result"),
    (
        r".*[^/]\*\*.*|.*\*\*[^/].*",
        "has '**' inside a name",
        "put '**' alone between slashes ('src/**/*.py'), or write '*'",
    ),
)
_ANY_REFUSED: Final = re.compile("|".join(f"(?:{form})" for form, _, _ in _REFUSED), re.DOTALL)


def _refusal(text: str) -> Problem | None:
    if len(text) > PATTERN_MAX or text.count("/") >= STEPS_MAX:
        what, fix = f"is longer than {PATTERN_MAX} characters or {STEPS_MAX} names", "name a folder above it"
    elif _ANY_REFUSED.fullmatch(text):
        what, fix = next((what, fix) for form, what, fix in _REFUSED if re.fullmatch(form, text, re.DOTALL))
    elif not text.isprintable():  # control characters, strange blanks, halves of surrogate pairs
        what, fix = "contains a character that cannot be shown", "write '*' in its place"
    else:
        return None
    return Problem(f"pattern {shown(text)}", what, fix)
