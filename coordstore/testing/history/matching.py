"""Matching of deletes to deletions: who can have made which commit, so that everybody finds one who must.

It is the textbook algorithm of augmenting paths: who finds all places taken asks the holders of those places
whether they can go elsewhere. Whoever has a place keeps one, so those who must have one come first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Choices = Mapping[str, Sequence[int]]

__all__ = ["Matching"]


class Matching:
    """Names on one side, numbered places on the other.

    Args:
        choices: For each name, the places it can have, the best first.

    Attributes:
        place_of: The place of each name that has one.
        holder: The name at each place that is taken.
    """

    def __init__(self, choices: Choices) -> None:
        self._choices = choices
        self._names: dict[int, list[str]] = {}
        for name, places in choices.items():
            for place in places:
                self._names.setdefault(place, []).append(name)
        self.place_of: dict[str, int] = {}
        self.holder: dict[int, str] = {}

    def seat(self, name: str) -> bool:
        """Find a place for a name, moving others if need be; tell whether there was one."""
        return self._seat(name, set())

    def _seat(self, name: str, tried: set[int]) -> bool:
        for place in self._choices[name]:
            if place in tried:
                continue
            tried.add(place)
            if place not in self.holder or self._seat(self.holder[place], tried):
                self._put(name, place)
                return True
        return False

    def fill(self, place: int, spare: frozenset[int]) -> bool:
        """Find somebody for a place: one without a place, or one from a place that may stay empty."""
        return self._fill(place, spare, set())

    def _fill(self, place: int, spare: frozenset[int], tried: set[str]) -> bool:
        for name in self._names.get(place, ()):
            if name in tried:
                continue
            tried.add(name)
            old = self.place_of.get(name)
            if old is None or old in spare or self._fill(old, spare, tried):
                if old is not None and self.holder.get(old) == name:
                    del self.holder[old]
                self._put(name, place)
                return True
        return False

    def _put(self, name: str, place: int) -> None:
        self.place_of[name] = place
        self.holder[place] = name

    def sort_out(self, names: Sequence[str]) -> None:
        """Deal the places of some names out to them again, lowest place to first name as far as choices allow."""
        places = sorted(self.place_of[name] for name in names)
        left = list(names)
        for place in places:
            name = next(name for name in left if place in self._choices[name])
            left.remove(name)
            self._put(name, place)
