"""Ids kept in the order of a value: lists are not sorted when they are asked for, only walked."""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import Any, TypeVar

T = TypeVar("T")

MANY = 100
"""So many new ones are sorted with all others, not put in place one after the other."""


class Ordered:
    """Ids by a value; where values are equal, the newest first in either direction.

    An id that is added finds its place when somebody asks, so that the many of a listing cost one
    sort.
    """

    def __init__(self) -> None:
        self._in_place: list[tuple[Any, float, str]] = []
        self._added: list[tuple[Any, float, str]] = []

    def __len__(self) -> int:
        return len(self._in_place) + len(self._added)

    def add(self, value: Any, created_s: float, name: str) -> None:
        """Take an id in."""
        self._added.append((value, -created_s, name))

    def remove(self, value: Any, created_s: float, name: str) -> None:
        """Take an id out, which was added with these very values."""
        places = self._places()
        del places[bisect_left(places, (value, -created_s, name))]

    def ids(self) -> Iterator[str]:
        """The ids, lowest value first."""
        return (name for _, _, name in self._places())

    def descending(self) -> Iterator[str]:
        """The ids, highest value first."""
        groups = groupby(reversed(self._places()), key=lambda place: place[0])
        return (name for _, group in groups for _, _, name in reversed(list(group)))

    def backwards(self) -> Iterator[str]:
        """The ids from the last to the first: as `descending`, where no two values are equal."""
        return (name for _, _, name in reversed(self._places()))

    def _places(self) -> list[tuple[Any, float, str]]:
        """All in order."""
        if len(self._added) > MANY:
            self._in_place += self._added
            self._in_place.sort()
        else:
            for place in self._added:
                insort(self._in_place, place)
        self._added.clear()
        return self._in_place


def narrowed(rows: Iterable[T], conditions: Iterable[Callable[[T], bool]]) -> Iterable[T]:
    """The rows of which every condition holds, one after the other."""
    for condition in conditions:
        rows = filter(condition, rows)
    return rows
