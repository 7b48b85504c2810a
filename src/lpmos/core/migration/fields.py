"""Strict reading of an old document's fields: what is wrong is noted, nothing is guessed.

A field that is empty, null or Go's zero time was not set.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from lpmos.model.errors import InvalidInput

T = TypeVar("T")

WHOLE_LIMIT = 2**53 - 1
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII | re.IGNORECASE
)
_ZERO_TIME = "0001-01-01T00:00:00"
_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)


class WrongTime(ValueError):
    """No RFC 3339 time with a zone."""


def parse_time(text: str) -> datetime | None:
    """An RFC 3339 time (section 5.6) in UTC, to the microsecond; None for Go's zero time.

    Raises:
        WrongTime: anything else, as a time without a zone, whose moment nobody knows.
    """
    if text.startswith(_ZERO_TIME):
        return None
    match = _TIME.fullmatch(text)
    if match is None:
        raise WrongTime(f"{text[:40]!r} is not an RFC 3339 time with a zone")
    seconds, fraction, zone = match.groups()
    try:
        whole = f"{seconds}{(fraction or '')[:7]}{zone}".upper()
        at = datetime.fromisoformat(whole).astimezone(UTC)
    except (ValueError, OverflowError):
        raise WrongTime(f"{text[:40]!r} is no time that there is") from None
    if at < _EARLIEST:
        raise WrongTime(f"{text[:40]!r} is before there were such tasks")
    return at


class Fields:
    """One JSON object; `problems` gathers what is wrong with its fields."""

    def __init__(
        self, document: Mapping[str, Any], problems: list[str] | None = None, where: str = ""
    ) -> None:
        self.problems: list[str] = [] if problems is None else problems
        self._document = document
        self._where = where

    def wrong(self, name: str, reason: str) -> None:
        """Note that a field is wrong."""
        self.problems.append(f"{self._where}{name} {reason}")

    def text(self, *names: str, required: bool = False) -> str | None:
        """A text under the first of its names that is set."""
        found = self._set(names, required)
        if found is None or isinstance(found[1], str):
            return found[1] if found else None
        self.wrong(found[0], "is not a text")
        return None

    def parsed(
        self, parse: Callable[[str, str], T], *names: str, required: bool = False
    ) -> T | None:
        """A text that one of the model's own checks takes."""
        text = self.text(*names, required=required)
        if text is None:
            return None
        try:
            return parse(text, names[0])
        except InvalidInput as error:
            self.wrong(names[0], "; ".join(each.message for each in error.problems))
            return None

    def time(self, *names: str, required: bool = False) -> datetime | None:
        """A time."""
        text = self.text(*names, required=required)
        try:
            at = parse_time(text) if text is not None else None
        except WrongTime as error:
            self.wrong(names[0], str(error))
            return None
        if text is not None and at is None and required:
            self.wrong(names[0], "is missing")
        return at

    def whole(self, *names: str) -> int | None:
        """A whole number from 0."""
        number = self.number(*names)
        if number is None or number.is_integer():
            return None if number is None else int(number)
        self.wrong(names[0], "is not a whole number")
        return None

    def number(self, *names: str) -> float | None:
        """A number from 0."""
        found = self._set(names, required=False)
        if found is None:
            return None
        name, value = found
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.wrong(name, "is not a number")
        elif not 0 <= value <= WHOLE_LIMIT:
            self.wrong(name, "is out of bounds")
        else:
            return float(value)
        return None

    def inside(self, name: str) -> "Fields":
        """An object within; without fields where it is not set."""
        value = self._document.get(name)
        if value is not None and not isinstance(value, dict):
            self.wrong(name, "is not an object")
        document = value if isinstance(value, dict) else {}
        return Fields(document, self.problems, f"{self._where}{name}.")

    def each(self, name: str) -> "Iterator[Fields]":
        """The objects of a list within."""
        value = self._document.get(name)
        if value is not None and not isinstance(value, list):
            self.wrong(name, "is not a list")
        for number, item in enumerate(value if isinstance(value, list) else ()):
            if isinstance(item, dict):
                yield Fields(item, self.problems, f"{self._where}{name}.{number}.")
            else:
                self.wrong(f"{name}.{number}", "is not an object")

    def raw(self, name: str) -> Any:
        """A field as it is."""
        return self._document.get(name)

    def _set(self, names: tuple[str, ...], required: bool) -> tuple[str, Any] | None:
        given = [(name, self._document.get(name)) for name in names]
        found = [(name, value) for name, value in given if value not in (None, "")]
        if not found:
            if required:
                self.wrong(names[0], "is missing")
            return None
        name, value = found[0]
        for other, second in found[1:]:
            if second != value:
                self.wrong(other, f"contradicts {name}")
        return name, value
