"""A plan to begin with: it passes the check and runs on any repository, with a shell in the place of an agent."""

from __future__ import annotations

from typing import Final

__all__ = ["example"]

_EXAMPLE: Final = """\
# A plan: tasks for several agents that work at the same time on one repository.
#   coord plan check PLAN     says what is wrong with it
#   coord run PLAN            runs it; the result is the branch coord/<session>, your checkout stays as it is

goal: Greet in three languages       # what all of it is for; names the session and the result
base: HEAD                           # the revision that the work starts from

# Who does the work: the name of a profile (`agent: claude`), or any command, never seen by a shell unless, as here,
# it is one. The prompt comes on standard input, and in the file $COORD_PROMPT_FILE; $COORD_TASK is the task's id.
agent:
  command: [sh, -c, 'mkdir -p greetings && head -n 1 > "greetings/$COORD_TASK.txt"']

setup: []                            # shell commands for every new worktree, as "npm ci"
validate:                            # shell commands that must succeed on the merged result
- test -s greetings/all.txt
hand_back: 0                         # how many times work that conflicts goes back to its agent; 0: it is left out

tasks:
- id: english                        # small letters, digits and '-'
  name: Greet in English             # shown to people
  prompt: Hello, world!
  # The files that the task may change, from the root of the repository. A folder means its contents, * stays
  # within a name, ** goes across folders; [] for a task that only reads. Two tasks that may run at the same time
  # cannot write the same files, and what an agent changes beyond its scope is not merged.
  writes: [greetings/english.txt]
  checks:                            # shell commands that must succeed in the worktree afterwards
  - grep -q Hello greetings/english.txt

- id: german
  prompt: Hallo, Welt!
  writes: [greetings/german.txt]
  size: small                        # small or normal: a small task gets small limits

- id: esperanto
  prompt: Saluton, mondo!
  writes: [greetings/esperanto.txt]
  priority: 1                        # of several tasks that are ready the highest starts first
  limits: {deadline: 60, attempts: 2}  # also steps, idle (seconds), cost (US dollars)
  watch: {stall: 120, chatter: 0}    # thresholds of what it is watched for; 0: it is not

- id: all
  name: Put the greetings together
  prompt: |
    Write all greetings into greetings/all.txt, one on a line.
  needs: [english, german, esperanto]  # starts from their results
  reads: ['greetings/*.txt']         # what it relies on; who writes that must be among its needs
  writes: [greetings/all.txt]
  accept:                            # criteria by which the agent judges its own work
  - every greeting stands in it once
  agent:
    command: [sh, -c, 'cd greetings && cat english.txt german.txt esperanto.txt > all.txt']
"""


def example() -> str:
    """Return a plan in YAML, with comments, that passes the check and runs on any repository."""
    return _EXAMPLE
