"""Agents: any command is one, and a profile says how to run it."""

from coordstore_orchestrator.agents.profile import Profile, environment
from coordstore_orchestrator.agents.prompt import compose_prompt, write_prompt
from coordstore_orchestrator.agents.registry import UnknownProfile, chain, known_profiles, plain_profile, resolve_agent

__all__ = [
    "Profile",
    "UnknownProfile",
    "chain",
    "compose_prompt",
    "environment",
    "known_profiles",
    "plain_profile",
    "resolve_agent",
    "write_prompt",
]
