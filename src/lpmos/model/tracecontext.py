"""The header `traceparent`: which trace a call belongs to, and which span made it.

The W3C recommendation Trace Context (w3.org/TR/trace-context, section 3.2) is followed to the
letter, for the header comes from anybody: what is malformed says nothing, and is no error.
"""

import re

import msgspec

HEADER = "traceparent"
LIMIT_CHARACTERS = 256
"""A later version of the format may append fields; nobody needs more than that."""

_SAMPLED = 0x01
_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


class TraceContext(msgspec.Struct, frozen=True, kw_only=True):
    """A span of somebody: its trace and its own id, lower-case hex of 16 and 8 bytes.

    `sampled`: whether who made it keeps it, and so wants to see what hangs below it.
    """

    trace_id: str
    span_id: str
    sampled: bool = True

    def __str__(self) -> str:
        """The header's value, in version 00; what is ours is always sampled."""
        return f"00-{self.trace_id}-{self.span_id}-{_SAMPLED:02x}"


def parse_traceparent(text: str | None) -> TraceContext | None:
    """Who calls, by the header's value; None where there is none, or it is malformed.

    Of a version after 00 the known fields count (section 4.3).
    """
    if text is None or len(text) > LIMIT_CHARACTERS:
        return None
    found = _FORM.fullmatch(text)
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more is not None):
        return None
    if not int(trace_id, 16) or not int(span_id, 16):
        return None
    sampled = bool(int(flags, 16) & _SAMPLED)
    return TraceContext(trace_id=trace_id, span_id=span_id, sampled=sampled)
