"""Identifiers that the agent gives to what it makes."""

import os


def new_uuid() -> str:
    """A random UUID (RFC 9562, version 4)."""
    octets = bytearray(os.urandom(16))
    octets[6] = octets[6] & 0x0F | 0x40
    octets[8] = octets[8] & 0x3F | 0x80
    digits = octets.hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def new_array_uuid() -> str:
    """A random UUID as mdadm writes it: four times eight hex digits."""
    digits = os.urandom(16).hex()
    return ":".join((digits[:8], digits[8:16], digits[16:24], digits[24:]))


def new_volume_id() -> str:
    """A random serial number of a FAT file system, eight hex digits."""
    return os.urandom(4).hex().upper()
