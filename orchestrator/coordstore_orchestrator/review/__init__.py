"""Changes and their reviews: who decides on completed work, and where that is shown."""

from coordstore_orchestrator.review.model import Decision, Forge, Reviewer, Work

__all__ = ["Decision", "Forge", "Reviewer", "Work"]
