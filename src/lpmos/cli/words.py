"""Times, sizes and foreign text as a person reads them in a terminal.

What comes from a machine or another user is never printed as it is: an escape sequence in a disk's
model name must not move the cursor of whoever lists it.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def plain(text: object) -> str:
    """`text` in one line, with what cannot be printed shown as `�`."""
    return printable(" ".join(str(text).split()))


def printable(line: str) -> str:
    """A line with what cannot be printed shown as `�`; its blanks stay."""
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in line
    )


def size(count: float | None) -> str:
    """Bytes with a decimal unit: `1.5 GB`; empty for None."""
    if count is None:
        return ""
    number = float(count)
    for unit in _UNITS:
        if abs(number) < 999.5 or unit == _UNITS[-1]:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.3g} {unit}"
        number /= 1000
    raise AssertionError("the last unit returns")


def memory(count: float | None) -> str:
    """Bytes as memory is sold, with a binary unit: `512 GiB`; empty for None."""
    if count is None:
        return ""
    gib = count / 2**30
    return f"{gib:.3g} GiB" if gib >= 0.995 else f"{count / 2**20:.3g} MiB"


def span(seconds: float) -> str:
    """A length of time with its largest unit or two: `42 s`, `3 min`, `2 h 5 min`, `12 d`."""
    whole = max(0, round(seconds))
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min"
    if whole < 172_800:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86_400} d"


def ago(text: str | None, now: datetime) -> str:
    """How long ago (or until when) an RFC 3339 time is: `3 min ago`, `in 2 h 5 min`."""
    at = moment(text)
    if at is None:
        return ""
    seconds = (now - at).total_seconds()
    return f"{span(seconds)} ago" if seconds >= 0 else f"in {span(-seconds)}"


def signed_in_until(session: Mapping[str, Any], now: datetime) -> str:
    """How long a caller stays signed in: `in 11 h (the access token renews itself in 9 min)`."""
    token, whole = session["expires_at"], session.get("session_ends_at")
    if whole is None:
        return f"{ago(token, now)}; nothing renews this token"
    if whole == token:
        return ago(whole, now)
    return f"{ago(whole, now)}; the access token, which renews itself, {ago(token, now)}"


def stamp(text: str | None) -> str:
    """A time in UTC to the second: `2026-01-02 03:04:05Z`; empty for None."""
    at = moment(text)
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}" if at else ""


def moment(text: str | None) -> datetime | None:
    """An RFC 3339 time; None for None and for what is none."""
    try:
        at = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    return at.replace(tzinfo=UTC) if at and at.tzinfo is None else at


def with_zone(text: str | None) -> str | None:
    """A time that a person typed as the API wants it: a date is its midnight, no zone is UTC."""
    at = moment(text)
    return at.isoformat() if at else text


def listed(value: Any) -> str:
    """A list or mapping in one line: `a, b`, `rack=7, use=web`."""
    if isinstance(value, dict):
        return ", ".join(f"{key}={each}" if each != "" else str(key) for key, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(str(each) for each in value)
    return "" if value is None else str(value)
