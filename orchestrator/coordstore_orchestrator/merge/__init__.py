"""Gate, merge, land: how agents' commits become one new ref of the user's repository."""

__all__ = ["attributes", "gate", "integrate", "land", "merger", "rules", "validate"]
