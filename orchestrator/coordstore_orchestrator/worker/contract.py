"""The completion contract: what an agent reports over its worker's private socket, and what the worker answers.

One socket for each attempt, in its private folder: who speaks there can report for that attempt only. And it must be
that attempt's own process: the kernel tells who is at the other end, and only what descends from the agent's keeper
is heard. Nothing that is said here makes an attempt complete; it is verified again when the agent has ended.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import struct
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from coordstore.errors import CoordError
from coordstore.session import events
from coordstore_orchestrator.worker.process import proctree

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from coordstore_orchestrator.worker.delegation import Subtasks
    from coordstore_orchestrator.worker.post import Post
    from coordstore_orchestrator.worker.process import Redactor

__all__ = ["SOCKET", "Contract"]

log = logging.getLogger(__name__)

SOCKET: Final = "agent.sock"
REQUEST_MAX: Final = 1 << 18
PATIENCE: Final = 10.0
"""Seconds that a caller has to say what it wants."""
TEXT_MAX: Final = 2000
EVIDENCE_MAX: Final = 20
REPORTS_MAX: Final = 1000
"""Reports that are taken from one attempt."""
GENERATIONS: Final = 64
"""How far up a caller's forebears are looked for."""
CREDENTIALS: Final = struct.Struct("3i")


