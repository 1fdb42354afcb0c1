"""Why an agent could not start, from what it said, in words that tell what to do about it.

Only what happens before the first tool call counts as a start: later, the same words may be the agent's own work.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["StartTrouble", "classify"]


@dataclass(frozen=True, slots=True)
class StartTrouble:
    """What kept an agent from starting.

    Args:
        code: ``missing``, ``auth``, ``model``, ``address`` or ``network``.
        advice: What it means and what to do.
    """

    code: str
    advice: str


def _status(number: int) -> str:
    """Return the pattern of an HTTP status where it is one, and no line number or count."""
    return rf"(?:^|\b(?:status|code|error|http(?:/[\d.]+)?)\b[^\w\n]{{0,4}}(?:code\W{{0,3}})?){number}(?!\.?\w)"


AUTH: Final = StartTrouble(
    "auth",
    "its model's API does not accept its key (401): log in with the program itself, or set the key's variable, which"
    " the profile's env_allow must name",
)
MODEL: Final = StartTrouble(
    "model",
    "its model's API knows no such model or path (404): name another model (PROFILE:MODEL), or correct the base URL",
)
ADDRESS: Final = StartTrouble(
    "address", "what answers at its base URL is no API of its kind (405): correct the base URL in its configuration"
)
NETWORK: Final = StartTrouble(
    "network", "its model's API cannot be reached: check the base URL, the network and the *_PROXY variables"
)
KNOWN: Final[Sequence[tuple[re.Pattern[str], StartTrouble]]] = tuple(
    (re.compile(pattern, re.IGNORECASE | re.MULTILINE), trouble)
    for pattern, trouble in (
        (
            (
                rf"{_status(401)}|{_status(403)}|\b401 unauthorized|authentication_?(?:failed|error)"
                r"|invalid (?:x-)?api[ -_]?key|incorrect api key|not logged in|please (?:run )?/?log ?in"
            ),
            AUTH,
        ),
        (rf"{_status(405)}|method not allowed", ADDRESS),
        (
            rf"{_status(404)}|\b404 not found|model_not_found|not_found_error|unknown model|model .{{0,80}}not exist",
            MODEL,
        ),
        (r"ECONNREFUSED|ENOTFOUND|EAI_AGAIN|connection refused|name or service not known|fetch failed", NETWORK),
    )
)


def classify(text: str) -> StartTrouble | None:
    """Return what kept an agent from starting, if its words tell.

    Args:
        text: What it printed, or what it said of itself.
    """
    return next((trouble for pattern, trouble in KNOWN if pattern.search(text)), None)
