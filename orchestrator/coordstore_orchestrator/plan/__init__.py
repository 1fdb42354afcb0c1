"""Plans: what several agents are to do, in which files, in which order; read, checked, asked.

>>> from coordstore_orchestrator.plan import check_plan, example, order, parse_plan
>>> plan = parse_plan(example())
>>> check_plan(plan)
>>> order(plan)
('esperanto', 'english', 'german', 'all')
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

from coordstore_orchestrator.plan.example import example  # now: else its module would stand in its place

if TYPE_CHECKING:
    from coordstore_orchestrator.plan.check import check_plan
    from coordstore_orchestrator.plan.errors import PlanError, Problem
    from coordstore_orchestrator.plan.graph import Graph, order, ready, waves
    from coordstore_orchestrator.plan.load import build_plan, load_plan, parse_plan, plan_digest
    from coordstore_orchestrator.plan.model import AgentCommand, AgentRef, Limits, Plan, Task
    from coordstore_orchestrator.plan.schema import plan_schema
    from coordstore_orchestrator.plan.scope import Clash, Scope, clash, overlap

__all__ = [
    "AgentCommand",
    "AgentRef",
    "Clash",
    "Graph",
    "Limits",
    "Plan",
    "PlanError",
    "Problem",
    "Scope",
    "Task",
    "build_plan",
    "check_plan",
    "clash",
    "example",
    "load_plan",
    "order",
    "overlap",
    "parse_plan",
    "plan_digest",
    "plan_schema",
    "ready",
    "waves",
]

_MODULES: Final = {
    "AgentCommand": "model",
    "AgentRef": "model",
    "Clash": "scope",
    "Graph": "graph",
    "Limits": "model",
    "Plan": "model",
    "PlanError": "errors",
    "Problem": "errors",
    "Scope": "scope",
    "Task": "model",
    "build_plan": "load",
    "check_plan": "check",
    "clash": "scope",
    "load_plan": "load",
    "order": "graph",
    "overlap": "scope",
    "parse_plan": "load",
    "plan_digest": "load",
    "plan_schema": "schema",
    "ready": "graph",
    "waves": "graph",
}


def __getattr__(name: str) -> object:
    """Import a name when it is first asked for: scopes and graphs are wanted without pydantic's cold start."""
    if name not in _MODULES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
