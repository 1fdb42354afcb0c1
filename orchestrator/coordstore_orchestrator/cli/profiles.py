"""`coord profiles`: which agents there are, and whether they have shown what they can do."""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING, Any

import click

from coordstore_orchestrator.agents import resolve_agent
from coordstore_orchestrator.agents.config import load_configuration
from coordstore_orchestrator.agents.proof import Proofs, needs_proof, program, version
from coordstore_orchestrator.cli.plan import top_level

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coordstore_orchestrator.agents import Profile

__all__ = ["profiles"]


@click.group()
def profiles() -> None:
    """Look at agent profiles, and let agents show that they can do the work."""


@profiles.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
def show_list(*, as_json: bool) -> None:
    """List the profiles of coord, of plugins and of this project, with what is known of each."""
    proofs = Proofs(os.environ)
    rows = [_row(profile, proofs) for profile in load_configuration(top_level()).profiles.values()]
    if as_json:
        print(json.dumps({"schema": 1, "profiles": rows}, ensure_ascii=False))
        return
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        print(f"{row['name']:<{width}}  {row['verdict']:<13}  {row['version'] or '-':<24}  {row['summary']}")


@profiles.command("probe")
@click.argument("names", nargs=-1, metavar="[PROFILE[:MODEL]…]")
def run_probes(names: Sequence[str]) -> int:
    """Let agents do a tiny task in a throw-away repository; by default all that are installed.

    The verdict is kept for the profile, its model and the version of its program. Exit status 1: one failed.
    """
    from coordstore_orchestrator.agents.probe import probe

    known = load_configuration(top_level()).profiles
    chosen = [resolve_agent(name, known) for name in names] or [
        profile for profile in known.values() if needs_proof(profile) and program(profile, os.environ)
    ]
    proofs, failed = Proofs(os.environ), 0
    for profile in chosen:
        if not needs_proof(profile):
            print(f"{profile.name}: needs no probe, it is a plain command")
            continue
        reason = asyncio.run(probe(profile, os.environ))
        proof = proofs.record(profile, ok=reason is None, reason=reason or "")
        failed += not proof.ok
        about = f"model {proof.model or 'its own choice'}, version {proof.version}"
        print(f"{profile.name}: {'proven' if proof.ok else f'failed: {reason}'} ({about})")
    if not chosen:
        print("no agent that runs a model is installed")
    return 1 if failed else 0


def _row(profile: Profile, proofs: Proofs) -> dict[str, Any]:
    installed = program(profile, os.environ) is not None
    proof = proofs.find(profile) if installed and needs_proof(profile) else None
    if not installed:
        verdict = "not installed"
    elif not needs_proof(profile):
        verdict = "plain"
    else:
        verdict = "unproven" if proof is None else "proven" if proof.ok else "failed"
    return {
        "name": profile.name,
        "summary": profile.summary,
        "model": profile.model,
        "models": list(profile.models),
        "version": version(profile, os.environ) if installed and needs_proof(profile) else None,
        "verdict": verdict,
        "reason": proof.reason if proof and not proof.ok else None,
        "probed": proof.at if proof else None,
    }
