"""Git without its traps: one runner, the user's repository read only, a private one for agents.

The modules are imported one by one, so that `locate`, which every start of the command line needs, stays cheap.
"""

__all__: list[str] = []
