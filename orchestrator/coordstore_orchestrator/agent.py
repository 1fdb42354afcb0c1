"""What an agent calls to report to its worker, to exchange messages, and to delegate.

Works inside an agent that `coord` runs, over the worker's private socket (COORD_AGENT_SOCKET), and for that agent
only. It blocks for as long as the worker takes to answer, and imports next to nothing: agents pay for every start.
"""

from __future__ import annotations

import json
import os
import socket
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, NoReturn

__all__ = [
    "await_tasks",
    "delegate",
    "main",
    "mark_complete",
    "mark_failed",
    "note",
    "read_messages",
    "received",
    "report_progress",
    "send_message",
]

ANSWER_MAX = 1 << 20
"""Bytes of an answer that are read."""
DONE, MISSING, USAGE, NOBODY = 0, 1, 2, 4
_RECEIVED: list[dict[str, str]] = []
"""Messages that came with an answer and that nobody has read yet."""


def report_progress(status: str, next_steps: str | None = None) -> None:
    """Say how far the work is.

    Args:
        status: What is done.
        next_steps: What comes next.

    Raises:
        Unavailable: No worker listens: this is no agent, or its worker has gone.
        InvalidArgument: The worker refused it; the message says why.
    """
    _call({"call": "report_progress", "status": status, "next_steps": next_steps})


def mark_complete(summary: str, criteria: Mapping[str, str] | None = None) -> list[str]:
    """Say that the task is done, with evidence; the worker verifies it and answers what is missing.

    Args:
        summary: What was done.
        criteria: The evidence for each criterion of the task, by the criterion's text or its number, from 1.

    Returns:
        What is missing, in sentences; nothing when it was accepted. Then end with exit status 0.

    Raises:
        Unavailable: No worker listens.
        InvalidArgument: The worker refused it.
    """
    missing: list[str] = _call({"call": "mark_complete", "summary": summary, "criteria": dict(criteria or {})})[
        "missing"
    ]
    return missing


def mark_failed(reason: str) -> None:
    """Say that the task cannot be done; the attempt has failed then, whatever its exit status.

    Args:
        reason: Why.

    Raises:
        Unavailable: No worker listens.
        InvalidArgument: The worker refused it.
    """
    _call({"call": "mark_failed", "reason": reason})


def read_messages() -> list[dict[str, str]]:
    """Return the messages that have come for this agent, each once, with ``from`` and ``text``.

    Every other report brings them along too; those come first.

    Raises:
        Unavailable: No worker listens.
    """
    _call({"call": "read_messages"})
    return received()


def received() -> list[dict[str, str]]:
    """Return the messages that came with earlier answers and that nobody has read; each once."""
    found, _RECEIVED[:] = list(_RECEIVED), []
    return found


def note(text: str) -> str:
    """Keep a note on the session's scratchpad, tagged with this attempt's name; return its id.

    Args:
        text: What to keep.

    Raises:
        Unavailable: No worker listens.
        InvalidArgument: The worker refused it.
    """
    return str(_call({"call": "note", "text": text})["id"])


def send_message(to: str, text: str) -> str:
    """Send a message to a task, to one of its attempts or to ``orchestrator``; return its id.

    Args:
        to: The receiver, who need not run yet.
        text: What to say.

    Raises:
        Unavailable: No worker listens.
        InvalidArgument: The worker refused it.
    """
    return str(_call({"call": "send_message", "to": to, "text": text})["id"])


def delegate(
    prompt: str,
    writes: Sequence[str] = (),
    *,
    name: str = "",
    profile: str = "",
    reads: Sequence[str] = (),
    accept: Sequence[str] = (),
    request: str = "",
) -> str:
    """Have another agent do a part of the task, from the last commit of this one's branch on; return its id.

    Asking for the same again, as after an error, makes it once only. What came of it comes as a message.

    Args:
        prompt: What the other agent is told.
        writes: Patterns of the files that it may change, within this task's own; none: it only reads.
        name: Shown to people.
        profile: Who does it; the agent profile of this task when left out.
        reads: Patterns of the files that it relies on.
        accept: Criteria by which it is done.
        request: A name for this request, in place of what it says.

    Raises:
        Unavailable: No worker listens.
        InvalidArgument: It may not be delegated; the message says why.
    """
    who = {"name": name, "profile": profile, "request": request}
    what = {"prompt": prompt, "writes": list(writes), "reads": list(reads), "accept": list(accept)}
    return str(_call({"call": "delegate", **what, **who})["task"])


