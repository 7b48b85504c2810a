"""What is wrong with a field, in words for who wrote it: the decoder speaks of its own types.

Each of msgspec's messages has a row here; one that has none is said as "is wrong", so that no
words of the library are shown.
"""

import re
from collections.abc import Callable, Mapping
from enum import Enum
from types import MappingProxyType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

TYPES: Mapping[str, str] = MappingProxyType(
    {
        "int": "a whole number",
        "float": "a number",
        "str": "text",
        "bool": "true or false",
        "null": "null",
        "array": "a list",
        "object": "an object",
        "datetime": "a time with its zone (RFC 3339), as 2026-01-02T03:04:05Z",
        "uuid": "a UUID",
        "bytes": "text in base64",
    }
)
LIMITS = MappingProxyType({">=": "at least", "<=": "at most", ">": "more than", "<": "less than"})
PARTS = MappingProxyType({"array": "entries", "object": "fields"})
CHOICES_SHOWN = 30


def plain_words(message: str, kind: object = None, *, text_only: bool = False) -> str:
    """What to write instead, for a message of msgspec's about a field of this `kind`.

    `text_only`: whatever was given came as text, so that this was not what is wrong with it.
    """
    for pattern, words in _ROWS:
        if match := pattern.fullmatch(message):
            return words(match, kind, text_only)
    return f"is wrong; it must be {choices}" if (choices := _choices(kind)) else "is wrong"


def _wrong_type(match: re.Match[str], kind: object, text_only: bool) -> str:
    wanted = _types(match["wanted"])
    choices = _choices(kind)
    if choices and "str" in match["wanted"]:
        wanted = choices
    return f"must be {wanted}" if text_only else f"must be {wanted}, not {_types(match['got'])}"


def _wrong_number(match: re.Match[str], _kind: object, _text_only: bool) -> str:
    return f"must be {LIMITS[match['how']]} {match['limit']}"


def _wrong_length(match: re.Match[str], _kind: object, _text_only: bool) -> str:
    how = LIMITS.get(match["how"] or "", "exactly")
    return f"must have {how} {match['limit']} {PARTS.get(match['type'], 'characters')}"


def _wrong_choice(_match: re.Match[str], kind: object, _text_only: bool) -> str:
    return f"must be {_choices(kind) or 'one of the values that it can have'}"


def _said(text: str) -> "Callable[[re.Match[str], object, bool], str]":
    return lambda match, _kind, _text_only: text.format(**match.groupdict())


_ROWS = tuple(
    (re.compile(pattern, re.DOTALL), words)
    for pattern, words in (
        (r"Expected `(?P<wanted>[^`]+)`, got `(?P<got>[^`]+)`", _wrong_type),
        (r"Expected `(?:int|float)` (?P<how>[<>]=?) (?P<limit>\S+)", _wrong_number),
        (
            r"Expected `(?:int|float)` that's a multiple of (?P<limit>\S+)",
            _said("must be a multiple of {limit}"),
        ),
        (
            r"Expected `(?P<type>\w+)` of (?:at (?:least|most) )?length (?P<how>[<>]=)? ?"
            r"(?P<limit>\d+)(?:, got .*)?",
            _wrong_length,
        ),
        (
            r"Expected `str` matching regex '(?P<pattern>.*)'",
            _said("must be of the form {pattern} (a regular expression)"),
        ),
        (r"Invalid (?:enum )?value .*", _wrong_choice),
        (
            r"Invalid RFC3339 encoded datetime|Expected `datetime` with a timezone component",
            _said(f"must be {TYPES['datetime']}"),
        ),
        (r"Invalid UUID", _said("must be a UUID")),
        (r"Invalid base64 encoded string", _said("must be text in base64")),
        (r"Integer value out of range", _said("is too large a number")),
        (r"(?:is|must) .*", lambda match, _kind, _text_only: match[0]),
    )
)


def _types(names: str) -> str:
    """`int | null` as people say it."""
    parts = [TYPES.get(name, name) for name in names.split(" | ")]
    *others, last = sorted(parts, key=lambda part: part == TYPES["null"])
    return f"{', '.join(others)} or {last}" if others else last


def _choices(kind: object) -> str | None:
    """The values that an enumeration can have; None where it is none."""
    values = _values(kind)
    if not 0 < len(values) <= CHOICES_SHOWN:
        return None
    return f"one of {', '.join(values)}" if len(values) > 1 else values[0]


def _values(kind: Any) -> list[str]:
    origin = get_origin(kind)
    if origin is Annotated:
        return _values(get_args(kind)[0])
    if origin is Literal:
        return [str(each) for each in get_args(kind)]
    if origin in (Union, UnionType):
        return [value for part in get_args(kind) for value in _values(part)]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return [str(each.value) for each in kind]
    return []
