"""The SMBIOS parser: whatever firmware left in memory, it ends and raises nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.agent.inventory import smbios
from tests.support.agent_machines import smbios_table

texts = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)
rows = st.lists(
    st.tuples(st.integers(0, 126), st.binary(max_size=100), st.lists(texts, max_size=5)), max_size=8
)


def _all_fields(structure: smbios.Structure) -> list[dict[str, object]]:
    return [smbios.bios(structure), smbios.product(structure), smbios.dimm(structure)]


@given(st.binary(max_size=600))
def test_structures_of_any_bytes_end_without_error(table: bytes) -> None:
    for structure in smbios.structures(table):
        assert _all_fields(structure)


@given(rows, st.integers(0, 400), st.integers(0, 255))
def test_structures_of_a_damaged_table_end_without_error(
    sound: list[tuple[int, bytes, list[str]]], at: int, value: int
) -> None:
    table = bytearray(smbios_table(sound))
    table[at % len(table)] = value
    for structure in smbios.structures(bytes(table)):
        assert _all_fields(structure)


@given(rows)
def test_structures_of_a_sound_table_come_back_whole(
    sound: list[tuple[int, bytes, list[str]]],
) -> None:
    found = list(smbios.structures(smbios_table(sound)))
    assert [(row.type, row.formatted[4:], list(row.strings)) for row in found] == [
        *((kind, formatted, strings) for kind, formatted, strings in sound),
        (127, b"", []),
    ]


def test_structures_after_the_end_marker_are_not_read() -> None:
    table = smbios_table([(1, bytes(8), ["A"])])
    assert [row.type for row in smbios.structures(table + table)] == [1, 127]


@pytest.mark.parametrize(
    "text",
    [
        "To Be Filled By O.E.M.",
        "Default string",
        "Not Specified",
        "System Serial Number",
        "0123456789",
        "........",
        "00000000",
        "SerNum2",
        "Array1_PartNumber0",
        "  ",
        "",
        None,
    ],
)
def test_filled_placeholder_is_none(text: str | None) -> None:
    assert smbios.filled(text) is None


@pytest.mark.parametrize("text", ["5RB0234", "DIMM 0", "X11DPi-N", "SN-001", "0PYXKY"])
def test_filled_real_text_is_kept(text: str) -> None:
    assert smbios.filled(f" {text} ") == text


def _dimm(
    size: int, *, extended: int = 0, speed: int = 3200, configured: int = 0
) -> smbios.Structure:
    formatted = bytearray(92)
    formatted[0x0C:0x0E] = size.to_bytes(2, "little")
    formatted[0x12] = 0x1A
    formatted[0x15:0x17] = speed.to_bytes(2, "little")
    formatted[0x1C:0x20] = extended.to_bytes(4, "little")
    formatted[0x20:0x22] = configured.to_bytes(2, "little")
    formatted[0x54:0x58] = (70_000).to_bytes(4, "little")
    return smbios.Structure(17, 0, bytes(formatted), ())


@pytest.mark.parametrize(
    ("size", "extended", "expected"),
    [
        (0, 0, 0),
        (0xFFFF, 0, 0),
        (16384, 0, 16384 << 20),
        (0x8000 | 512, 0, 512 << 10),
        (0x7FFF, 65536, 65536 << 20),
        (0x7FFF, 0x8000_0000 | 32768, 32768 << 20),
    ],
)
def test_dimm_size_is_read_in_every_encoding(size: int, extended: int, expected: int) -> None:
    assert smbios.dimm(_dimm(size, extended=extended))["size_bytes"] == expected


def test_dimm_speed_prefers_what_is_configured() -> None:
    assert smbios.dimm(_dimm(1024, configured=2666))["speed_mts"] == 2666
    assert smbios.dimm(_dimm(1024))["speed_mts"] == 3200
    assert smbios.dimm(_dimm(1024, speed=0xFFFF))["speed_mts"] == 70_000


def test_dimm_of_an_old_short_structure_has_what_is_there() -> None:
    structure = smbios.Structure(17, 0, _dimm(1024).formatted[:0x13], ())
    assert smbios.dimm(structure) == {
        "slot": None,
        "size_bytes": 1 << 30,
        "type": "DDR4",
        "speed_mts": None,
        "manufacturer": None,
        "part_number": None,
        "serial": None,
    }
