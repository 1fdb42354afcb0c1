"""Workers: they claim assignments, run agents in worktrees, verify what was done and report it."""
