"""The frozen values that go in and out of a store; nothing here does I/O or knows the time."""

from coordstore.model.transaction import Transaction, lease_id
from coordstore.model.values import (
    Append,
    Batch,
    Change,
    Check,
    Committed,
    Delete,
    Entry,
    HasId,
    LeaseInfo,
    Listing,
    Put,
    Record,
    Resolution,
    StoreInfo,
)

__all__ = [
    "Append",
    "Batch",
    "Change",
    "Check",
    "Committed",
    "Delete",
    "Entry",
    "HasId",
    "LeaseInfo",
    "Listing",
    "Put",
    "Record",
    "Resolution",
    "StoreInfo",
    "Transaction",
    "lease_id",
]
