"""The JSON schema of a plan, for editors and for planners that write one."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from coordstore_orchestrator.plan.model import Plan

__all__ = ["plan_schema"]


def plan_schema() -> dict[str, Any]:
    """Return the schema (draft 2020-12): what it accepts has the form of a plan, and can still fail the check."""
    schema = Plan.model_json_schema(by_alias=True)
    return {"$schema": GenerateJsonSchema.schema_dialect, **schema, "title": "Plan of coord"}
