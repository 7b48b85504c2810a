"""What the builders read from ELF files: the libraries of a program, the notes in a kernel module.

Sources: System V ABI, chapters 4 and 5 (object files, dynamic linking), for 64-bit little-endian
files only; `include/linux/moduleinfo.h` of the kernel for `.modinfo`.
"""

import mmap
import struct
from collections.abc import Iterator, Mapping

MAGIC = b"\x7fELF"
_CLASS_64_LITTLE_ENDIAN = b"\x02\x01"
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_PROGRAM = struct.Struct("<IIQQQQQQ")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_DYNAMIC = struct.Struct("<qQ")
_PT_LOAD, _PT_DYNAMIC = 1, 2
_DT_NEEDED, _DT_STRTAB = 1, 5
_NAME_BYTES = 64

Bytes = bytes | mmap.mmap


class MalformedElf(ValueError):
    """The bytes are no ELF file that the builders can read."""


def is_elf(data: bytes) -> bool:
    """Whether the bytes begin like an ELF file."""
    return data[:4] == MAGIC


def needed_libraries(data: Bytes) -> tuple[str, ...]:
    """The `DT_NEEDED` names of a program or library, in order; none for a static one.

    Raises:
        MalformedElf: a header, offset or name points outside the file.
    """
    header = _header(data)
    programs = list(_table(data, _PROGRAM, header[5], header[9], header[10]))
    dynamic = next((p for p in programs if p[0] == _PT_DYNAMIC), None)
    if dynamic is None:
        return ()
    tags = list(_dynamic_tags(_slice(data, dynamic[2], dynamic[5])))
    wanted = [value for tag, value in tags if tag == _DT_NEEDED]
    if not wanted:
        return ()
    strings = next((value for tag, value in tags if tag == _DT_STRTAB), None)
    if strings is None:
        raise MalformedElf("a dynamic section with names but no string table")
    base = _file_offset(programs, strings)
    return tuple(_string(data, base + offset) for offset in wanted)


def module_notes(data: Bytes) -> Mapping[str, tuple[str, ...]]:
    """The `.modinfo` section of a kernel module: each key (`depends`, `alias`, ...) to its values.

    Raises:
        MalformedElf: a header, offset or name points outside the file.
    """
    header = _header(data)
    sections = list(_table(data, _SECTION, header[6], header[11], header[12]))
    if header[13] >= len(sections):
        return {}
    names = sections[header[13]][4]
    notes: dict[str, tuple[str, ...]] = {}
    for section in sections:
        if _string(data, names + section[0]) != ".modinfo":
            continue
        for item in _slice(data, section[4], section[5]).split(b"\0"):
            key, equals, value = item.decode("utf-8", "replace").partition("=")
            if equals:
                notes[key] = (*notes.get(key, ()), value)
    return notes


def _header(data: Bytes) -> tuple[int, ...]:
    if data[:4] != MAGIC or data[4:6] != _CLASS_64_LITTLE_ENDIAN:
        raise MalformedElf("not a 64-bit little-endian ELF file")
    if len(data) < _HEADER.size:
        raise MalformedElf("the ELF header is cut off")
    return _HEADER.unpack_from(data)


def _table(
    data: Bytes, shape: struct.Struct, offset: int, entry_bytes: int, count: int
) -> Iterator[tuple[int, ...]]:
    if count and entry_bytes < shape.size:
        raise MalformedElf("a header table has entries that are too small")
    for index in range(count):
        start = offset + index * entry_bytes
        if start + shape.size > len(data):
            raise MalformedElf("a header table reaches beyond the end of the file")
        yield shape.unpack_from(data, start)


def _dynamic_tags(section: bytes) -> Iterator[tuple[int, int]]:
    for start in range(0, len(section) - _DYNAMIC.size + 1, _DYNAMIC.size):
        tag, value = _DYNAMIC.unpack_from(section, start)
        if tag == 0:
            return
        yield tag, value


def _file_offset(programs: list[tuple[int, ...]], address: int) -> int:
    for kind, _, offset, virtual, _, file_bytes, _, _ in programs:
        if kind == _PT_LOAD and virtual <= address < virtual + file_bytes:
            return address - virtual + offset
    raise MalformedElf("the string table is in no loaded segment")


def _slice(data: Bytes, offset: int, size: int) -> bytes:
    if offset + size > len(data):
        raise MalformedElf("a section reaches beyond the end of the file")
    return data[offset : offset + size]


def _string(data: Bytes, offset: int) -> str:
    name = b""
    while offset + len(name) < len(data):
        start = offset + len(name)
        piece, end, _ = data[start : start + _NAME_BYTES].partition(b"\0")
        name += piece
        if end:
            return name.decode("utf-8", "replace")
    raise MalformedElf("a name reaches beyond the end of the file")
