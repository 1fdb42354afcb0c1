"""What `coord doctor` looks at for running agents: which are there and proven, and how many may run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from coordstore.checkup import Finding
from coordstore_orchestrator.agents.config import load_configuration
from coordstore_orchestrator.agents.proof import Proofs, needs_proof, program
from coordstore_orchestrator.cli.plan import top_level

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coordstore_orchestrator.agents import Profile

__all__ = ["agents", "limits"]


def agents() -> Iterator[Finding]:
    """Look for agents: installed, and proven for orchestrated runs; blocks."""
    proofs, there, missing = Proofs(os.environ), 0, []
    for profile in load_configuration(top_level()).profiles.values():
        if program(profile, os.environ) is None:
            missing.append(profile.name)
        elif needs_proof(profile):
            there += 1
            yield _agent(profile, proofs)
    absent = f"; not installed: {', '.join(missing)}" if missing else ""
    yield Finding.ok("agents", f"{there} that run a model are installed{absent}")


def _agent(profile: Profile, proofs: Proofs) -> Finding:
    proof = proofs.find(profile)
    if proof is not None and proof.ok:
        return Finding.ok("agents", f"{profile.name} is installed and proven (version {proof.version})")
    what = "has not shown what it can do" if proof is None else f"failed its probe: {proof.reason}"
    return Finding.warning("agents", f"{profile.name} is installed and {what}", f"coord profiles probe {profile.name}")


def limits() -> Iterator[Finding]:
    """Look at how many agents may run at a time; blocks."""
    text = os.environ.get("COORD_WORKER_LIMIT")
    if text is None:
        yield Finding.ok("worker limit", "8 agents at a time, unless --slots or COORD_WORKER_LIMIT says otherwise")
    elif text.isdecimal() and int(text) > 0:
        yield Finding.ok("worker limit", f"COORD_WORKER_LIMIT: {int(text)} agents at a time on the store")
    else:
        yield Finding.problem(
            "worker limit", f"COORD_WORKER_LIMIT={text!r} is no number from 1", "correct it, or unset it"
        )
