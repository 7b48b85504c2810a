"""Which lines of a task's log were taken already: who speaks numbers its lines, the task remembers.

The rule: a speaker (`agent`, `installer`) repeats its oldest lines until they are acknowledged, so
what a lost answer makes it say twice is in the log once, also where another client of the region
hears it the second time.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import msgspec

Marks = Mapping[str, int]
"""Of each speaker the number of its newest line that was taken, counted from 1."""

NO_MARKS: Marks = MappingProxyType({})
"""Of lines that nobody numbers."""


class Numbered(msgspec.Struct, frozen=True):
    """Whose lines these are, and the number of their first, counted from 1.

    `known` is the number of the newest that was taken, as far as who asks can say.
    """

    by: str
    first: int
    known: int = 0


def unsaid(lines: Sequence[str], numbered: Numbered | None, known: Marks) -> Sequence[str]:
    """Those of the lines that are not known; all, where nobody numbers them."""
    if numbered is None:
        return lines
    newest_known = max(numbered.known, known.get(numbered.by, 0))
    return lines[max(0, newest_known + 1 - numbered.first) :]


def marks_of(lines: Sequence[str], numbered: Numbered | None) -> dict[str, int]:
    """What is known once these lines are; nothing, where nobody numbers them."""
    if numbered is None or not lines:
        return {}
    return {numbered.by: numbered.first + len(lines) - 1}


def newest(known: Marks, marks: Marks) -> dict[str, int]:
    """Both, each speaker's highest."""
    return {by: max(known.get(by, 0), marks.get(by, 0)) for by in {**known, **marks}}


def are_known(known: Marks, marks: Marks) -> bool:
    """Whether the lines that have these marks were taken; never, where nobody numbers them."""
    return bool(marks) and all(known.get(by, 0) >= number for by, number in marks.items())
