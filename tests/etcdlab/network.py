"""Network: namespaces joined by a switch, where packets from one to another can be dropped; needs root on Linux.

Everything lies in namespaces whose names begin with the process's own prefix, but for one interface by which this
process takes part under the name ``host``. Removing the namespaces removes all of it, also after a failure; what a
killed process left is removed by the next one.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

__all__ = ["HOST", "Network", "Node"]

HOST: Final = "host"
"""The name of this process's own namespace in the network."""
MARK: Final = "coordlab"


def run(*words: str) -> None:
    """Run a command; what it said is in the error."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        message = f"{' '.join(words)}: {done.stderr.strip()}"
        raise OSError(message)


@dataclass(frozen=True)
class Node:
    """One end of the network.

    Args:
        name: What it is called here.
        namespace: The name of its namespace; empty for this process's own.
        address: Its IPv4 address.
    """

    name: str
    namespace: str
    address: str

    @property
    def prefix(self) -> tuple[str, ...]:
        """The command that starts another one inside it."""
        return ("ip", "netns", "exec", self.namespace) if self.namespace else ()


class Network:
    """A switch with so many nodes on it, and this process.

    Args:
        names: What the nodes are called.
    """

    def __init__(self, names: Sequence[str]) -> None:
        number = os.getpid()
        self._prefix = f"{MARK}-{number}"
        self._switch = f"{self._prefix}-switch"
        self._interface = f"cl{number}"
        # Shared address space: no route of a machine's own leads there.
        self._net = f"100.{64 + number // 256 % 64}.{number % 256}"
        nodes = [Node(name, f"{self._prefix}-{name}", f"{self._net}.{at}") for at, name in enumerate(names, 1)]
        self.nodes = {node.name: node for node in (*nodes, Node(HOST, "", f"{self._net}.254"))}

    def __enter__(self) -> Self:
        """Build it."""
        remove_leftovers()
        try:
            self._build()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove it."""
        self.remove()

    def __getitem__(self, name: str) -> Node:
        """Return the node of that name."""
        return self.nodes[name]

    def _build(self) -> None:
        run("ip", "netns", "add", self._switch)
        run("ip", "-n", self._switch, "link", "add", "br0", "type", "bridge")
        run("ip", "-n", self._switch, "link", "set", "br0", "up")
        for at, node in enumerate(self.nodes.values()):
            if node.namespace:
                run("ip", "netns", "add", node.namespace)
                run("ip", "-n", node.namespace, "link", "set", "lo", "up")
            self._plug_in(node, f"p{at}")

    def _plug_in(self, node: Node, port: str) -> None:
        inside, near = ("eth0", ("-n", node.namespace)) if node.namespace else (self._interface, ())
        there = ("netns", node.namespace) if node.namespace else ("netns", str(os.getpid()))
        link = ("link", "add", port, "type", "veth", "peer", "name", inside, *there)
        run("ip", "-n", self._switch, *link)
        run("ip", "-n", self._switch, "link", "set", port, "master", "br0", "up")
        run("ip", *near, "addr", "add", f"{node.address}/24", "dev", inside)
        run("ip", *near, "link", "set", inside, "up")

    def remove(self) -> None:
        """Remove every namespace of it, and with them all interfaces."""
        for name in [*(node.namespace for node in self.nodes.values() if node.namespace), self._switch]:
            with contextlib.suppress(OSError):
                run("ip", "netns", "del", name)
        with contextlib.suppress(OSError):
            run("ip", "link", "del", self._interface)

    # --- faults -----------------------------------------------------------------------------------------

    def drop(self, source: str, target: str) -> None:
        """Lose every packet from one node to another; the other way stays open."""
        here, there = self.nodes[source], self.nodes[target]
        if here.namespace:
            self._rule(here, "OUTPUT", "-d", there.address)
        else:
            self._rule(there, "INPUT", "-s", here.address)

    def part(self, one: str, *others: str) -> None:
        """Lose every packet between one node and others, both ways."""
        for other in others:
            self.drop(one, other)
            self.drop(other, one)

    def unplug(self, name: str) -> None:
        """Take a node's link down."""
        run("ip", "-n", self.nodes[name].namespace, "link", "set", "eth0", "down")

    def heal(self) -> None:
        """End every fault."""
        for node in self.nodes.values():
            if node.namespace:
                run(*node.prefix, "iptables", "-F")
                run("ip", "-n", node.namespace, "link", "set", "eth0", "up")

    def _rule(self, node: Node, chain: str, *match: str) -> None:
        run(*node.prefix, "iptables", "-A", chain, *match, "-j", "DROP")


def remove_leftovers() -> None:
    """Remove the namespaces of processes that are no more."""
    for path in Path("/run/netns").glob(f"{MARK}-*"):
        found = re.match(rf"{MARK}-(\d+)-", path.name)
        if found and not Path(f"/proc/{found[1]}").exists():
            with contextlib.suppress(OSError):
                run("ip", "netns", "del", path.name)
