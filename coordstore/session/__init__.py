"""One orchestration in a store: tasks, attempts, their states and their events, typed."""

from coordstore.session.keys import DEFAULT_CLASS, SESSION_STREAM, SessionKeys, agent_name, split_agent
from coordstore.session.states import FINAL, TRANSITIONS, State, check_transition
from coordstore.session.task import Attempt, Task
from coordstore.session.view import SessionView

__all__ = [
    "DEFAULT_CLASS",
    "FINAL",
    "SESSION_STREAM",
    "TRANSITIONS",
    "Attempt",
    "SessionKeys",
    "SessionView",
    "State",
    "Task",
    "agent_name",
    "check_transition",
    "split_agent",
]
