"""What can be wrong with a store and around it, as findings; backends add theirs by the hook `register_checkups`."""

from coordstore.checkup.finding import Checkup, Examination, Finding, Level

__all__ = ["Checkup", "Examination", "Finding", "Level"]
