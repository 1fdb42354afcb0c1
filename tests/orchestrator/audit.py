"""What must hold of a session at every revision, told from the store's history alone and written down a second time.

Nothing of the session layer's own rules is used here but the names of keys: states, needs, limits and leadership are
judged anew, so that a rule broken there is noticed here.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.orchestrator.scripted import WRONG

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coordstore.engine import Commit
    from coordstore.model import Change

TRANSITIONS = {
    (None, "pending"),
    (None, "cancelled"),
    ("pending", "running"),
    ("pending", "cancelled"),
    ("running", "completed"),
    ("running", "failed"),
    ("running", "cancelled"),
}
FREE = ("lost", "interrupted")


class Audit:
    """Follows the commits of one session's store and asserts its rules.

    Args:
        plan: The specifications by task.
        slots: How many attempts each process may run at a time, by its pid.
        authors: Who made each revision, by pid.
        kinds: What each attempt's agent was like.
    """

    def __init__(
        self,
        plan: Mapping[str, Mapping[str, Any]],
        slots: Mapping[int, int],
        authors: Mapping[int, int],
        kinds: Mapping[str, str],
    ) -> None:
        self.plan = plan
        self.slots = slots
        self.authors = authors
        self.kinds = kinds
        self.keys: dict[str, bytes] = {}
        self.attempts: dict[str, list[str]] = {task: [] for task in plan}
        self.before: dict[str, bytes] = {}

    def text(self, key: str) -> str | None:
        return self.keys[key].decode() if key in self.keys else None

    def object(self, key: str) -> dict[str, Any]:
        found = json.loads(self.keys.get(key, b"{}"))
        assert isinstance(found, dict)
        return found

    def state(self, agent: str) -> str | None:
        return self.text(f"s1/agents/{agent}/status")

    def code(self, agent: str) -> Any:
        return self.object(f"s1/agents/{agent}/result").get("code")

    def spent(self, task: str) -> int:
        return sum(self.code(agent) not in FREE for agent in self.attempts[task])

    def limit(self, task: str) -> int:
        """Return how many attempts there are: of a task that does not say, three when a detector stopped the last."""
        stopped = self.attempts[task] and self.stopped(self.attempts[task][-1])
        return int(self.plan[task].get("limits", {}).get("attempts", 3 if stopped else 1))

    def stopped(self, agent: str) -> bool:
        found = self.object(f"s1/agents/{agent}/verdict").get("code")
        return found is not None and found == self.code(agent)

    def commit(self, commit: Commit) -> None:
        """Take in one commit and judge it."""
        self.before = dict(self.keys)
        for change in commit.changes:
            if change.entry is None:
                del self.keys[change.key]
            else:
                self.keys[change.key] = change.entry.value
        for change in commit.changes:
            if change.key.startswith("s1/"):
                self._change(commit, change)
        if any("/agents/" in change.key or "/queue/" in change.key for change in commit.changes):
            self._balance()

    def _change(self, commit: Commit, change: Change) -> None:
        parts = change.key.split("/")
        if parts[1] == "agents" and parts[3] == "status":
            assert change.entry is not None, f"{change.key} was deleted"
            self._status(commit, parts[2])
        elif parts[1] == "agents" and parts[3] == "claim" and change.entry is not None:
            assert change.key not in self.before, f"{change.key} was taken while somebody held it"
            assert self.state(parts[2]) == "running"
        elif parts[1] == "agents" and parts[3] == "verdict":
            self._verdict(commit, parts[2], change)
        elif parts[1] == "merged":
            self._merged(commit, parts[2], change)
        elif parts[1] == "tip":
            self._tip(commit)

    def _status(self, commit: Commit, agent: str) -> None:
        old = self.before.get(f"s1/agents/{agent}/status", b"").decode() or None
        new = self.state(agent)
        assert (old, new) in TRANSITIONS, f"{agent} went from {old} to {new}"
        told = [json.loads(record.data) for record in commit.records if record.stream == f"s1/events/{agent}"]
        events = [event for event in told if event["type"] in ("state", "assigned")]
        assert len(events) == 1, f"{agent}: {len(events)} events tell of one change"
        assert events[0].get("new", "pending") == new, f"{agent}: the event tells of another state"
        if old is None:
            self._new(commit, agent, new)
        elif new == "running":
            assert f"s1/agents/{agent}/claim" not in self.before
            assert f"s1/agents/{agent}/claim" in self.keys, f"{agent} runs without a claim"
        if new in ("completed", "failed", "cancelled"):
            assert self.object(f"s1/agents/{agent}/result"), f"{agent} ended without a result"
            assert f"s1/agents/{agent}/claim" not in self.keys, f"{agent} ended and is still claimed"
            reason = self.object(f"s1/agents/{agent}/result").get("reason", "")
            assert "taken away" not in reason, f"{agent} was stopped for a claim that it still held"
        if new == "completed":
            claim = json.loads(self.before.get(f"s1/agents/{agent}/claim", b"{}"))
            mine = claim and claim.get("pid") == self.authors.get(commit.revision)
            assert mine, f"{agent} was completed by somebody without its claim"
            kind = self.kinds.get(agent)
            assert kind not in WRONG, f"{agent} was believed, and it is one that goes wrong: {kind}"

    def _verdict(self, commit: Commit, agent: str, change: Change) -> None:
        kind, found = self.kinds.get(agent, ""), self.object(change.key)
        assert change.key not in self.before, f"{agent} was stopped twice"
        assert self.leads(commit), f"{agent} was stopped by one who does not lead"
        assert found["code"] in WRONG.get(kind, ()), f"{agent} is {kind} and was stopped: {found['reason']}"

    def _new(self, commit: Commit, agent: str, new: str | None) -> None:
        task, _, number = agent.partition(".")
        earlier = self.attempts[task]
        assert int(number) == len(earlier) + 1, f"{agent} is not the next attempt"
        states = [self.state(each) for each in earlier]
        assert not {"pending", "running"} & set(states), f"{agent}: two live attempts"
        assert "completed" not in states, f"{agent}: a completed task was given out again"
        assert not any(self.cancelled_by_person(each) for each in earlier), f"{agent}: a cancel was undone"
        if new == "pending":
            assert self.leads(commit), f"{agent} was assigned by one who does not lead"
            retry = bool(earlier) and self.code(earlier[-1]) in FREE
            assert retry or self.spent(task) < self.limit(task), f"{agent}: no attempts were left"
            for need in self.plan[task].get("needs", ()):
                assert self.object(f"s1/merged/{need}").get("merged"), f"{agent} was assigned before {need} was merged"
        earlier.append(agent)

    def cancelled_by_person(self, agent: str) -> bool:
        return self.state(agent) == "cancelled" and self.code(agent) == "cancelled"

    def leads(self, commit: Commit) -> bool:
        # Keys are in the order of their creation, and so is the line.
        line = [value for key, value in self.before.items() if key.startswith("s1/leader/line/")]
        leader = json.loads(line[0]) if line else {}
        return bool(leader) and leader.get("pid") == self.authors.get(commit.revision)

    def _merged(self, commit: Commit, task: str, change: Change) -> None:
        assert change.key not in self.before, f"{task} was merged twice"
        record = self.object(change.key)
        assert record["agent"] == self.attempts[task][-1]
        assert self.state(record["agent"]) == "completed", f"{task} was merged and is not completed"
        assert self.leads(commit), f"{task} was merged by one who does not lead"
        assert record["merged"] == ("s1/tip" in {each.key for each in commit.changes})

    def _tip(self, commit: Commit) -> None:
        merged = [each.key.split("/")[2] for each in commit.changes if each.key.startswith("s1/merged/")]
        before = self.before.get("s1/tip", b"c0").decode()
        assert self.text("s1/tip") == f"{before}+{'+'.join(merged)}", f"{merged}: what was merged before is not in it"

    def _balance(self) -> None:
        """Check what concerns several attempts at once."""
        statuses = {key.split("/")[2]: value for key, value in self.keys.items() if key.endswith("/status")}
        queued = {key.split("/")[3] for key in self.keys if key.startswith("s1/queue/")}
        assert queued == {agent for agent, status in statuses.items() if status == b"pending"}, (
            "queue and states differ"
        )
        claims = [value for key, value in self.keys.items() if key.startswith("s1/agents/") and key.endswith("/claim")]
        holders = [json.loads(value)["pid"] for value in claims]
        for pid in set(holders):
            assert holders.count(pid) <= self.slots[pid], f"process {pid} runs more than it has slots for"

    def finish(self) -> None:
        """Judge the end: everything is settled, and for a reason that holds."""
        for task in self.plan:
            assert self.attempts[task], f"{task} was never decided"
            last = self.attempts[task][-1]
            state, merged = self.state(last), self.object(f"s1/merged/{task}")
            assert state in ("completed", "failed", "cancelled"), f"{task} is {state} at the end"
            assert (state == "completed") == bool(merged), f"{task} is {state} and merged: {merged}"
            if state == "failed":
                assert self.code(last) not in FREE, f"{task} was given up though its attempt was cut off"
                assert self.spent(task) >= self.limit(task), f"{task} had attempts left"
                self._detected(last)
            if state == "cancelled" and not self.cancelled_by_person(last):
                raise AssertionError(f"{task} was cancelled by nobody")  # noqa: EM102  (a verdict)
            self._needs(task, last)
        claims = [key for key in self.keys if key.endswith("/claim")]
        assert not claims, f"still claimed at the end: {claims}"

    def _detected(self, agent: str) -> None:
        """Check that one who went wrong for ever failed for that: nobody else can have ended it as failed."""
        kind, code = self.kinds.get(agent, ""), self.code(agent)
        assert kind not in WRONG or code in (*WRONG[kind], "broken"), f"{agent} is {kind} and failed as {code}"

    def _needs(self, task: str, last: str) -> None:
        missing = [n for n in self.plan[task].get("needs", ()) if not self.object(f"s1/merged/{n}").get("merged")]
        reason = self.object(f"s1/agents/{last}/result").get("reason", "")
        if missing and reason != "a person's":
            assert reason.startswith("needs "), f"{task} ended with {reason!r} though {missing} did not land"
            assert reason.split()[1].rstrip(",") in missing
