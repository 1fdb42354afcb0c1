"""Who decides on a change: a person, the plan's validation, or an agent that looks at it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from coordstore.session.changes import ChangeState
from coordstore_orchestrator.agents import environment
from coordstore_orchestrator.agents.prompt import stdin_file
from coordstore_orchestrator.review.model import Decision
from coordstore_orchestrator.worker.process import Capture, secret_values

if TYPE_CHECKING:
    from pathlib import Path

    from coordstore_orchestrator.agents import Profile
    from coordstore_orchestrator.review.model import Tools, Work

__all__ = ["VERDICT", "AgentReviewer", "Person", "Validation", "parse_verdict"]

VERDICT: Final = "coord-review.txt"
"""The file into which a reviewing agent writes what it decides."""
SECONDS: Final = 1800.0
"""How long a review by an agent may take."""
VERDICT_MAX: Final = 20_000
_WORDS: Final = {
    "approve": ChangeState.APPROVED,
    "request changes": ChangeState.CHANGES_REQUESTED,
    "reject": ChangeState.REJECTED,
}
_PROMPT: Final = """\
Review one change. The current folder holds the tree as it would be with the change in it.
See the change with: git diff {base} {merged}

What its author was asked to do:

{prompt}

Do not change any file. When you are done, write the file {verdict}. Its first line is one of: approve, request changes,
reject. The lines after it say why; when you request changes, the author reads them and nothing else.
"""


class Person:
    """Somebody decides, in their own time."""

    def __init__(self, tools: Tools) -> None:
        del tools

    async def review(self, work: Work) -> Decision | None:
        """Leave it to people."""
        del work
        return None


class Validation:
    """Approves what merges and passes the plan's validation, and sends back what does not."""

    def __init__(self, tools: Tools) -> None:
        self._validate = tools.validate
        self._commands = tools.commands

    async def review(self, work: Work) -> Decision | None:
        """Validate the tree that would land."""
        if work.merged is None:
            return Decision(ChangeState.APPROVED, "validation", "it conflicts: the merge decides what becomes of it")
        if not self._commands:
            return Decision(ChangeState.APPROVED, "validation", "the plan has no validation")
        failed = await self._validate(work.merged)
        if failed is None:
            return Decision(ChangeState.APPROVED, "validation", "the validation passes")
        return Decision(ChangeState.CHANGES_REQUESTED, "validation", f"the validation fails: {failed.text}")


class AgentReviewer:
    """Lets an agent look at the tree that would land, in a folder that is thrown away.

    Args:
        tools: What it works with.
        name: What it is called in the record.
        profile: How it is run.
    """

    def __init__(self, tools: Tools, name: str, profile: Profile) -> None:
        self._tools = tools
        self._name = name
        self._profile = profile

    async def review(self, work: Work) -> Decision | None:
        """Run it, and read what it wrote; one that writes nothing to be understood leaves the decision to people."""
        if work.merged is None:
            return Decision(ChangeState.APPROVED, self._name, "it conflicts: the merge decides what becomes of it")
        async with work.tree(work.merged) as tree:
            try:
                async with asyncio.timeout(SECONDS):
                    await self._run(work, tree)
            except TimeoutError:
                return None
            text = await asyncio.to_thread(_content, tree / VERDICT)
        return parse_verdict(text, self._name)

    async def _run(self, work: Work, tree: Path) -> None:
        folder = self._tools.logs / work.change.agent
        prompt = await asyncio.to_thread(_write_prompt, folder, work)
        env = environment(self._profile, self._tools.environ, {"COORD_PROMPT_FILE": str(prompt)})
        process = await self._tools.guardian.spawn(
            self._profile.command(prompt_file=prompt, worktree=tree),
            cwd=tree,
            env=env,
            stdin=await asyncio.to_thread(stdin_file, self._profile, prompt),
            capture=Capture(folder, name="review", secrets=secret_values(env)),
            label="review",
        )
        try:
            await process.wait()
        except BaseException:
            await process.kill()
            raise


def parse_verdict(text: str, by: str) -> Decision | None:
    """Return what a reviewer wrote, or None when that cannot be understood.

    Args:
        text: The decision on the first line, the reasons below.
        by: Who wrote it.
    """
    first, _, rest = text.strip().partition("\n")
    state = _WORDS.get(" ".join(first.lower().replace("-", " ").strip(" .:!").split()))
    comment = rest.strip()
    if state is None or (state is ChangeState.CHANGES_REQUESTED and not comment):
        return None
    return Decision(state, by, comment)


def _write_prompt(folder: Path, work: Work) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / "review.md"
    path.touch(mode=0o600)
    text = _PROMPT.format(base=work.base, merged=work.merged, prompt=work.prompt, verdict=VERDICT)
    path.write_text(text, encoding="utf-8", errors="backslashreplace")
    return path


def _content(path: Path) -> str:
    """Return what the agent wrote; a link, or what is no file, counts as nothing."""
    if path.is_symlink() or not path.is_file():
        return ""
    with path.open("rb") as file:
        return file.read(VERDICT_MAX).decode("utf-8", "replace")
