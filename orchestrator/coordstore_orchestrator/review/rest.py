"""What GitHub and GitLab have in common: a REST interface, a token, and a branch that is pushed for each change."""

from __future__ import annotations

import asyncio
import json
import os
import re
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any, Final

from coordstore.errors import CoordError, InvalidArgument
from coordstore_orchestrator.git.run import git, text_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coordstore.session.changes import Change
    from coordstore_orchestrator.review.model import Tools

__all__ = ["Api", "ForgeError", "Remote", "body_of"]

SECONDS: Final = 30.0
ANSWER_MAX: Final = 1 << 22
REMOTE: Final = "origin"
_SAFE: Final = re.compile(r"https://|http://(?:127\.0\.0\.1|localhost|\[::1\])(?::\d+)?(?:/|$)")
"""Where a token may be sent: over TLS, or to this machine."""
_ADDRESS: Final = re.compile(r"(?:[a-z+]+://(?:[^@/]*@)?([^/:]+)(?::\d+)?/|(?:[^@/]*@)?([^/:]+):)(.+?)(?:\.git)?/?")


class ForgeError(CoordError, RuntimeError):
    """A forge did not do what it was asked; the message has its answer.

    Args:
        message: What happened.
        status: The status of its answer; 0: there was none.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status

    def __reduce__(self) -> tuple[type[ForgeError], tuple[str, int]]:
        return type(self), (str(self), self.status)


class Api:
    """A REST interface that speaks JSON.

    Args:
        base: Its address.
        headers: What every request carries; the token is among it and never shown.
    """

    def __init__(self, base: str, headers: Mapping[str, str]) -> None:
        if not _SAFE.match(base):
            message = f"{base!r} is no address to send a token to: it must begin with https://"
            raise InvalidArgument(message)
        self._base = base.rstrip("/")
        self._headers = {"Accept": "application/json", "Content-Type": "application/json", **headers}

    def __repr__(self) -> str:
        return f"Api({self._base!r})"

    async def __call__(self, method: str, path: str, data: Mapping[str, Any] | None = None) -> Any:  # noqa: ANN401  (JSON)
        """Ask for something and return the answer.

        Args:
            method: GET, POST, PUT or PATCH.
            path: What is meant, from the interface's address on.
            data: What is sent.

        Raises:
            ForgeError: It refuses, or does not answer.
        """
        return await asyncio.to_thread(self._ask, method, path, data)

    def _ask(self, method: str, path: str, data: Mapping[str, Any] | None) -> Any:  # noqa: ANN401  (JSON)
        body = None if data is None else json.dumps(data).encode()
        request = urllib.request.Request(self._base + path, body, dict(self._headers), method=method)  # noqa: S310  (checked above)
        try:
            with _OPENER.open(request, timeout=SECONDS) as answer:
                said = answer.read(ANSWER_MAX)
            return json.loads(said) if said.strip() else None
        except urllib.error.HTTPError as error:
            with error:
                told = error.read(2000).decode("utf-8", "replace")
            message = f"{method} {path}: {error.code} {error.reason}: {told}"
            raise ForgeError(message, error.code) from error
        except (OSError, ValueError, RecursionError) as error:
            message = f"{method} {path}: {error}"
            raise ForgeError(message) from error


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirection: the token is for this address only."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None


_OPENER: Final = urllib.request.build_opener(_Stay)


class Remote:
    """The repository on the forge, as the user's `origin` names it.

    Args:
        tools: Whose repository, and where the work is.
        name: The forge, for messages.
    """

    def __init__(self, tools: Tools, name: str) -> None:
        self._tools = tools
        self._name = name
        self._path: str | None = None

    def token(self, *names: str) -> str:
        """Return the token that the environment has.

        Raises:
            InvalidArgument: It has none.
        """
        found = next((value for name in names if (value := self._tools.environ.get(name))), None)
        if found is None:
            message = f"{self._name} needs a token: set {' or '.join(names)}"
            raise InvalidArgument(message)
        return found

    async def path(self) -> str:
        """Return the repository's name on the forge, as ``owner/name``.

        Raises:
            InvalidArgument: There is no `origin`, or it does not say.
        """
        if self._path is None:
            asked = await git(["remote", "get-url", REMOTE], cwd=self._tools.user.cwd, trust_user=True, check=False)
            url = self._tools.environ.get("COORD_FORGE_REPOSITORY") or text_of(asked.stdout).strip()
            match = _ADDRESS.fullmatch(url)
            if match is None and not re.fullmatch(r"[\w.-]+(?:/[\w.-]+)+", url):
                message = f"the remote {REMOTE!r} is {url!r}, which names no repository on {self._name}"
                raise InvalidArgument(message)
            self._path = match[3] if match else url
        return self._path

    def branch(self, change: Change) -> str:
        """Return the branch that a change is pushed to."""
        return f"coord/{self._tools.session}/{change.agent}"

    async def push(self, change: Change) -> None:
        """Push a change's commit, as the user's own git would: with their remotes, keys and helpers, but no hooks.

        Raises:
            GitError: The remote refuses.
        """
        env = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "core.hooksPath", "GIT_CONFIG_VALUE_0": os.devnull}
        env |= {name: os.environ[name] for name in ("SSH_AUTH_SOCK", "GIT_SSH_COMMAND") if name in os.environ}
        env["GIT_ALTERNATE_OBJECT_DIRECTORIES"] = _quoted(str(self._tools.source / "objects"))
        target = f"{change.text('commit')}:refs/heads/{self.branch(change)}"
        await git(["push", "--force", "--quiet", REMOTE, target], cwd=self._tools.user.cwd, env=env, trust_user=True)


def _quoted(path: str) -> str:
    escaped = path.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def body_of(change: Change, session: str) -> str:
    """Return the text of a pull or merge request."""
    return (
        f"Work of `{change.agent}` in session `{session}`, made by an agent.\n\n"
        f"Approve it, request changes, or close it; `coord changes show {session} {change.agent}` shows the record."
    )
