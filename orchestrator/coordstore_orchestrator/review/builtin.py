"""The reviewers and forges that come with coord, by the strangers' road."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coordstore.hookspecs import hookimpl

if TYPE_CHECKING:
    from coordstore_orchestrator.review.hookspecs import RegisterReview

__all__ = ["register_forges", "register_reviewers"]

_HERE = "coordstore_orchestrator.review"


@hookimpl
def register_reviewers(register: RegisterReview) -> None:
    """Register a person and the validation."""
    register("person", f"{_HERE}.reviewers:Person", summary="somebody decides, with `coord changes` or on the forge")
    register("validation", f"{_HERE}.reviewers:Validation", summary="approves what passes the plan's validation")


@hookimpl
def register_forges(register: RegisterReview) -> None:
    """Register the record in the store, GitHub and GitLab."""
    register("local", f"{_HERE}.local:Local", summary="the record in the store, for `coord changes`")
    register("github", f"{_HERE}.github:GitHub", summary="a pull request for each change")
    register("gitlab", f"{_HERE}.gitlab:GitLab", summary="a merge request for each change")
