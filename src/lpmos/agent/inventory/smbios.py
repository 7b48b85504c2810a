"""The SMBIOS structure table (DMTF DSP0134), read from `/sys/firmware/dmi/tables/DMI`.

Firmware tables are wrong in every way that is possible: whatever the bytes are, parsing ends and
raises nothing. A field that a short structure does not have, and text that a vendor forgot to fill
in, are `None`.
"""

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

BIOS, SYSTEM, BOARD, CHASSIS, MEMORY_DEVICE, END_OF_TABLE = 0, 1, 2, 3, 17, 127
_HEADER_BYTES = 4
_KIB, _MIB = 1 << 10, 1 << 20

_UNFILLED = re.compile(
    r"to be filled( by o\.?e\.?m\.?)?|default string|not (specified|available|applicable|present)"
    r"|none|null|n/?a|unknown|empty|no dimm|no module installed|o\.?e\.?m\.?|system serial number"
    r"|system (product name|manufacturer|version)|base board serial number|chassis serial number"
    r"|(array\d+_)?(ser(ial)?num|partnum(ber)?|manufacturer|assettagnum)[ _-]?\d*"
    r"|0?123456789"
    r"|[-. 0xX]+|f{8,}",
    re.IGNORECASE,
)
_MEMORY_TYPES = {
    0x07: "RAM", 0x0F: "SDRAM", 0x12: "DDR", 0x13: "DDR2", 0x14: "DDR2 FB-DIMM", 0x18: "DDR3",
    0x1A: "DDR4", 0x1B: "LPDDR", 0x1C: "LPDDR2", 0x1D: "LPDDR3", 0x1E: "LPDDR4",
    0x1F: "NVDIMM", 0x20: "HBM", 0x21: "HBM2", 0x22: "DDR5", 0x23: "LPDDR5", 0x24: "HBM3",
}  # fmt: skip


_CHASSIS_TYPES = {
    0x03: "Desktop", 0x04: "Low Profile Desktop", 0x05: "Pizza Box", 0x06: "Mini Tower",
    0x07: "Tower", 0x08: "Portable", 0x09: "Laptop", 0x0A: "Notebook", 0x0B: "Hand Held",
    0x0C: "Docking Station", 0x0D: "All in One", 0x0E: "Sub Notebook", 0x0F: "Space-saving",
    0x10: "Lunch Box", 0x11: "Main Server Chassis", 0x12: "Expansion Chassis", 0x13: "SubChassis",
    0x14: "Bus Expansion Chassis", 0x15: "Peripheral Chassis", 0x16: "RAID Chassis",
    0x17: "Rack Mount Chassis", 0x18: "Sealed-case PC", 0x19: "Multi-system chassis",
    0x1A: "Compact PCI", 0x1B: "Advanced TCA", 0x1C: "Blade", 0x1D: "Blade Enclosure",
    0x1E: "Tablet", 0x1F: "Convertible", 0x20: "Detachable", 0x21: "IoT Gateway",
    0x22: "Embedded PC", 0x23: "Mini PC", 0x24: "Stick PC",
}  # fmt: skip


class Structure(NamedTuple):
    """One structure: its type, its formatted bytes (header included), its strings in order."""

    type: int
    handle: int
    formatted: bytes
    strings: tuple[str, ...]

    def unsigned(self, offset: int, width: int) -> int | None:
        """The little-endian number of `width` bytes at `offset`."""
        field = self.formatted[offset : offset + width]
        return int.from_bytes(field, "little") if len(field) == width else None

    def text(self, offset: int) -> str | None:
        """The string that the byte at `offset` numbers (from 1), unless it is a placeholder."""
        number = self.unsigned(offset, 1)
        if not number or number > len(self.strings):
            return None
        return filled(self.strings[number - 1])


def filled(text: str | None) -> str | None:
    """`text` without surrounding space; None where a vendor left a placeholder."""
    text = " ".join((text or "").split())
    return None if not text or _UNFILLED.fullmatch(text) else text


