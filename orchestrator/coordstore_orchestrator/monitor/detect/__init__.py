"""Detectors: what an agent was seen to do goes in, verdicts with their evidence come out; no clock, no store."""

from coordstore_orchestrator.monitor.detect.finding import Detector, Finding, Subject
from coordstore_orchestrator.monitor.detect.registry import (
    UnknownDetector,
    check_thresholds,
    known_detectors,
    thresholds,
)

__all__ = ["Detector", "Finding", "Subject", "UnknownDetector", "check_thresholds", "known_detectors", "thresholds"]
