"""What one orchestrator costs per task, for a thousand agents on a hundred hosts and for ten times as many, simulated."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any, Final

from benchmarks.table import Row
from coordstore.model import Append, Check, Put
from coordstore.session import SessionView, events
from coordstore.session.events import encode
from coordstore.testing import MemoryStore
from coordstore_orchestrator.monitor.decide import Assign, Integrate, decide, settled
from coordstore_orchestrator.plan import build_plan, check_plan

if TYPE_CHECKING:
    from coordstore.model import Committed, Transaction

__all__ = ["measure"]

AGENTS: Final = 1_000
TIMES: Final = 10
GOAL: Final = 2.0
"""How much dearer a task may be among ten times as many."""