def structures(table: bytes) -> Iterator[Structure]:
    """The structures of a table up to its end marker, or up to where it stops making sense."""
    at = 0
    while at + _HEADER_BYTES <= len(table):
        kind, length, handle = struct.unpack_from("<BBH", table, at)
        if length < _HEADER_BYTES or at + length > len(table):
            return
        formatted = table[at : at + length]
        # Strings end with NUL each and with one more NUL all; no strings is two NULs (6.1.3).
        end = table.find(b"\0\0", at + length)
        if end < 0:
            end = len(table)
        raw = table[at + length : end]
        strings = tuple(part.decode("latin-1") for part in raw.split(b"\0")) if raw else ()
        yield Structure(kind, handle, formatted, strings)
        if kind == END_OF_TABLE:
            return
        at = end + 2


def bios(structure: Structure) -> dict[str, object]:
    """The firmware (type 0, section 7.1)."""
    return {
        "vendor": structure.text(4),
        "version": structure.text(5),
        "date": structure.text(8),
    }


def product(structure: Structure) -> dict[str, object]:
    """The system (type 1, section 7.2) or the board (type 2, section 7.3)."""
    return {
        "vendor": structure.text(4),
        "name": structure.text(5),
        "version": structure.text(6),
        "serial": structure.text(7),
        "uuid": _uuid(structure.formatted[8:24]) if structure.type == SYSTEM else None,
    }


def chassis(structure: Structure) -> dict[str, object]:
    """The enclosure (type 3, section 7.4)."""
    return {
        "vendor": structure.text(4),
        "type": chassis_type(structure.unsigned(5, 1)),
        "version": structure.text(6),
        "serial": structure.text(7),
        "asset_tag": structure.text(8),
    }


def chassis_type(number: int | None) -> str | None:
    """Its word (table 17); bit 7 only says whether there is a lock."""
    return None if number is None else _CHASSIS_TYPES.get(number & 0x7F)


def dimm(structure: Structure) -> dict[str, object]:
    """One memory module or empty slot (type 17, section 7.18)."""
    size_bytes = _dimm_bytes(structure)
    plugged = size_bytes > 0
    return {
        "slot": structure.text(0x10) or structure.text(0x11),
        "size_bytes": size_bytes,
        "type": _MEMORY_TYPES.get(structure.unsigned(0x12, 1) or 0) if plugged else None,
        "speed_mts": _dimm_speed(structure) if plugged else None,
        "manufacturer": structure.text(0x17) if plugged else None,
        "part_number": structure.text(0x1A) if plugged else None,
        "serial": structure.text(0x18) if plugged else None,
    }


def _dimm_bytes(structure: Structure) -> int:
    """Offset 0x0C: bit 15 chooses KiB over MiB; 0x7FFF points to the extended size in MiB."""
    size = structure.unsigned(0x0C, 2)
    if size is None or size == 0xFFFF:
        return 0
    if size == 0x7FFF:
        return ((structure.unsigned(0x1C, 4) or 0) & 0x7FFF_FFFF) * _MIB
    return (size & 0x7FFF) * (_KIB if size & 0x8000 else _MIB)


def _dimm_speed(structure: Structure) -> int | None:
    """MT/s: the configured speed (0x20) before the module's own (0x15); 0xFFFF is extended."""
    for offset, extended in ((0x20, 0x58), (0x15, 0x54)):
        speed = structure.unsigned(offset, 2)
        if speed == 0xFFFF:
            speed = structure.unsigned(extended, 4)
        if speed:
            return speed
    return None


def _uuid(raw: bytes) -> str | None:
    """Section 7.2.1: the first three fields are little-endian; all zeros or ones is no UUID."""
    if len(raw) != 16 or raw in (b"\0" * 16, b"\xff" * 16):
        return None
    digits = (raw[3::-1] + raw[5:3:-1] + raw[7:5:-1] + raw[8:]).hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
