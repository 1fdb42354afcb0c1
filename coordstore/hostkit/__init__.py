"""What stores on one host share: locks, boot identity, leases, group commit, change notification."""

from coordstore.hostkit.batches import Batches, Outcome, Writing
from coordstore.hostkit.boot import boot_id
from coordstore.hostkit.leases import LeaseFile, LeaseSlot
from coordstore.hostkit.lockfile import StoreLock
from coordstore.hostkit.notify import Notifier
from coordstore.hostkit.turns import Work, in_turn

__all__ = [
    "Batches",
    "LeaseFile",
    "LeaseSlot",
    "Notifier",
    "Outcome",
    "StoreLock",
    "Work",
    "Writing",
    "boot_id",
    "in_turn",
]
