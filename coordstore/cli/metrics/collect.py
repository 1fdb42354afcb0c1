"""What is counted of a store and its sessions; everything comes from the store, so any process may be asked."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Final

from coordstore.cli.metrics.exposition import Family
from coordstore.session.states import FINAL, State
from coordstore.session.values import words

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from coordstore.cli.report.account import Account
    from coordstore.model import LeaseInfo, StoreInfo
    from coordstore.session.task import Task
    from coordstore.session.view import SessionView

__all__ = ["NAMES", "families"]

GAUGE, COUNTER, HISTOGRAM = "gauge", "counter", "histogram"
NAMES: Final[dict[str, tuple[str, str]]] = {
    "coord_store_info": (GAUGE, "The store that was asked; always 1."),
    "coord_store_revision": (GAUGE, "The store's revision: one more for each transaction."),
    "coord_leases": (GAUGE, "Leases that are held."),
    "coord_sessions": (GAUGE, "Sessions by state."),
    "coord_tasks": (GAUGE, "Tasks by state."),
    "coord_tasks_landed": (GAUGE, "Tasks whose work is in the user's repository."),
    "coord_tasks_left_out": (GAUGE, "Tasks whose completed work was not merged."),
    "coord_queue_depth": (GAUGE, "Assignments that no worker has claimed, by the class of the task."),
    "coord_attempts_running": (GAUGE, "Attempts that a worker runs now."),
    "coord_attempts_lost": (GAUGE, "Attempts said to run whose worker is gone."),
    "coord_attempts_started_total": (COUNTER, "Attempts whose agent was started; its rate is the spawn rate."),
    "coord_attempts_ended_total": (COUNTER, "Attempts that ended, by their final state and result code."),
    "coord_attempts_success_ratio": (GAUGE, "Completed attempts among those that completed or failed."),
    "coord_attempt_duration_seconds": (HISTOGRAM, "How long attempts ran that have ended, by their final state."),
    "coord_session_elapsed_seconds": (
        GAUGE,
        "From the first start of an attempt, or the session's, to its end or now.",
    ),
    "coord_session_agent_seconds": (GAUGE, "The time of all attempts added up: what one after the other had taken."),
    "coord_session_parallelism_ratio": (
        GAUGE,
        "Time of all attempts against elapsed time: above 1, parallel work paid.",
    ),
    "coord_mail_waiting": (GAUGE, "Messages in mailboxes."),
    "coord_mail_dead": (GAUGE, "Messages that nobody could be given."),
    "coord_scratchpad_notes": (GAUGE, "Notes on the session's scratchpad."),
    "coord_scratchpad_bytes": (GAUGE, "Bytes of their text."),
    "coord_scratchpad_cleanups_total": (COUNTER, "How often the scratchpad was tidied."),
    "coord_tool_calls_total": (COUNTER, "Tool calls of agents."),
    "coord_tool_failures_total": (COUNTER, "Tool calls that failed."),
    "coord_agent_errors_total": (COUNTER, "Errors that agents told of, by agent profile and model."),
    "coord_api_errors_total": (COUNTER, "Of them, errors of a model's API, by what went wrong."),
    "coord_tokens_total": (COUNTER, "Tokens that agents told of, by direction."),
    "coord_cost_usd_total": (COUNTER, "US dollars that agents told of."),
}
"""Every metric: its kind and one sentence."""
NO_MODEL: Final = "command"


def families(
    info: StoreInfo, leases: Sequence[LeaseInfo], views: Sequence[SessionView], accounts: Iterable[Account]
) -> list[Family]:
    """Return all metrics with their samples.

    Args:
        info: The store.
        leases: Its leases.
        views: Its sessions.
        accounts: Those sessions whose events were read.
    """
    made = {name: Family(name, kind, said) for name, (kind, said) in NAMES.items()}
    made["coord_store_info"].add(1, scheme=info.scheme, durability=info.durability)
    made["coord_store_revision"].add(info.revision)
    made["coord_leases"].add(len(leases))
    for state, count in sorted(Counter(view.state for view in views).items()):
        made["coord_sessions"].add(count, state=state)
    for view in views:
        _tasks(made, view)
        _waiting(made, view)
    for account in accounts:
        _attempts(made, account)
        _events(made, account)
    return list(made.values())


def _tasks(made: dict[str, Family], view: SessionView) -> None:
    session = view.session
    tasks = view.tasks.values()
    states = Counter(task.state for task in tasks)
    for state in State:
        made["coord_tasks"].add(states[state], session=session, state=str(state))
    lost = sum(task.latest is not None and task.latest.lost for task in tasks)
    made["coord_attempts_lost"].add(lost, session=session)
    made["coord_attempts_running"].add(states[State.RUNNING] - lost, session=session)
    made["coord_tasks_landed"].add(sum(view.landed(task.id) for task in tasks), session=session)
    made["coord_tasks_left_out"].add(sum(view.left_out(task.id) is not None for task in tasks), session=session)


def _waiting(made: dict[str, Family], view: SessionView) -> None:
    """Count what lies under the session's other keys."""
    session = view.session
    queued: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    size = 0
    for key, entry in view.entries.items():
        kind, _, rest = key.removeprefix(session + "/").partition("/")
        kinds[kind] += 1
        if kind == "queue":
            queued[rest.partition("/")[0]] += 1
        elif kind == "pad":
            size += _note_size(entry.value)
    for name, count in sorted(queued.items()) or [("any", 0)]:
        made["coord_queue_depth"].add(count, session=session, class_=name)
    made["coord_mail_waiting"].add(kinds["mail"], session=session)
    made["coord_mail_dead"].add(kinds["dead"], session=session)
    made["coord_scratchpad_notes"].add(kinds["pad"], session=session)
    made["coord_scratchpad_bytes"].add(size, session=session)
    tidied = view.entries.get(f"{session}/tidied/pad")
    times = int(tidied.value[:18]) if tidied and tidied.value[:18].isdigit() else 0
    made["coord_scratchpad_cleanups_total"].add(times, session=session)