class Contract:
    """Listens to one attempt's agent.

    Args:
        criteria: The task's acceptance criteria.
        verify: Returns what is missing beside the criteria: files outside the scope, failing checks.
        tell: Takes the events.
        redactor: Makes a filter that takes secrets out.
        post: The attempt's mail: what has come goes with every answer.
        subtasks: What its agent delegates; None: nothing can be.

    Attributes:
        completed: The summary that was accepted with all evidence.
        evidence: What was accepted for each criterion.
        failed: Why the agent gave up.
        reports: How many reports were taken.
    """

    def __init__(
        self,
        criteria: Sequence[str],
        verify: Callable[[], Awaitable[list[str]]],
        tell: Callable[[Sequence[events.Event]], None],
        redactor: Callable[[], Redactor],
        post: Post | None = None,
        subtasks: Subtasks | None = None,
    ) -> None:
        self.completed: str | None = None
        self.evidence: dict[str, str] = {}
        self.failed: str | None = None
        self.reports = 0
        self._criteria = list(criteria)
        self._verify = verify
        self._tell = tell
        self._redactor = redactor
        self._post = post
        self._subtasks = subtasks
        self._keeper = 0
        self._begun = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<Contract: {self.reports} reports, completed={self.completed is not None}, failed={self.failed!r}>"

    def begin(self, keeper: int) -> None:
        """Hear from now on what descends from a process: the agent's keeper."""
        self._keeper = keeper
        self._begun.set()

    @asynccontextmanager
    async def listening(self, folder: Path) -> AsyncIterator[None]:
        """Listen in a private folder; leaving, the socket is gone and whoever still waits is hung up on."""
        listener = await asyncio.to_thread(_listen, folder)
        calls: set[asyncio.Task[None]] = set()

        async def called(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            if task is not None:
                calls.add(task)
                task.add_done_callback(calls.discard)
            await self._serve(reader, writer)

        server = await asyncio.start_unix_server(called, sock=listener, limit=REQUEST_MAX)
        try:
            yield
        finally:
            server.close()
            for call in list(calls):
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            with suppress(OSError):
                (folder / SOCKET).unlink()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answer: dict[str, Any]
        try:
            async with asyncio.timeout(PATIENCE):
                await self._begun.wait()
            refusal = await asyncio.to_thread(self._stranger, writer.get_extra_info("socket"))
            async with asyncio.timeout(PATIENCE):
                line = await reader.readline()
            if refusal is None:
                answer = await self._answer(line, reader)
            else:
                log.warning("a report was refused: %s", refusal)
                answer = {"ok": False, "error": refusal}
        except (ValueError, TimeoutError) as error:
            log.info("a report was not taken: %r", error)
            answer = {"ok": False, "error": f"a report is one line of JSON, of at most {REQUEST_MAX} bytes"}
        except OSError:
            answer = {"ok": False, "error": "the connection broke"}
        with suppress(OSError):
            writer.write(json.dumps(answer).encode())
            writer.close()
            await writer.wait_closed()

    def _stranger(self, channel: socket.socket) -> str | None:
        """Return why a caller is not heard; None: it is this attempt's own process. Blocks."""
        data = channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
        pid, uid, _ = CREDENTIALS.unpack(data)
        if uid != os.geteuid():
            return "another user's process cannot report"
        for _ in range(GENERATIONS):
            if self._keeper and pid == self._keeper:
                return None
            found = proctree.read_process(pid) if pid > 1 else None
            if found is None:
                break
            pid = found.parent
        return "only the attempt's own agent can report for it"

    async def _answer(self, line: bytes, caller: asyncio.StreamReader) -> dict[str, Any]:
        """Take one report; return the answer."""
        request = json.loads(line)
        kind = request.get("call") if isinstance(request, dict) else None
        handlers = {
            "report_progress": self._progress,
            "mark_complete": self._complete,
            "mark_failed": self._fail,
            "read_messages": self._read,
            "send_message": self._send,
            "note": self._note,
            "delegate": self._delegate,
        }
        if kind not in {*handlers, "await_tasks"}:
            return {
                "ok": False,
                "error": f"there is no report {kind!r}: there are {', '.join([*handlers, 'await_tasks'])}",
            }
        if self.reports >= REPORTS_MAX:
            return {"ok": False, "error": f"that are more than {REPORTS_MAX} reports: no more are taken"}
        self.reports += 1
        if kind == "await_tasks":
            return await self._with_mail(await self._await(request, caller))
        if self._subtasks is not None:
            self._subtasks.stir()
        async with self._one_at_a_time:
            return await self._with_mail(await handlers[kind](request))

    async def _with_mail(self, answer: dict[str, Any]) -> dict[str, Any]:
        """Return an answer with the mail that has come; when that cannot be had, without it."""
        try:
            mail = await self._post.take() if self._post else []
        except CoordError as error:
            log.warning("mail is not delivered now: %s", error)
            mail = []
        return {**answer, "messages": mail} if mail or "messages" in answer else answer

    async def _read(self, _request: Mapping[str, Any]) -> dict[str, Any]:
        return {"ok": True, "messages": []}

    async def _send(self, request: Mapping[str, Any]) -> dict[str, Any]:
        to, text = str(request.get("to") or ""), self._text(request, "text")
        return await self._by_post(lambda post: post.send(to, text))

    async def _note(self, request: Mapping[str, Any]) -> dict[str, Any]:
        text = self._text(request, "text")
        return await self._by_post(lambda post: post.note(text))

    async def _by_post(self, act: Callable[[Post], Awaitable[str]]) -> dict[str, Any]:
        """Have something sent or kept; return the answer, with its id."""
        if self._post is None:
            return {"ok": False, "error": "there is no mail here"}
        try:
            return {"ok": True, "id": await act(self._post)}
        except CoordError as error:
            return {"ok": False, "error": str(error)}

    async def _delegate(self, request: Mapping[str, Any]) -> dict[str, Any]:
        if self._subtasks is None:
            return {"ok": False, "error": "nothing can be delegated here"}
        try:
            return {"ok": True, "task": await self._subtasks.delegate(self._clean(request))}
        except CoordError as error:
            return {"ok": False, "error": str(error)}

    async def _await(self, request: Mapping[str, Any], caller: asyncio.StreamReader) -> dict[str, Any]:
        """Wait for subtasks, for as long as the caller stays on the line; other reports are taken meanwhile."""
        if self._subtasks is None:
            return {"ok": False, "error": "nothing can be delegated here"}
        try:
            return await self._subtasks.wait(request, lambda: caller.read(1))
        except CoordError as error:
            return {"ok": False, "error": str(error)}

    async def _progress(self, request: Mapping[str, Any]) -> dict[str, Any]:
        after = request.get("next_steps")
        told = events.Progress(
            status=self._text(request, "status"),
            next_steps=None if after is None else self._text(request, "next_steps"),
        )
        self._tell([told])
        return {"ok": True}

    async def _fail(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self.failed = self._text(request, "reason") or "it gave no reason"
        self._tell([events.Completion(claim="failed", text=self.failed)])
        return {"ok": True}

    async def _complete(self, request: Mapping[str, Any]) -> dict[str, Any]:
        summary = self._text(request, "summary")
        criteria = request.get("criteria")
        given = criteria if isinstance(criteria, dict) else {}
        missing = self._unmet(given)
        try:
            missing += await self._verify()
        except CoordError as error:
            missing.append(f"it could not be verified: {error}")
        if not missing:
            self.completed = summary
            self.evidence = {str(name)[:TEXT_MAX]: self._text(given, name) for name in list(given)[:EVIDENCE_MAX]}
            self.failed = None
            self._tell([events.Completion(claim="complete", text=summary)])
        return {"ok": not missing, "missing": missing}

    def _unmet(self, given: Mapping[str, Any]) -> list[str]:
        """Return a sentence for each criterion without evidence."""
        return [
            f"no evidence for criterion {number}: {criterion}"
            for number, criterion in enumerate(self._criteria, 1)
            if not any(str(given.get(name) or "").strip() for name in (str(number), criterion, criterion.strip()))
        ]

    def _text(self, request: Mapping[str, Any], name: str) -> str:
        """Return a text of a report, secrets taken out, shortened."""
        return self._redacted(str(request.get(name) or ""))[:TEXT_MAX]

    def _redacted(self, text: str) -> str:
        redactor = self._redactor()
        data = text.encode(errors="backslashreplace")
        return (redactor.feed(data) + redactor.finish()).decode(errors="replace")

    def _clean(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return a request with secrets taken out of its texts and lists of texts."""
        return {name: self._cleaned(value) for name, value in request.items()}

    def _cleaned(self, value: object) -> object:
        if isinstance(value, list):
            return [self._redacted(each) if isinstance(each, str) else each for each in value]
        return self._redacted(value) if isinstance(value, str) else value


def _listen(folder: Path) -> socket.socket:
    """Make the socket by way of its folder: its path may be longer than an address may be. Blocks."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(f"/proc/self/fd/{handle}/{SOCKET}")
        os.chmod(SOCKET, 0o600, dir_fd=handle)
        listener.listen()
    except BaseException:
        listener.close()
        raise
    finally:
        os.close(handle)
    return listener
