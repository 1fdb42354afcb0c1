"""Detectors are functions of an attempt's events: each fires within its limit, and never on healthy ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from coordstore.errors import InvalidArgument
from coordstore.hookspecs import hookimpl
from coordstore.session import events
from coordstore_orchestrator.agents.output import open_reader
from coordstore_orchestrator.monitor.detect import (
    Detector,
    Finding,
    Subject,
    UnknownDetector,
    check_thresholds,
    known_detectors,
    patterns,
    registry,
    stall,
    thresholds,
)
from coordstore_orchestrator.monitor.watch import Watched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

RECORDINGS = Path(__file__).parents[1] / "agents" / "recordings"
HEALTHY = ("claude.jsonl", "codex.jsonl", "gemini.jsonl", "mini.json", "opencode.jsonl", "pi.jsonl", "qwen.jsonl")
FORMATS = {"qwen": "claude"}
WRITES = {"writes": ["a.txt"]}


def subject(spec: dict[str, Any] | None = None, **watch: float) -> Subject:
    return Subject("t1.1", WRITES if spec is None else spec, thresholds(watch))


def only(name: str, **watch: float) -> Subject:
    """Return a subject that one detector watches."""
    off = dict.fromkeys(known_detectors(), 0.0)
    off[name] = known_detectors()[name].limit
    return Subject("t1.1", WRITES, {**off, **watch})


def verdicts(found: Iterable[events.Event], whom: Subject | None = None) -> list[tuple[int, str, Finding]]:
    """Return what is found, each with the number of the event it came at."""
    watched = Watched(whom or subject())
    rows = []
    for number, event in enumerate(found, 1):
        watched.see(event)
        rows += [(number, name, finding) for name, finding in watched.untold]
        watched.untold.clear()
    return rows


def short(found: Iterable[events.Event], whom: Subject | None = None) -> list[tuple[int, str, str]]:
    return [(number, name, finding.action) for number, name, finding in verdicts(found, whom)]


class Agent:
    """Tells events as an agent would, on a virtual clock."""

    def __init__(self) -> None:
        self.told: list[events.Event] = []
        self.now = self.stepped = self.lived = 0.0
        self.cpu, self.output, self.files, self.steps = 0.0, 0, 0, 0

    def _tell(self, *told: events.Event) -> Agent:
        self.told += told
        self.lived = self.now
        return self

    def step(self, times: int = 1) -> Agent:
        for _ in range(times):
            self.steps += 1
            self.stepped = self.now
            self.output += 100
            self._tell(events.Step(step=self.steps))
        return self

    def call(self, what: str = "ls", *, ok: bool | None = True) -> Agent:
        self._tell(events.ToolCall(name="bash", digest=what, summary=what))
        if ok is not None:
            self._tell(events.ToolResult(name="bash", ok=ok))
        return self

    def say(self, text: str = "hm") -> Agent:
        return self._tell(events.Message(text=text))

    def change(self) -> Agent:
        self.files += 1
        return self._tell(events.FilesChanged(paths=("a.txt",), count=1))

    def fail(self, text: str = "status 500", times: int = 1) -> Agent:
        self.told += [events.Error(text=text)] * times
        return self

    def ask(self) -> Agent:
        return self._tell(events.ModelCall())

    def wait(self, seconds: float, *, cpu: float = 0.0, output: int = 0, files: int = 0, every: float = 5.0) -> Agent:
        """Let time pass; cpu, output and files are what is used in each of the pulses."""
        end = self.now + seconds
        while self.now < end:
            self.now += min(every, end - self.now)
            self.cpu += cpu
            self.output += output
            self.files += files
            self.pulse()
        return self

    def pulse(self) -> Agent:
        self.told.append(
            events.Pulse(
                up=self.now,
                still=self.now - self.stepped,
                quiet=self.now - self.lived,
                cpu=self.cpu,
                output=self.output,
                files=self.files,
                looked=self.steps,
            )
        )
        return self


def recorded(name: str) -> list[events.Event]:
    """Return what a real agent was seen to do."""
    kind = name.partition(".")[0]
    reader = open_reader(FORMATS.get(kind, kind))
    data = (RECORDINGS / name).read_bytes()
    if name == "mini.json":
        return [*reader.record(data), *reader.finish()]
    return [event for line in data.splitlines() for event in reader.feed("stdout", line)] + reader.finish()


# Healthy agents ------------------------------------------------------------------------------------------------------


@pytest.mark.req("M1", "M2", "M3", "M4", "M5", "M6")
@pytest.mark.parametrize("name", HEALTHY)
def test_nothing_is_found_on_a_recorded_healthy_stream(name: str) -> None:
    told = recorded(name)
    assert len(told) > 5, "the recording tells nothing"
    assert [row for row in verdicts(told) if row[2].action == "stop"] == []


@pytest.mark.req("M1", "M2", "M3", "M4", "M5", "M6")
@pytest.mark.parametrize("name", HEALTHY)
def test_nothing_is_found_when_a_healthy_agent_takes_its_time_and_works(name: str) -> None:
    told: list[events.Event] = []
    agent = Agent()
    for event in recorded(name):
        agent._tell().told = []
        agent.stepped = agent.now
        agent.wait(10 if isinstance(event, events.ModelCall) else 40, cpu=0.4, output=9)
        told += [event, *agent.told]
    assert [row for row in verdicts(told) if row[2].action == "stop"] == []


def healthy() -> dict[str, Agent]:
    """Return agents that are odd and well."""
    busy = Agent().step().call("make", ok=None).wait(800)
    return {
        "a tool that takes its time": busy.step().change(),
        "a compiler under a plain command": Agent().wait(600, cpu=4.0),
        "a plain command that prints": Agent().wait(600, output=50),
        "a command whose files change": Agent().wait(600, files=1),
        "a minute without a step, then one": Agent().step().call().wait(62).step().change(),
        "it reads ten files before it writes": _reads(10).change().step(),
        "a task well done": _reads(8).change().say("done")._tell(events.Completion(claim="complete", text="ok")),
        "tests that fail again and again": _edits(8),
        "errors with work between": _errors_between(6),
        "it thinks aloud and works": _talks(12),
        "the same call twice, twice": Agent().step().call().call().call("pwd").call().call(),
        "a model that answers bit by bit": _streams(6),
        "three refusals before the start": Agent().fail("status 401 authentication_failed", 3),
    }


def _reads(times: int) -> Agent:
    agent = Agent()
    for number in range(times):
        agent.step().call(f"cat {number}").pulse()
    return agent


def _edits(times: int) -> Agent:
    agent = Agent()
    for number in range(times):
        agent.step().call(f"edit {number}").change().step().call("pytest", ok=False).pulse()
    return agent


def _errors_between(times: int) -> Agent:
    agent = Agent().step().call()
    for number in range(times):
        agent.fail(times=2).step().call(f"x {number}").change()
    return agent


def _talks(times: int) -> Agent:
    agent = Agent()
    for number in range(times):
        agent.step().say().say().call(f"x {number}").change()
    return agent


def _streams(times: int) -> Agent:
    agent = Agent()
    for number in range(times):
        agent.step().ask()
        agent.wait(14).say().call(f"x {number}").change()
    return agent


@pytest.mark.req("M1", "M2", "M3", "M4", "M5", "M6")
@pytest.mark.parametrize("case", healthy())
def test_an_odd_but_healthy_agent_goes_on(case: str) -> None:
    assert [row for row in verdicts(healthy()[case].told) if row[2].action == "stop"] == []


# Each fires, within its limit, and on nothing earlier -----------------------------------------------------------------


@pytest.mark.req("M1")
def test_a_stalled_agent_is_suspected_first_and_stopped_with_its_evidence() -> None:
    agent = Agent().step().call()
    agent.wait(200)
    rows = verdicts(agent.told)
    assert [(name, finding.action) for _, name, finding in rows] == [("stall", "suspect"), ("stall", "stop")]
    pulse = agent.told[rows[1][0] - 1]
    assert isinstance(pulse, events.Pulse)
    assert 60 <= pulse.still <= 70
    finding = rows[1][2]
    assert finding.evidence == {
        "class": "running", "still": 65.0, "window": 60.0, "cpu": 0.0, "output": 0, "files": 0, "open_calls": 0,
    }  # fmt: skip
    assert finding.reason.startswith("stalled: no step for 65 s")
    assert finding.hint


@pytest.mark.req("M1")
def test_one_that_never_started_is_told_apart() -> None:
    ((_, _, finding),) = [row for row in verdicts(Agent().wait(100).told) if row[2].action == "stop"]
    assert finding.evidence["class"] == "never-started"
    assert finding.reason.startswith("never started")


@pytest.mark.req("M1")
def test_an_open_tool_call_has_a_limit_of_its_own() -> None:
    agent = Agent().step().call("make", ok=None)
    agent.wait(895)
    assert [row for row in short(agent.told) if row[2] == "stop"] == []
    agent.wait(20)
    ((_, name, finding),) = [row for row in verdicts(agent.told) if row[2].action == "stop"]
    assert (name, finding.evidence["open_calls"]) == ("tool", 1)


@pytest.mark.req("M6")
def test_silence_counts_inside_a_known_model_call_only() -> None:
    agent = Agent().step().ask()
    agent.wait(20)
    ((number, name, finding),) = [row for row in verdicts(agent.told) if row[2].action == "stop"]
    assert (name, finding.evidence["quiet"]) == ("silence", 15.0)
    assert number == 5
    assert short(Agent().step().call().wait(50).told) == []


@pytest.mark.req("M2")
def test_three_errors_in_a_row() -> None:
    agent = Agent().step().call().change().fail("one").pulse().fail("two").fail("three")
    ((number, name, finding),) = verdicts(agent.told)
    assert (number, name, finding.action) == (len(agent.told), "errors", "stop")
    assert finding.evidence == {"errors": ["one", "two", "three"]}
    assert "three" in str(finding.hint)
    assert short(Agent().fail(times=3).told) == [(3, "errors", "stop")]


@pytest.mark.req("M3")
def test_more_than_ten_steps_without_a_changed_file() -> None:
    assert short(_reads(10).told, only("progress")) == []
    ((number, _, finding),) = verdicts(_reads(11).told, only("progress"))
    assert number == len(_reads(11).told)
    assert finding.evidence == {"steps": 11, "files": 0}
    assert "a.txt" in str(finding.hint)
    assert short(_reads(30).told, subject({"writes": []}, repeats=0, nudge=0)) == []
    unlooked = [event for event in _reads(40).told if not isinstance(event, events.Pulse)]
    assert short(unlooked, only("progress")) == [], "nobody has looked at the files"
    assert short(Agent().step(40).wait(20).told, only("progress")) == [], "a command that just prints has no steps"


@pytest.mark.req("M4")
def test_the_same_call_three_times_is_hinted_at_and_then_stopped() -> None:
    agent = Agent()
    for _ in range(8):
        agent.step().call("ls -la")
    rows = [row for row in verdicts(agent.told) if row[1] == "repeats"]
    assert [(number, finding.action) for number, _, finding in rows] == [(8, "hint"), (17, "stop")]
    assert rows[0][2].evidence["times"] == 3
    assert "ls -la" in str(rows[0][2].hint)
    mixed = Agent().call("a").call("a").call("b").call("a").call("a").call("b")
    assert short(mixed.told) == []


@pytest.mark.req("M5")
def test_three_messages_without_a_successful_call_and_a_failed_one_resets_nothing() -> None:
    agent = Agent().step().say("one").step().say("two").call("nope", ok=False).step().say("three")
    ((number, name, finding),) = verdicts(agent.told)
    assert (number, name, finding.action) == (len(agent.told), "chatter", "stop")
    assert finding.evidence == {"messages": ["one", "two", "three"]}
    assert short(Agent().step().say().step().say().call("x").step().say().step().say().told) == []
    assert short(Agent().step().say().say().say().say().told) == [], "several in one step are one"


@pytest.mark.req("M7")
def test_a_nudge_every_five_rounds_without_a_word_of_completion() -> None:
    agent = Agent()
    for number in range(12):
        agent.step().call(f"x {number}").change()
    rows = verdicts(agent.told)
    assert [(name, finding.action) for _, name, finding in rows] == [("nudge", "hint")] * 2
    assert [finding.evidence["rounds"] for _, _, finding in rows] == [5, 10]
    agent = Agent().step(3).call()._tell(events.Completion(claim="complete", text="x")).step(3)
    assert short(agent.told) == []


@pytest.mark.req("M11")
def test_thresholds_are_set_per_profile_and_task_and_zero_is_off() -> None:
    told = Agent().step().call("x").call("x").call("x").call("x").told
    assert short(told, subject(repeats=0)) == []
    assert [row[1:] for row in short(told, subject(repeats=2))] == [("repeats", "hint"), ("repeats", "stop")]
    assert thresholds({"stall": 5}, {"stall": 7})["stall"] == 7.0
    assert thresholds()["stall"] == 60.0
    with pytest.raises(UnknownDetector, match="'stal': there are chatter, errors"):
        check_thresholds("task t", ["stal"])


DEFAULTS = {
    "stall": 60.0, "tool": 900.0, "silence": 15.0, "errors": 3.0,
    "progress": 10.0, "repeats": 3.0, "chatter": 3.0, "nudge": 5.0,
}  # fmt: skip


@pytest.mark.req("M1", "M2", "M3", "M4", "M5", "M6", "M7")
def test_the_defaults_are_those_that_are_written_down() -> None:
    assert thresholds() == DEFAULTS


class EachStep(Detector):
    """Finds something at every step."""

    def see(self, event: events.Event) -> Finding | None:
        return Finding("suspect", "a step") if isinstance(event, events.Step) else None


class Plugin:
    @hookimpl
    def register_detectors(self, register: Any) -> None:
        register("mine", f"{__name__}:EachStep", limit=1, summary="steps")


@pytest.mark.req("M11")
def test_a_plugin_brings_a_detector_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    manager, plugin = registry.watch_plugins(), Plugin()
    manager.register(plugin)
    try:
        monkeypatch.setattr(registry.Registered, "open", lambda self, whom: EachStep(whom, 1))
        assert "mine" in known_detectors()
        found = [row for row in short(Agent().step(2).told) if row[1] == "mine"]
        assert found == [(1, "mine", "suspect"), (2, "mine", "suspect")]
        again = Plugin()
        manager.register(again)
        with pytest.raises(InvalidArgument, match="two plugins have a detector 'mine'"):
            known_detectors()
        manager.unregister(again)
    finally:
        manager.unregister(plugin)


# What stands in the stream is not found again ------------------------------------------------------------------------


@pytest.mark.req("M12")
def test_who_reads_a_stream_again_finds_only_what_does_not_stand_there() -> None:
    told: list[events.Event] = []
    first = Watched(subject())
    for event in Agent().step().call().call().call().call().call().call().told:
        told.append(event)
        first.see(event)
        for name, finding in first.untold:
            told.append(events.Verdict(detector=name, action=finding.action, reason=finding.reason))
        first.untold.clear()
    assert first.stopped
    again, cut = Watched(subject()), Watched(subject())
    for event in told:
        again.see(event)
    assert again.untold == []
    stop = max(at for at, event in enumerate(told) if isinstance(event, events.Verdict))
    for event in told[:stop]:
        cut.see(event)
    assert [(name, finding.action) for name, finding in cut.untold] == [("repeats", "stop")]


# Planted bugs --------------------------------------------------------------------------------------------------------


def _failed_call_resets(self: Any, event: events.Event) -> Any:
    whole = event.model_copy(update={"ok": True}) if isinstance(event, events.ToolResult) else event
    return CHATTER(self, whole)


def _usage_is_an_act(self: Any, event: events.Event) -> Any:
    if isinstance(event, events.Pulse):
        self._row.clear()
    return ERRORS(self, event)


def _counts_all(self: Any, event: events.Event) -> Any:
    if isinstance(event, events.ToolCall):
        event = event.model_copy(update={"digest": "same"})
    return REPEATS(self, event)


def _trusts_steps(self: Any, event: events.Event) -> Any:
    found = PROGRESS(self, event)
    return found or (Finding("stop", "many steps") if isinstance(event, events.Step) and event.step > 10 else None)


def _any_quiet(self: Any, event: events.Event) -> Any:
    self._asking = True
    return SILENCE(self, event)


def _never_hints(self: Any, event: events.Event) -> Any:
    self._rounds = min(self._rounds, 3)
    return NUDGE(self, event)


CHATTER, ERRORS, REPEATS = patterns.Chatter.see, patterns.Errors.see, patterns.Repeats.see
PROGRESS, SILENCE, NUDGE = patterns.Progress.see, stall.Silence.see, patterns.Nudge.see
BUGS: dict[str, tuple[Any, str, Any, Callable[[], None]]] = {
    "a busy processor is no sign": (
        stall, "_moves", lambda before, now: now.output != before.output,
        lambda: test_an_odd_but_healthy_agent_goes_on("a compiler under a plain command"),
    ),
    "everything is a sign": (
        stall, "_moves", lambda _before, _now: True,
        test_a_stalled_agent_is_suspected_first_and_stopped_with_its_evidence,
    ),
    "an open call counts as none": (
        stall.Stall, "in_call", True,
        test_a_stalled_agent_is_suspected_first_and_stopped_with_its_evidence,
    ),
    "a tool call has no limit of its own": (
        stall.OpenCall, "in_call", False, test_an_open_tool_call_has_a_limit_of_its_own,
    ),
    "any silence is a model's": (
        stall.Silence, "see", _any_quiet, test_silence_counts_inside_a_known_model_call_only,
    ),
    "a pulse is an act": (patterns.Errors, "see", _usage_is_an_act, test_three_errors_in_a_row),
    "steps that nobody looked after": (
        patterns.Progress, "see", _trusts_steps, test_more_than_ten_steps_without_a_changed_file,
    ),
    "any calls are the same": (
        patterns.Repeats, "see", _counts_all, test_the_same_call_three_times_is_hinted_at_and_then_stopped,
    ),
    "a failed call resets": (
        patterns.Chatter, "see", _failed_call_resets,
        test_three_messages_without_a_successful_call_and_a_failed_one_resets_nothing,
    ),
    "nobody is nudged": (
        patterns.Nudge, "see", _never_hints, test_a_nudge_every_five_rounds_without_a_word_of_completion,
    ),
}  # fmt: skip


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_caught(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    where, name, wrong, catches = BUGS[bug]
    monkeypatch.setattr(where, name, wrong)
    with pytest.raises((AssertionError, ValueError)):
        catches()