def _note_size(value: bytes) -> int:
    try:
        text = json.loads(value)["text"]
    except (ValueError, RecursionError, TypeError, KeyError):
        return 0
    return len(text.encode(errors="replace")) if isinstance(text, str) else 0


def _attempts(made: dict[str, Family], account: Account) -> None:
    session = account.view.session
    attempts = account.attempts
    ended = [attempt for attempt in attempts if attempt.state in FINAL]
    started = sum(attempt.text("started") is not None for attempt in attempts)
    made["coord_attempts_started_total"].add(started, session=session)
    outcomes = Counter((str(attempt.state), words(attempt.result.get("code")) or "") for attempt in ended)
    for (state, code), count in sorted(outcomes.items()):
        made["coord_attempts_ended_total"].add(count, session=session, state=state, code=code)
    good, bad = (sum(attempt.state is state for attempt in ended) for state in (State.COMPLETED, State.FAILED))
    if good + bad:
        made["coord_attempts_success_ratio"].add(good / (good + bad), session=session)
    for state in (State.COMPLETED, State.FAILED, State.CANCELLED):
        took = [seconds for each in ended if each.state is state and (seconds := account.seconds(each)) is not None]
        made["coord_attempt_duration_seconds"].observe(took, session=session, state=str(state))
    begin, end = account.bounds
    elapsed = (end - begin).total_seconds()
    worked = sum(account.seconds(attempt) or 0.0 for attempt in attempts)
    made["coord_session_elapsed_seconds"].add(elapsed, session=session)
    made["coord_session_agent_seconds"].add(worked, session=session)
    if elapsed:
        made["coord_session_parallelism_ratio"].add(worked / elapsed, session=session)


def _events(made: dict[str, Family], account: Account) -> None:
    session = account.view.session
    by_model: dict[str, Counter[str]] = {}
    for task in account.view.ordered():
        sums = by_model.setdefault(_model(account.view, task), Counter())
        for attempt in task.attempts:
            tally = account.tally(attempt.agent)
            for name in ("tool_calls", "tool_failures", "errors", "input_tokens", "output_tokens"):
                sums[name] += getattr(tally, name)
            sums.update({f"api {kind}": count for kind, count in tally.api_errors.items()})
            sums["microdollars"] += round(1e6 * (tally.cost_usd or 0.0))
    for model, sums in sorted(by_model.items()):
        where = {"session": session, "model": model}
        made["coord_tool_calls_total"].add(sums["tool_calls"], **where)
        made["coord_tool_failures_total"].add(sums["tool_failures"], **where)
        made["coord_agent_errors_total"].add(sums["errors"], **where)
        made["coord_tokens_total"].add(sums["input_tokens"], **where, direction="in")
        made["coord_tokens_total"].add(sums["output_tokens"], **where, direction="out")
        made["coord_cost_usd_total"].add(sums["microdollars"] / 1e6, **where)
        for name in sorted(name for name in sums if name.startswith("api ")):
            made["coord_api_errors_total"].add(sums[name], **where, kind=name.removeprefix("api "))


def _model(view: SessionView, task: Task) -> str:
    """Return which agent, ``PROFILE`` or ``PROFILE:MODEL``, a task was given to; a plain command has no model."""
    return next((said for said in (task.spec.get("agent"), view.meta.get("agent")) if isinstance(said, str)), NO_MODEL)
