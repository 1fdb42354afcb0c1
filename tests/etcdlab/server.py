"""Server: one etcd process of our own, started, stopped and killed by its process id."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import time
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

from tests.etcdlab.gateway import Gateway
from tests.etcdlab.ports import free_ports

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from tests.etcdlab.certificates import Certificate

__all__ = ["Options", "Server", "ServerError"]

PATIENCE: Final = 30.0
"""Seconds within which a server answers on a loaded machine."""
BETWEEN: Final = 0.02
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class ServerError(Exception):
    """The server does not run; the end of its log is in the text."""


@dataclass(frozen=True)
class Options:
    """How a server runs.

    Args:
        heartbeat: Milliseconds between a leader's heartbeats.
        election: Milliseconds without them after which another stands for election.
        quota: Bytes that its database may take.
        certificate: What it shows; with one, it speaks TLS only.
        client_ca: Whose certificates clients must show.
        token_ttl: Seconds that a login's token lives.
        extra: More arguments.
    """

    heartbeat: int = 50
    election: int = 500
    quota: int | None = None
    certificate: Certificate | None = None
    client_ca: Path | None = None
    token_ttl: int | None = None
    extra: tuple[str, ...] = ()

    def arguments(self) -> list[str]:
        """Return them as etcd reads them."""
        words = ["--heartbeat-interval", str(self.heartbeat), "--election-timeout", str(self.election)]
        if self.quota is not None:
            words += ["--quota-backend-bytes", str(self.quota)]
        if self.certificate is not None:
            words += ["--cert-file", str(self.certificate.path), "--key-file", str(self.certificate.key)]
        if self.client_ca is not None:
            words += ["--client-cert-auth", "--trusted-ca-file", str(self.client_ca)]
        if self.token_ttl is not None:
            words += ["--auth-token-ttl", str(self.token_ttl)]
        return [*words, *self.extra]


@dataclass(eq=False)
class Server:
    """One etcd process; as a context manager it is started, waited for, and ended.

    Args:
        program: The etcd to run.
        folder: Where its data and its log lie.
        options: How it runs.
        name: Among the members of its cluster.
        host: The address on which it listens.
        members: ``NAME=URL`` of every member's peer URL; empty: it is alone.
        peer_port: The port for its peers.
        prefix: A command to start it with, as ``ip netns exec NAME``.
    """

    program: str
    folder: Path
    options: Options = field(default_factory=Options)
    name: str = "n0"
    host: str = "127.0.0.1"
    members: tuple[str, ...] = ()
    peer_port: int = 0
    prefix: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.data = self.folder / self.name
        self.log = self.folder / f"{self.name}.log"
        self.port, self.metrics_port, *more = free_ports(2 if self.peer_port else 3)
        self.peer_port = self.peer_port or more[0]

    def __enter__(self) -> Self:
        """Start it and wait until it answers."""
        try:
            self.start()
            self.ready()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        self.end()

    # --- where it is ------------------------------------------------------------------------------------

    @property
    def endpoint(self) -> str:
        """Its client endpoint, ``HOST:PORT``."""
        return f"{self.host}:{self.port}"

    @property
    def scheme(self) -> str:
        """What clients speak to it."""
        return "https" if self.options.certificate else "http"

    def store_url(self, prefix: str) -> str:
        """Return the URL of a store on it, in plain text."""
        return f"etcd://{self.endpoint}/{prefix}{'' if self.host.startswith('127.') else '?insecure=1'}"

    @property
    def peer_url(self) -> str:
        """Where its peers find it."""
        return f"http://{self.host}:{self.peer_port}"

    def gateway(self, certificate: Certificate | None = None, patience: float = 10.0) -> Gateway:
        """Return raw access to it; with TLS by what the certificate trusts and shows."""
        shown = certificate or self.options.certificate
        return Gateway(f"{self.scheme}://{self.endpoint}", shown.context() if shown else None, patience)

    # --- its life ---------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the process, on the data that are there; return at once.

        It dies with the thread that started it, which is the main thread, so that a killed test run leaves none.
        """
        assert threading.current_thread() is threading.main_thread(), "a server dies with the thread that started it"
        assert self.process is None, f"{self.name} runs already"
        tied = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*tied, *self.prefix, *self._command()], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def _command(self) -> list[str]:
        client = f"{self.scheme}://{self.endpoint}"
        words = [self.program, "--name", self.name, "--data-dir", str(self.data)]
        words += ["--listen-client-urls", client, "--advertise-client-urls", client]
        words += ["--listen-peer-urls", self.peer_url, "--initial-advertise-peer-urls", self.peer_url]
        words += ["--initial-cluster", ",".join(self.members) or f"{self.name}={self.peer_url}"]
        words += ["--listen-metrics-urls", f"http://{self.host}:{self.metrics_port}"]
        return [*words, "--logger", "zap", "--log-outputs", "stderr", *self.options.arguments()]

    def healthy(self) -> bool:
        """Return whether it answers and has a leader."""
        try:
            with _direct.open(f"http://{self.host}:{self.metrics_port}/health", timeout=1) as answer:
                return str(json.loads(answer.read())["health"]) == "true"
        except (OSError, ValueError, KeyError):
            return False

    def ready(self, patience: float = PATIENCE) -> None:
        """Wait until it answers; raise ServerError when it does not, or has ended."""
        until = time.monotonic() + patience
        while not self.healthy():
            if self.process is None or self.process.poll() is not None or time.monotonic() > until:
                raise ServerError(f"{self.name} is not ready:\n{self.last_words()}")
            time.sleep(BETWEEN)

    def last_words(self) -> str:
        """Return the end of its log."""
        return self.log.read_text(errors="replace")[-3000:] if self.log.exists() else "(no log)"

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self.process is not None, f"{self.name} does not run"
        return self.process.pid

    def kill(self) -> None:
        """Kill -9, and wait for its end."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self) -> None:
        """SIGSTOP: it is there, and does nothing, once this returns."""
        assert self.process is not None, f"{self.name} does not run"
        self.process.send_signal(signal.SIGSTOP)
        # Its threads on other processors go on for a moment: long enough to answer a question.
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def cont(self) -> None:
        """SIGCONT: it goes on."""
        assert self.process is not None, f"{self.name} does not run"
        self.process.send_signal(signal.SIGCONT)

    def restart(self) -> None:
        """Kill it if it runs, and start it on its data; `ready` waits for it."""
        self.kill()
        self.start()

    def wipe(self) -> None:
        """Kill it and lose its data: what starts next is another cluster at the same address."""
        self.kill()
        shutil.rmtree(self.data)

    def end(self) -> None:
        """Kill it and remove its data; the log stays."""
        self.kill()
        shutil.rmtree(self.data, ignore_errors=True)
