"""Agents' processes: started, captured, and ended with all that they started."""

from coordstore_orchestrator.worker.process.agent import AgentProcess
from coordstore_orchestrator.worker.process.capture import Capture, CaptureStatistics
from coordstore_orchestrator.worker.process.client import Guardian, GuardianStatistics
from coordstore_orchestrator.worker.process.errors import CaptureFailed, GuardianLost, SignalRefused, StartFailed
from coordstore_orchestrator.worker.process.exits import Exit
from coordstore_orchestrator.worker.process.identity import (
    Leftover,
    ProcessIdentity,
    end_leftovers,
    find_marked,
    is_alive,
    is_dead,
    own_holder,
    process_identity,
    signal_process,
)
from coordstore_orchestrator.worker.process.inlet import Inlet
from coordstore_orchestrator.worker.process.redact import Redactor, secret_values

__all__ = [
    "AgentProcess",
    "Capture",
    "CaptureFailed",
    "CaptureStatistics",
    "Exit",
    "Guardian",
    "GuardianLost",
    "GuardianStatistics",
    "Inlet",
    "Leftover",
    "ProcessIdentity",
    "Redactor",
    "SignalRefused",
    "StartFailed",
    "end_leftovers",
    "find_marked",
    "is_alive",
    "is_dead",
    "own_holder",
    "process_identity",
    "secret_values",
    "signal_process",
]
