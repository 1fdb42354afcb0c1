"""Texts that do harm where one is joined to a command line, a path or a screen."""

from __future__ import annotations

from typing import Final

__all__ = ["hostile"]

_CANARY: Final = "CANARY"
_TEXTS: Final = [
    "; touch CANARY",
    "&& touch CANARY",
    "| touch CANARY",
    "|| touch CANARY",
    "& touch CANARY &",
    "$(touch CANARY)",
    "${IFS}touch${IFS}CANARY",
    "`touch CANARY`",
    "\ntouch CANARY\n",
    "\r\ntouch CANARY",
    "' ; touch CANARY ; '",
    '" ; touch CANARY ; "',
    "'\"`$(touch CANARY)`\"'",
    "> CANARY",
    ">> CANARY",
    "2> CANARY",
    "<(touch CANARY)",
    ">(touch CANARY)",
    "$'\\ntouch CANARY'",
    "!touch CANARY",
    "a\0; touch CANARY",
    "\\; touch CANARY",
    "%0atouch CANARY",
    "{touch,CANARY}",
    "~; touch CANARY",
    "--upload-pack=touch CANARY",
    "--exec=touch CANARY",
    "-c core.pager=touch CANARY",
    "-oProxyCommand=touch CANARY",
    "--output=CANARY",
    "-o CANARY",
    "--dangerously-skip-permissions",
    "--help",
    "--",
    "-",
    "--end-of-options",
    "ext::sh -c touch% CANARY",
    "file:///CANARY",
    "refs/heads/x; touch CANARY",
    "HEAD@{touch CANARY}",
    "a..b",
    "@{-1}",
    "x.lock",
    ".git/hooks/post-checkout",
    "../../CANARY",
    "/CANARY",
    "a/../../CANARY",
    "..\\CANARY",
    "%2e%2e%2fCANARY",
    "CON",
    "NUL.txt",
    "a b",
    "\u202egpj.exe",
    "\u0430\u0441\u0435",
    "e\u0301 \u00e9",
    "\ufeffbom",
    "\x1b]52;c;dG91Y2g=\x07",
    "\x1b]8;;http://x\x07link\x1b]8;;\x07",
    "\x1b[2J\x1b[H",
    "\x1b]0;title\x07",
    "{{ 7*7 }} {0.__class__} %(x)s %s",
    "'; drop table kv; --",
    "x" * 2_000_000,
]


def hostile(canary: str) -> list[str]:
    """Return the texts; one that acts makes the file named."""
    return [text.replace(_CANARY, canary) for text in _TEXTS]
