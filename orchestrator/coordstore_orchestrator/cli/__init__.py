"""The orchestrator's commands of `coord`."""
