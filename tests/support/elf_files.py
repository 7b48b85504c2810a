"""Small ELF files, put together field by field."""

import struct
from collections.abc import Sequence

IDENT = b"\x7fELF\x02\x01\x01" + bytes(9)
HEADER = "<16sHHIQQQIHHHHHH"
LOAD_ADDRESS = 0x400000


def program_needing(names: Sequence[str]) -> bytes:
    """A program with one loaded segment that holds its string table and dynamic section."""
    strings, offsets = b"\0", []
    for name in names:
        offsets.append(len(strings))
        strings += name.encode() + b"\0"
    strings_at = 64 + 2 * 56
    dynamic_at = strings_at + len(strings)
    tags = [(1, offset) for offset in offsets]
    tags += [(5, LOAD_ADDRESS + strings_at), (0, 0), (1, 0xFFFFFF)]
    dynamic = b"".join(struct.pack("<qQ", tag, value) for tag, value in tags)
    size = dynamic_at + len(dynamic)
    header = struct.pack(HEADER, IDENT, 2, 62, 1, 0, 64, 0, 0, 64, 56, 2, 64, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 5, 0, LOAD_ADDRESS, LOAD_ADDRESS, size, size, 4096)
    address = LOAD_ADDRESS + dynamic_at
    table = struct.pack(
        "<IIQQQQQQ", 2, 6, dynamic_at, address, address, len(dynamic), len(dynamic), 8
    )
    return header + load + table + strings + dynamic


def module_with(notes: Sequence[str]) -> bytes:
    """A relocatable file with a string table of section names and a `.modinfo` section."""
    names = b"\0.modinfo\0.shstrtab\0"
    info = b"".join(note.encode() + b"\0" for note in notes)
    names_at, info_at = 64, 64 + len(names)
    sections = [
        (0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
        (1, 1, 0, 0, info_at, len(info), 0, 0, 1, 0),
        (10, 3, 0, 0, names_at, len(names), 0, 0, 1, 0),
    ]
    table_at = info_at + len(info)
    header = struct.pack(HEADER, IDENT, 1, 62, 1, 0, 0, table_at, 0, 64, 0, 0, 64, 3, 2)
    return header + names + info + b"".join(struct.pack("<IIQQQQIIQQ", *s) for s in sections)
