"""Gate, merge, land: how agents' commits become one new ref of the user's repository."""

__all__: list[str] = []
