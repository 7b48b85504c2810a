"""Which serial numbers name a machine: board makers ship many that name thousands."""

from lpmos.model.errors import InvalidInput
from lpmos.model.machine import parse_sn

PLACEHOLDERS = frozenset(
    {
        "0123456789",
        "123456789",
        "1234567890",
        "chassis-serial-number",
        "default",
        "empty",
        "invalid",
        "n.a.",
        "na",
        "none",
        "null",
        "oem",
        "serial",
        "unknown",
        "unspecified",
    }
)
"""Words that firmware gives in place of a serial number; those with spaces are refused anyway."""


def usable_sn(text: str | None) -> str | None:
    """The serial number where it can name one machine, else None: then its MAC names it."""
    sn = (text or "").strip()
    if sn.lower() in PLACEHOLDERS or len(set(sn)) < 2:
        return None
    try:
        return parse_sn(sn)
    except InvalidInput:
        return None
