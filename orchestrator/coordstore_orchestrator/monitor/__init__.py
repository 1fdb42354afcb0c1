"""The orchestrator's side: leads a session, assigns attempts, notices what is lost, has completed work merged."""
