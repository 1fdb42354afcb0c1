"""The mailbox on etcd: eight senders, eight receivers that are killed at random."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.campaign import Campaign, Outcome
from tests.faults.campaigns._etcd import one_server
from tests.faults.campaigns.mail_kills import CAMPAIGN as ON_THIS_HOST
from tests.faults.campaigns.mail_kills import trial

if TYPE_CHECKING:
    from collections.abc import Iterator


def run(trials: int, seed: int) -> Iterator[Outcome]:
    """Send so many messages."""
    with one_server() as server, tempfile.TemporaryDirectory() as folder:
        yield trial(f"etcd://{server.endpoint}/mail", Path(folder), trials, random.Random(seed))


CAMPAIGN = Campaign("etcd-mail-kills", ON_THIS_HOST.promise, run, full=10_000, part=0, group="etcd", needs=("etcd",))
