"""GitHub and GitLab, as far as changes need them: scripted servers on loopback that remember what they were asked."""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["TOKEN", "Hub", "Lab", "serving"]

TOKEN = "t0ken-of-a-forge-4711"


class Scripted:
    """One repository's requests, in the order of their numbers, and a diary of all that was asked."""

    def __init__(self) -> None:
        self.requests: dict[int, dict[str, Any]] = {}
        self.diary: list[str] = []
        self.lock = threading.Lock()
        self.broken = 0
        """How many of the next requests are answered with 500."""

    def branch(self, number: int) -> str:
        raise NotImplementedError

    def number_of(self, agent: str) -> int:
        """Return the number of an attempt's request."""
        return next(number for number in self.requests if self.branch(number).endswith(f"/{agent}"))

    def answer(self, method: str, path: str, query: dict[str, list[str]], data: Any) -> tuple[int, Any]:
        raise NotImplementedError

    def allowed(self, headers: Any) -> bool:
        raise NotImplementedError


class Hub(Scripted):
    """GitHub's pull requests."""

    def branch(self, number: int) -> str:
        return str(self.requests[number]["head"])

    def allowed(self, headers: Any) -> bool:
        return bool(headers.get("Authorization") == f"Bearer {TOKEN}")

    def review(self, agent: str, state: str, body: str = "", login: str = "ann") -> None:
        with self.lock:
            review = {"user": {"login": login}, "state": state, "body": body}
            self.requests[self.number_of(agent)]["reviews"].append(review)

    def answer(self, method: str, path: str, query: dict[str, list[str]], data: Any) -> tuple[int, Any]:
        match = re.fullmatch(r"/repos/me/thing/(pulls|issues)(?:/(\d+)(/\w+)?)?", path)
        if match is None:
            return 404, {"message": "Not Found"}
        if match[2] is None:
            return self._all(method, query, data)
        return self._one(method, match[3], self.requests[int(match[2])], data)

    def _one(self, method: str, part: str | None, pull: dict[str, Any], data: Any) -> tuple[int, Any]:
        if (method, part) == ("GET", "/reviews"):
            return 200, pull["reviews"]
        if (method, part) == ("PUT", "/merge"):
            pull.update(state="closed", merged_at="2026-01-01T00:00:00Z")
            return 200, {"merged": True}
        if (method, part) == ("POST", "/comments"):
            pull["comments"].append(data["body"])
            return 201, {}
        pull.update(data)
        return 200, pull

    def _all(self, method: str, query: dict[str, list[str]], data: Any) -> tuple[int, Any]:
        if method == "GET":
            (head,) = query["head"]
            return 200, [pull for pull in self.requests.values() if f"me:{pull['head']}" == head]
        number = len(self.requests) + 1
        url = f"https://hub.example/me/thing/pull/{number}"
        more = {"number": number, "html_url": url, "state": "open", "merged_at": None, "reviews": [], "comments": []}
        self.requests[number] = {**data, **more}
        return 201, self.requests[number]


class Lab(Scripted):
    """GitLab's merge requests."""

    def branch(self, number: int) -> str:
        return str(self.requests[number]["source_branch"])

    def allowed(self, headers: Any) -> bool:
        return bool(headers.get("PRIVATE-TOKEN") == TOKEN)

    def approve(self, agent: str, login: str = "ann") -> None:
        with self.lock:
            self.requests[self.number_of(agent)]["approved_by"].append({"user": {"username": login}})

    def want_changes(self, agent: str, body: str, login: str = "ann") -> None:
        with self.lock:
            request = self.requests[self.number_of(agent)]
            request["notes"].append({"body": body, "system": False, "author": {"username": login}})
            request["reviewers"].append({"user": {"username": login}, "state": "requested_changes"})

    def answer(self, method: str, path: str, query: dict[str, list[str]], data: Any) -> tuple[int, Any]:
        match = re.fullmatch(r"/projects/me%2Fthing/merge_requests(?:/(\d+)(/\w+)?)?", path)
        if match is None:
            return 404, {"message": "404 Project Not Found"}
        if match[1] is None:
            return self._all(method, query, data)
        request = self.requests[int(match[1])]
        parts = {"/reviewers": request["reviewers"], "/approvals": {"approved_by": request["approved_by"]}}
        if method == "GET":
            return 200, parts.get(match[2], request["notes"])
        if match[2] == "/notes":
            request["notes"].append({"body": data["body"], "system": False, "author": {"username": "coord"}})
            return 201, {}
        request["state"] = "merged" if match[2] == "/merge" else "closed"
        return 200, request

    def _all(self, method: str, query: dict[str, list[str]], data: Any) -> tuple[int, Any]:
        if method == "GET":
            (branch,) = query["source_branch"]
            return 200, [request for request in self.requests.values() if request["source_branch"] == branch]
        number = len(self.requests) + 1
        url = f"https://lab.example/me/thing/-/merge_requests/{number}"
        more: dict[str, Any] = {"iid": number, "web_url": url, "state": "opened"}
        more |= {"approved_by": [], "reviewers": [], "notes": []}
        self.requests[number] = {**data, **more}
        return 201, self.requests[number]


class _Handler(BaseHTTPRequestHandler):
    scripted: ClassVar[Scripted]

    def _do(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        data = json.loads(self.rfile.read(length)) if length else None
        parts = urlsplit(self.path)
        with self.scripted.lock:
            self.scripted.diary.append(f"{self.command} {unquote(parts.path)}")
            if not self.scripted.allowed(self.headers):
                status, said = 401, {"message": "Bad credentials"}
            elif self.scripted.broken:
                self.scripted.broken -= 1
                status, said = 500, {"message": "out of order"}
            else:
                status, said = self.scripted.answer(self.command, parts.path, parse_qs(parts.query), data)
        body = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_PATCH = _do  # noqa: N815  (the base class's names)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the base class's name)
        """Say nothing."""


def serving(scripted: Scripted) -> Iterator[str]:
    """Serve on loopback; give the address."""
    handler = type("Handler", (_Handler,), {"scripted": scripted})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()
