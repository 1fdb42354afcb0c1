"""The one way to run git: hardened, never blocking the loop, ended with its caller.

Two levels of trust exist: our own repositories read no configuration but the one we
wrote, the user's repository is read with the user's configuration, as the user's own git would. In both, hooks,
file system monitors, replacement objects and background maintenance are off. Nothing reaches out of this machine,
but for commands that are said to: they have the user's ways to log in, never ask, and verify what they receive.
"""

from __future__ import annotations

import os
import re
import signal
from typing import TYPE_CHECKING, Final

from coordstore_orchestrator.git.errors import GitError, GitMissing
from coordstore_orchestrator.git.job import MINIMUM, Command, GitResult, Job, on_thread, to_end

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["MINIMUM", "GitResult", "git", "pipe", "require_git", "text_of", "to_end"]

PRIVATE: Final = 0o077
"""The umask under which git creates what is ours alone."""
STDERR_TAIL: Final = 2000
SHOWN_ARGUMENTS: Final = 3

_PASSED: Final = ("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "TZ")
_PASSED_FOR_USER: Final = (
    "XDG_CONFIG_HOME",
    "EMAIL",
    "SUDO_UID",
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_SYSTEM",
    "GIT_CONFIG_NOSYSTEM",
    "GIT_AUTHOR_NAME",
    "GIT_AUTHOR_EMAIL",
    "GIT_COMMITTER_NAME",
    "GIT_COMMITTER_EMAIL",
)
_ALWAYS: Final = (
    ("core.hooksPath", os.devnull),
    ("core.fsmonitor", "false"),
    ("core.commitGraph", "false"),
    ("core.multiPackIndex", "false"),
    ("core.pager", "cat"),
    ("core.sshCommand", "false"),
    ("core.askPass", "false"),
    ("credential.helper", ""),
    ("protocol.allow", "never"),
    ("protocol.ext.allow", "never"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("commit.gpgSign", "false"),
    ("tag.gpgSign", "false"),
    ("safe.bareRepository", "all"),
    ("submodule.recurse", "false"),
)
_REACHING_OUT: Final = frozenset({"core.sshCommand", "core.askPass", "credential.helper", "protocol.allow"})
"""What is left as the user has it for commands that go to another host."""
_VERIFIED: Final = (("fetch.fsckObjects", "true"), ("fetch.recurseSubmodules", "false"), ("fetch.unpackLimit", "1"))
_PASSED_TO_NETWORK: Final = re.compile(
    r"SSH_AUTH_SOCK|SSH_ASKPASS|GIT_SSH|GIT_SSH_COMMAND|GIT_SSL_\w+|GIT_HTTP_\w+|\w+_proxy|\w+_PROXY|SSL_CERT_\w+"
)
_OWN: Final = (("core.attributesFile", os.devnull), ("core.splitIndex", "false"), ("core.untrackedCache", "false"))


async def git(
    args: Sequence[str | os.PathLike[str]],
    *,
    git_dir: str | Path | None = None,
    cwd: str | Path | None = None,
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
    check: bool = True,
    trust_user: bool = False,
    network: bool = False,
    umask: int = PRIVATE,
) -> GitResult:
    """Run git once and return what it said.

    Args:
        args: The arguments after `git`; names from outside belong behind `--end-of-options` or `--`.
        git_dir: The repository, when it is not to be searched from `cwd`.
        cwd: Where to run; default: the current folder.
        stdin: What it reads; None: nothing.
        env: Variables on top of the hardened environment.
        check: Whether an exit status other than 0 is an error.
        trust_user: Whether the user's and the system's configuration count, for reading the user's repository.
        network: Whether it may go to other hosts, with the user's ways to log in; the user's configuration counts.
        umask: What new files are created under.

    Returns:
        Output, error output and exit status.

    Raises:
        GitError: It failed, and `check` is on.
        GitMissing: There is no git.

    A cancelled call has killed its process and waited for it; what that process had finished stays.
    """
    environment = _environment(env, git_dir, trust_user=trust_user or network, network=network)
    job = Job([Command(_argv(args), environment, umask)], cwd, stdin)
    result = (await on_thread(job))[-1]
    if check and result.returncode:
        raise failure(job.commands[-1].argv, result)
    return result


async def pipe(
    first: Sequence[str],
    second: Sequence[str],
    *,
    first_dir: str | Path,
    second_dir: str | Path,
    stdin: bytes,
    second_umask: int = PRIVATE,
) -> GitResult:
    """Run two git processes, the output of the first being the input of the second.

    Args:
        first: Arguments of the one that reads `stdin`.
        second: Arguments of the one whose result is returned.
        first_dir: The git directory of the first.
        second_dir: The git directory of the second.
        stdin: What the first reads.
        second_umask: What the second creates new files under.

    Returns:
        What the second said.

    Raises:
        GitError: One of them failed; the first one's failure is told first, being the cause, unless it only died of
            writing to a second one that had gone.

    A cancelled call has killed both and waited for them.
    """
    commands = [
        Command(_argv(args), _environment(None, path, trust_user=False), umask)
        for args, path, umask in ((first, first_dir, PRIVATE), (second, second_dir, second_umask))
    ]
    results = await on_thread(Job(commands, None, stdin))
    failed = [(command.argv, result) for command, result in zip(commands, results, strict=True) if result.returncode]
    if failed and failed[0][1].returncode == -signal.SIGPIPE:
        failed.reverse()
    if failed:
        raise failure(*failed[0])
    return results[-1]


async def require_git(minimum: tuple[int, int] = MINIMUM) -> tuple[int, int]:
    """Return git's version, asked once per interpreter.

    Args:
        minimum: The version that must be there.

    Raises:
        GitMissing: It is not there, or older.
    """
    version = _KNOWN.get(os.environ.get("PATH", "")) or await _ask_version()
    if version < minimum:
        wanted, found = (".".join(map(str, v)) for v in (minimum, version))
        message = f"git {found} is too old: at least {wanted} is needed to merge without a checkout; please upgrade git"
        raise GitMissing(message)
    return version


_KNOWN: Final[dict[str, tuple[int, int]]] = {}


async def _ask_version() -> tuple[int, int]:
    said = (await git(["version"])).stdout.decode(errors="replace")
    match = re.match(r"git version (\d+)\.(\d+)", said)
    if match is None:
        message = f"`git version` said {said.strip()!r}, which is no version; is another program named git on PATH?"
        raise GitMissing(message)
    version = (int(match[1]), int(match[2]))
    _KNOWN[os.environ.get("PATH", "")] = version
    return version


def text_of(data: bytes) -> str:
    """Return git's output as text that can become the same bytes again (paths need not be UTF-8).

    Args:
        data: Output of git.
    """
    return os.fsdecode(data)


def failure(argv: Sequence[str], result: GitResult) -> GitError:
    """Return the error that tells of a failed command.

    Args:
        argv: The command.
        result: What it left.
    """
    tail = result.stderr.decode(errors="replace").strip()[-STDERR_TAIL:]
    telling = [line for line in tail.splitlines() if line.startswith(("fatal:", "error:"))]
    said = "; ".join(telling) or tail or "git gave no reason"
    status = f"signal {-result.returncode}" if result.returncode < 0 else f"exit status {result.returncode}"
    command = " ".join(argv[:3]) + (" …" if len(argv) > SHOWN_ARGUMENTS else "")
    message = f"`{command}` failed with {status}: {said}{_advice(tail)}"
    return GitError(message, argv=argv, returncode=result.returncode, stderr=tail)


_ADVICE: Final = (
    (".lock': File exists", "; if no git runs there any more, remove that lock file by hand and start again"),
    ("No space left on device", "; free some space and start again"),
    ("promisor", "; this is a partial clone: fetch the missing objects into it first (`git fetch --refetch`)"),
    ("unable to read sha1 file", "; an object is missing: check the repository with `git fsck`"),
)


def _advice(stderr: str) -> str:
    return next((advice for sign, advice in _ADVICE if sign in stderr), "")


def _argv(args: Sequence[str | os.PathLike[str]]) -> list[str]:
    return ["git", *(os.fspath(arg) for arg in args)]


def _environment(
    extra: Mapping[str, str] | None, git_dir: str | Path | None, *, trust_user: bool, network: bool = False
) -> dict[str, str]:
    """Return an environment in which git sees what we chose, whatever it was started with."""
    names = _PASSED + _PASSED_FOR_USER if trust_user else _PASSED
    found = {name: os.environ[name] for name in names if name in os.environ}
    found |= {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_NO_REPLACE_OBJECTS": "1", "GIT_OPTIONAL_LOCKS": "0"}
    found |= {"GIT_PAGER": "cat", "GIT_EDITOR": "false", "GIT_ATTR_NOSYSTEM": "1"}
    if not trust_user:
        found |= {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
    settings: tuple[tuple[str, str], ...] = _ALWAYS if trust_user else _ALWAYS + _OWN
    if network:
        found |= {name: value for name, value in os.environ.items() if _PASSED_TO_NETWORK.fullmatch(name)}
        settings = (*(pair for pair in _ALWAYS if pair[0] not in _REACHING_OUT), *_VERIFIED)
    found["GIT_CONFIG_COUNT"] = str(len(settings))
    for number, (key, value) in enumerate(settings):
        found[f"GIT_CONFIG_KEY_{number}"] = key
        found[f"GIT_CONFIG_VALUE_{number}"] = value
    if git_dir is not None:
        found["GIT_DIR"] = os.fspath(git_dir)
    return found | dict(extra or {})
