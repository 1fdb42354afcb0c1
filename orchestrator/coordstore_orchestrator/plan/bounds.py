"""Every bound of a plan, stated once: what is beyond them is refused before anything is created."""

from __future__ import annotations

from typing import Final

PLAN_BYTES_MAX: Final = 16 * 1024 * 1024
"""Bytes of a plan as it is read."""
DEPTH_MAX: Final = 16
"""How deep lists and mappings may lie in each other; a plan needs six."""
NODES_MAX: Final = 1_000_000
"""Scalars, lists and mappings in a plan, each as often as aliases repeat it."""
TASKS_MAX: Final = 10_000
"""Tasks in a plan."""
TASK_BYTES_MAX: Final = 1_000_000
"""Bytes of one task as JSON, its prompt included: it has to fit into one value of a store."""
HEAD_BYTES_MAX: Final = 500_000
"""Bytes of a plan without its tasks as JSON: it has to fit into one value of a store, with the ids of all tasks."""
TEXT_MAX: Final = 16 * 1024
"""Bytes of a goal, a criterion or a shell command."""
NAME_MAX: Final = 200
"""Characters of a task's display name, a profile's name or a base revision."""
ENTRIES_MAX: Final = 100
"""Entries of ``setup``, ``validate``, ``accept``, ``checks`` and ``labels``."""
PATTERNS_MAX: Final = 1_000
"""Patterns in one scope."""
PATTERN_MAX: Final = 1_024
"""Characters of a pattern."""
STEPS_MAX: Final = 64
"""Names between the slashes of a pattern."""
ARGV_MAX: Final = 1_000
"""Arguments of an agent's command."""
ARGUMENT_BYTES_MAX: Final = 100 * 1024
"""Bytes of one argument of an agent's command; Linux itself allows 128 KiB."""
PRIORITY_MAX: Final = 1_000_000
"""The highest priority, and negated the lowest."""
STEPS_LIMIT_MAX: Final = 1_000_000
"""The highest ``limits.steps``."""
SECONDS_MAX: Final = 30 * 24 * 3600
"""Seconds: the highest ``limits.idle`` and ``limits.deadline``."""
COST_MAX: Final = 1_000_000
"""US dollars: the highest ``limits.cost``."""
ATTEMPTS_MAX: Final = 100
"""The highest ``limits.attempts``."""
HAND_BACK_MAX: Final = 10
"""The highest ``hand_back``."""
CLASHES_LISTED: Final = 100
"""Pairs of clashing tasks that a refusal names one by one; the others are counted."""
