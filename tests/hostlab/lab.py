"""A laboratory of several hosts: each a network, host name and process tree of its own, with a member of etcd on it.

The hosts share a cluster of etcd and a git repository that a daemon serves, and nothing else: `coord` on one knows
nothing of a process on another but what the store says. Needs root on Linux.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sysconfig
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from tests.etcdlab.cluster import Cluster
from tests.etcdlab.finding import program
from tests.etcdlab.gateway import GatewayError
from tests.etcdlab.network import HOST, Network
from tests.etcdlab.ports import free_ports
from tests.etcdlab.server import Options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

__all__ = ["HOSTS", "Lab", "Process", "eventually"]

HOSTS: Final = ("h1", "h2", "h3")
COORD: Final = str(Path(sysconfig.get_path("scripts")) / "coord")
PATIENCE: Final = 120.0
BETWEEN: Final = 0.2


def eventually(what: Callable[[], Any], why: str, patience: float = PATIENCE) -> Any:
    """Return what a call gives once it is true."""
    until = time.monotonic() + patience
    while time.monotonic() < until:
        if found := what():
            return found
        time.sleep(BETWEEN)
    message = f"waited {patience:g} s in vain: {why}"
    raise AssertionError(message)


class Process:
    """`coord` on one of the hosts.

    Args:
        argv: What is run.
        log: What it says.
        env: Its environment.
        cwd: Its folder.
    """

    def __init__(self, argv: Sequence[str], log: Path, env: dict[str, str], cwd: Path) -> None:
        self.log = log
        with log.open("ab") as out:
            self.outer = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env, cwd=cwd)

    @property
    def pid(self) -> int:
        """The process itself: the first in a process tree of its own."""
        children = Path(f"/proc/{self.outer.pid}/task/{self.outer.pid}/children")
        return int(eventually(lambda: children.read_text().split(), "the process has not started")[0])

    def said(self) -> str:
        """Return what it has said."""
        return self.log.read_text(errors="replace")

    def send(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it with all below it, as the end of its host does."""
        if self.outer.poll() is None:
            self.outer.kill()  # what it holds together dies with it
        self.outer.wait()

    def ended(self, patience: float = PATIENCE) -> int:
        """Wait for its end and return its exit status."""
        return self.outer.wait(timeout=patience)


