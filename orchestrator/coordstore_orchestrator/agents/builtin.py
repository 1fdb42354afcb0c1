"""The profiles that come with coord; they register by the same hook as a stranger's.

The options are those of headless runs of each program as of late 2026; where a prompt can go (stdin, file) is from
its documentation. Every agent sees the keys and addresses of its own providers, and no others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coordstore.hookspecs import hookimpl
from coordstore_orchestrator.agents.output import registry as outputs
from coordstore_orchestrator.agents.profile import Profile

if TYPE_CHECKING:
    from coordstore_orchestrator.agents.hookspecs import RegisterOutput, RegisterProfile

__all__ = ["BUILTIN", "register_outputs", "register_profiles"]

OPENAI: Final = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_API_BASE", "OPENAI_ORGANIZATION")
ANTHROPIC: Final = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL")
GEMINI: Final = ("GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_GEMINI_BASE_URL")
XDG: Final = ("XDG_*_HOME",)

THINKS: Final = {"stall": 300.0}
"""Of programs whose streams show nothing while the model thinks: for minutes nothing may come, and it is well."""

BUILTIN: Final = (
    Profile(
        name="claude",
        watch=THINKS,
        output="claude",
        summary="Claude Code",
        argv=(
            *("claude", "-p", "--input-format", "stream-json", "--output-format", "stream-json", "--verbose"),
            "--dangerously-skip-permissions",
            ("--model", "{model}"),
        ),
        env_allow=(*ANTHROPIC, "ANTHROPIC_*MODEL*", "CLAUDE_CODE_OAUTH_TOKEN", "CLAUDE_CONFIG_DIR", "IS_SANDBOX"),
        env_set={"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1"},
    ),
    Profile(
        name="codex",
        watch=THINKS,
        output="codex",
        summary="OpenAI Codex; its own sandbox is off, since inside it no worktree can be committed from",
        argv=(
            *("codex", "exec", "--json", "--dangerously-bypass-approvals-and-sandbox"),
            *("-c", "analytics.enabled=false", "-C", "{worktree}"),
            ("-m", "{model}"),
            "-",
        ),
        env_allow=(*OPENAI, "CODEX_HOME", "CODEX_API_KEY"),
    ),
    Profile(
        name="gemini",
        watch=THINKS,
        output="gemini",
        summary="Gemini CLI",
        argv=("gemini", "--output-format", "stream-json", "--yolo", ("-m", "{model}")),
        env_allow=(*GEMINI, "GOOGLE_CLOUD_*", "GOOGLE_GENAI_USE_*", "GOOGLE_APPLICATION_CREDENTIALS"),
        env_set={"GEMINI_CLI_TRUST_WORKSPACE": "true"},
    ),
    Profile(
        name="qwen",
        watch=THINKS,
        output="claude",
        summary="Qwen Code",
        argv=("qwen", "--output-format", "stream-json", "--yolo", ("-m", "{model}")),
        env_allow=(*OPENAI, "OPENAI_MODEL", "DASHSCOPE_API_KEY", "QWEN_*"),
    ),
    Profile(
        name="pi",
        output="pi",
        summary="pi",
        argv=("pi", "--mode", "json", "-p", ("--model", "{model}"), "{instruction}"),
        prompt="argument-file",
        env_allow=(*OPENAI, *ANTHROPIC, *GEMINI, "PI_*"),
        env_set={"PI_OFFLINE": "1"},
    ),
    Profile(
        name="opencode",
        watch=THINKS,
        output="opencode",
        summary="OpenCode",
        argv=("opencode", "run", "--format", "json", "--auto", ("-m", "{model}"), "{instruction}"),
        prompt="argument-file",
        env_allow=(*OPENAI, *ANTHROPIC, *GEMINI, *XDG, "OPENCODE_CONFIG", "OPENCODE_CONFIG_*"),
        env_set={
            "OPENCODE_DISABLE_AUTOUPDATE": "1",
            "OPENCODE_DISABLE_MODELS_FETCH": "1",
            "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
        },
    ),
    Profile(
        name="mini",
        watch=THINKS,
        output="mini",
        summary="mini-swe-agent",
        argv=(
            *("mini", "-y", "--exit-immediately", "-c", "mini.yaml", "-o", "{trace_file}"),
            ("-m", "{model}"),
            *("-t", "{instruction}"),
        ),
        prompt="argument-file",
        env_allow=(*OPENAI, *ANTHROPIC, *GEMINI, "MSWEA_*", "LITELLM_*"),
        env_set={
            "MSWEA_CONFIGURED": "true",
            "MSWEA_SILENT_STARTUP": "1",
            "MSWEA_COST_TRACKING": "ignore_errors",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        },
        version=(),
    ),
    Profile(
        name="aider",
        watch=THINKS,
        summary="aider",
        argv=(
            *("aider", "--yes-always", "--no-check-update", "--analytics-disable", "--no-show-model-warnings"),
            *("--no-stream", "--no-pretty", "--no-gitignore"),
            ("--model", "{model}"),
            *("--message-file", "{prompt_file}"),
        ),
        prompt="file",
        env_allow=(*OPENAI, *ANTHROPIC, *GEMINI, "AIDER_*"),
        litter=(".aider*",),
    ),
)


@hookimpl
def register_profiles(register: RegisterProfile) -> None:
    """Register the profiles that come with coord."""
    for profile in BUILTIN:
        register(profile)


@hookimpl
def register_outputs(register: RegisterOutput) -> None:
    """Register the output formats that come with coord."""
    for name, reader in outputs.BUILTIN.items():
        register(name, reader)