def await_tasks(tasks: Sequence[str] = (), timeout: float | None = None) -> list[dict[str, Any]]:
    """Wait, asleep, until a subtask has ended that was open; return where they all are.

    It also returns after the worker's interval, five minutes unless it was set up otherwise: then call it again, for as
    long as one of them is open. One that was waited for for thirty minutes is given up.

    Args:
        tasks: Their ids; none: all of this agent's.
        timeout: Seconds to wait at most; the interval when left out, or when that is shorter.

    Returns:
        For each ``task``, ``name``, ``state``, whether it is ``open``, and what there is of ``summary``, ``reason``,
        ``commit``, ``branch`` and ``gave_up``.

    Raises:
        Unavailable: No worker listens.
        InvalidArgument: One of them is not this agent's.
    """
    found: list[dict[str, Any]] = _call({"call": "await_tasks", "tasks": list(tasks), "timeout": timeout}, stay=True)[
        "tasks"
    ]
    return found


def _call(request: Mapping[str, object], *, stay: bool = False) -> dict[str, Any]:
    path = os.environ.get("COORD_AGENT_SOCKET", "")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
            _connect(channel, path)
            try:
                channel.sendall(json.dumps(request).encode() + b"\n")
                if not stay:  # one who waits stays on the line: hanging up ends the waiting
                    channel.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # one who refuses us answers without having listened: the answer says why
            answer = json.loads(_read(channel))
    except (OSError, ValueError) as error:
        _fail("Unavailable", f"no worker listens at COORD_AGENT_SOCKET={path!r} ({error}): only agents of coord report")
    if not answer.get("ok") and "missing" not in answer:
        _fail("InvalidArgument", str(answer.get("error")))
    found: dict[str, Any] = answer
    _RECEIVED.extend(found.get("messages") or ())
    return found


def _connect(channel: socket.socket, path: str) -> None:
    """Connect by way of the folder: the address itself may be longer than a socket's may be."""
    folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # noqa: PTH120 - pathlib costs
    try:
        channel.connect(f"/proc/self/fd/{folder}/{os.path.basename(path)}")  # noqa: PTH119 - likewise
    finally:
        os.close(folder)


def _read(channel: socket.socket) -> bytes:
    data = bytearray()
    while len(data) < ANSWER_MAX and (piece := channel.recv(1 << 16)):
        data += piece
    return bytes(data)


def _fail(name: str, message: str) -> NoReturn:
    from coordstore import errors  # only now: the library takes longer to load than all of this to run

    raise getattr(errors, name)(message)


def main(args: Sequence[str]) -> int | None:
    """Do `coord agent ARGS`; return its exit status, None for what needs the whole command line: help, or a mistake.

    Args:
        args: What follows ``agent``.
    """
    texts, evidence, after = _split(args[1:])
    if list(args) == ["read-messages"]:
        return _done(_read_mail)
    if len(texts) != 1 or after is None or (after and args[0] != "report-progress"):
        return None
    if evidence and args[0] != "mark-complete":
        return None
    call = {"report-progress": _progress, "mark-complete": _complete, "mark-failed": _failed}.get(args[0])
    if call is None:
        return None
    said = after
    return _done(lambda: call(texts[0], said, evidence))


def _done(report: Callable[[], int]) -> int:
    """Make a report and tell what came back; return the exit status."""
    try:
        code = report()
    except Exception as error:  # noqa: BLE001 - told in a sentence, with the exit status of its kind
        sys.stderr.write(f"coord: {error}\n")
        return NOBODY if isinstance(error, ConnectionError) else USAGE
    for message in _RECEIVED:
        sys.stdout.write(f"message from {message['from']}: {message['text']}\n")
    return code


def _split(args: Sequence[str]) -> tuple[list[str], dict[str, str], str | None]:
    """Return the texts, the evidence and what comes next; the last is None when the line is not a plain one."""
    texts: list[str] = []
    evidence: dict[str, str] = {}
    after, waiting = "", list(args)
    while waiting:
        word = waiting.pop(0)
        if word == "--evidence" and len(waiting) > 1:
            criterion = waiting.pop(0)
            evidence[criterion] = waiting.pop(0)
        elif word == "--next" and waiting:
            after = waiting.pop(0)
        elif word.startswith("-"):
            return texts, evidence, None
        else:
            texts.append(word)
    return texts, evidence, after


def _progress(text: str, after: str, _evidence: Mapping[str, str]) -> int:
    report_progress(text, after or None)
    return DONE


def _complete(text: str, _after: str, evidence: Mapping[str, str]) -> int:
    missing = mark_complete(text, evidence)
    for each in missing:
        sys.stdout.write(f"missing: {each}\n")
    if not missing:
        sys.stdout.write("accepted: end with exit status 0\n")
    return MISSING if missing else DONE


def _read_mail() -> int:
    _call({"call": "read_messages"})
    return DONE


def _failed(text: str, _after: str, _evidence: Mapping[str, str]) -> int:
    mark_failed(text)
    return DONE