class Lab:
    """Three hosts with etcd, and a repository that all of them reach; a context manager.

    Args:
        fill: Called with a folder, to put files there for the first commit.
    """

    def __init__(self, fill: Callable[[Path], None]) -> None:
        self._fill = fill
        self._stack = ExitStack()
        self._processes: list[Process] = []
        self.name = "s"
        self._env: dict[str, str] = {}
        self.network: Network
        self.cluster: Cluster
        self.folder: Path
        self.git_url: str

    def __enter__(self) -> Self:
        """Build it."""
        try:
            self._build()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Kill all that was started and remove it."""
        self._stack.close()

    def _build(self) -> None:
        etcd = program(to_be_killed=True)
        assert etcd is not None, "no etcd on PATH"
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="coordhosts-")))
        self.network = self._stack.enter_context(Network(HOSTS))
        nodes = [self.network[name] for name in HOSTS]
        options = Options(heartbeat=100, election=1000, token_ttl=1)
        self.cluster = self._stack.enter_context(Cluster(etcd, self.folder, 3, options, nodes))
        self._stack.callback(self._end_all)
        self._make_repository()
        self._serve_git()

    def _make_repository(self) -> None:
        origin = self.folder / "origin"
        origin.mkdir()
        self._fill(origin)
        run = self.git_in
        run(origin, "init", "-q", "-b", "main")
        run(origin, "add", "-A")
        run(origin, "commit", "-qm", "Begin")
        run(self.folder, "clone", "-q", "--bare", str(origin), "shared.git")
        for host in HOSTS:
            run(self.folder, "clone", "-q", "shared.git", f"{host}-clone")

    def _serve_git(self) -> None:
        (port,) = free_ports(1)
        address = self.network[HOST].address
        self.git_url = f"git://{address}:{port}/shared.git"
        where = (f"--listen={address}", f"--port={port}", f"--base-path={self.folder}")
        argv = ["git", "daemon", "--reuseaddr", "--export-all", "--enable=receive-pack", *where]
        daemon = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0)
        self._stack.callback(daemon.wait)
        self._stack.callback(os.killpg, daemon.pid, signal.SIGKILL)
        for host in HOSTS:
            self.git_in(self.clone(host), "remote", "set-url", "origin", self.git_url)

    def git_in(self, where: Path, *args: str) -> str:
        """Run git in a folder and return what it says."""
        who = ("-c", "user.name=Lab", "-c", "user.email=lab@example.invalid")
        done = subprocess.run(["git", *who, *args], cwd=where, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"git {args}: {done.stderr}"
        return done.stdout

    def git(self, *args: str) -> str:
        """Run git in the repository that all share."""
        return self.git_in(self.folder / "shared.git", *args)

    def clone(self, host: str) -> Path:
        """Return a host's own clone."""
        return self.folder / f"{host}-clone"

    @property
    def store(self) -> str:
        """The store's URL."""
        return f"etcd://{self.cluster.endpoints}/lab?insecure=1"

    # --- processes --------------------------------------------------------------------------------------

    def start(self, host: str, name: str, *args: str) -> Process:
        """Start `coord` on a host, under a name for its output."""
        apart = ("unshare", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc")
        named = ("sh", "-c", f'hostname {host} && exec "$@"', "sh")
        env = {**os.environ, "COORD_HOME": str(self.folder / f"{host}-{name}"), "COORD_STORE": self.store, **self._env}
        env |= {"GIT_CONFIG_GLOBAL": os.devnull, "EMAIL": "lab@example.invalid"}
        argv = [*self.network[host].prefix, *apart, *named, COORD, *args]
        found = Process(argv, self.folder / f"{self.name}-{host}-{name}.out", env, self.clone(host))
        self._processes.append(found)
        return found

    def worker(self, host: str, *args: str) -> Process:
        """Start a worker and wait until it is there."""
        found = self.start(host, "worker", "worker", *args)
        eventually(lambda: "worker with" in found.said(), f"the worker on {host} starts")
        return found

    def orchestrator(self, host: str, plan: Path, *args: str) -> Process:
        """Start an orchestrator without agents of its own."""
        return self.start(host, "run", "run", str(plan), "--session", self.name, "--slots", "0", *args)

    def begin(self, name: str) -> None:
        """Begin another session, with nothing left of the one before."""
        self._end_all()
        self._processes.clear()
        self.heal()
        self.cluster.restart()
        self.name = name

    def _end_all(self) -> None:
        for process in self._processes:
            process.kill()

    # --- what is seen -----------------------------------------------------------------------------------

    def session(self) -> dict[str, Any]:
        """Return the session as `coord inspect` tells of it; empty: not yet."""
        env = {**os.environ, "COORD_STORE": self.store, **self._env}
        done = subprocess.run(
            [COORD, "inspect", self.name, "--json"],
            env=env,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        found: list[dict[str, Any]] = json.loads(done.stdout)["sessions"] if done.returncode == 0 else []
        return found[0] if found else {}

    def tasks(self) -> dict[str, dict[str, Any]]:
        """Return the session's tasks by id."""
        return {task["id"]: task for task in self.session().get("tasks", [])}

    def running(self, host: str) -> list[str]:
        """Return the attempts that run on a host."""
        attempts = [attempt for task in self.tasks().values() for attempt in task["attempts"]]
        return [each["agent"] for each in attempts if each["state"] == "running" and each["host"] == host]

    def merges(self) -> list[str]:
        """Return which tasks are merged in the result, one entry a merge."""
        subjects = self.git("log", "--merges", "--format=%s", f"coord/{self.name}").splitlines()
        return sorted(subject.removeprefix("Merge ").partition(".")[0] for subject in subjects)

    @contextlib.contextmanager
    def logins(self) -> Iterator[None]:
        """Let nobody use etcd without a login, for a time."""
        gateway = self.cluster.servers[0].gateway()
        try:
            gateway.require_passwords("of-root")
        except GatewayError:  # the user is there from the time before
            gateway.call("auth/enable")
        self._env = {"COORD_ETCD_USER": "root", "COORD_ETCD_PASSWORD": "of-root"}
        try:
            yield
        finally:
            self._end_all()
            self._env = {}
            gateway.token = ""  # it has expired
            gateway.log_in("root", "of-root")
            gateway.call("auth/disable")

    # --- faults -----------------------------------------------------------------------------------------

    def cut(self, host: str) -> None:
        """Lose all that goes from or to a host."""
        self.network.part(host, *(other for other in (*HOSTS, HOST) if other != host))

    def heal(self) -> None:
        """End all cuts."""
        self.network.heal()

    def die(self, host: str, *processes: Process) -> None:
        """End a host: its processes and its member of etcd."""
        for process in processes:
            process.kill()
        with contextlib.suppress(AssertionError):
            self.cluster.servers[HOSTS.index(host)].kill()
