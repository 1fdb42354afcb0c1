"""A model server on loopback that answers as a script says, for agents that want a model and get none."""

from __future__ import annotations

import json
import re
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tests.modelserver.script import Fail, Say, Script, reply
from tests.modelserver.wire import APIS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

__all__ = ["ModelServer"]

NOBODY = Script("", [Say("I know no script for this.")])


class ModelServer:
    """Serves scripts to whoever asks; use it with ``with``.

    Args:
        scripts: By what their requests contain; the first one that fits is used.

    Attributes:
        url: Where it listens, without a path.
        asked: Path and status of each request, in order.
    """

    def __init__(self, scripts: Sequence[Script]) -> None:
        self.scripts = list(scripts)
        self.asked: list[tuple[str, int]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"model": self}))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="model server")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def script(self, text: str) -> Script:
        return next((each for each in self.scripts if each.needle in text), NOBODY)


class Handler(BaseHTTPRequestHandler):
    """Answers one request; `ModelServer` makes a class of its own of it, with itself as `model`."""

    protocol_version = "HTTP/1.1"
    model: ModelServer

    def do_GET(self) -> None:
        models = [{"id": "fake", "object": "model"}]
        self._send(200, {"object": "list", "data": models, "models": []})

    def do_HEAD(self) -> None:
        self._send(200, {})

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode(errors="replace")
        path = urlsplit(self.path).path
        api = next((api for end, api in APIS.items() if path.endswith(end)), None)
        if api is None:
            self._send(200, {"input_tokens": 100, "totalTokens": 100})
            return
        body = json.loads(text)
        turn = api.turn(body)
        step = self.model.script(text).step(turn)
        time.sleep(step.delay)
        if isinstance(step, Fail):
            self._send(step.status, {"error": {"type": "server_error", "message": "as the script says"}})
            return
        answer = reply(step, api.tools(body), _cwd(text))
        if path.endswith(":streamGenerateContent") or body.get("stream"):
            self._answer(200, "text/event-stream", b"".join(api.stream(answer, body, turn)))
        else:
            self._send(200, api.whole(answer, body, turn))

    def _send(self, status: int, body: dict[str, Any]) -> None:
        self._answer(status, "application/json", json.dumps(body).encode())

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.model.asked.append((self.path, status))
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            with suppress(BrokenPipeError, ConnectionResetError):  # the agent was stopped meanwhile
                self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _cwd(text: str) -> str | None:
    """Return the agent's folder, which agents tell their model, or None."""
    found = re.search(r"(?:[Ww]orking directory|current working directory)(?: is)?:? *(/[^\\\"\s<]+)", text)
    return found[1] if found else None
