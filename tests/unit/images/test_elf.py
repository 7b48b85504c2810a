"""Reading ELF files: well-formed ones that are put together here, and damaged ones."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lpmos.images.elf import MalformedElf, is_elf, module_notes, needed_libraries
from tests.support.elf_files import module_with, program_needing

WORDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)


@given(st.lists(WORDS, max_size=6))
def test_needed_libraries_of_a_program_are_named_in_order(names: list[str]) -> None:
    assert needed_libraries(program_needing(names)) == tuple(names)


def test_needed_libraries_of_a_static_program_are_none() -> None:
    assert needed_libraries(module_with([])) == ()


def test_needed_libraries_without_string_table_is_malformed() -> None:
    data = bytearray(program_needing(["libc.so.6"]))
    tag_at = data.rindex(struct.pack("<q", 5))
    data[tag_at : tag_at + 8] = struct.pack("<q", 6)
    with pytest.raises(MalformedElf, match="no string table"):
        needed_libraries(bytes(data))


def test_module_notes_keep_every_value_of_a_key() -> None:
    notes = module_notes(module_with(["depends=a,b", "alias=pci:v1", "alias=pci:v2", "odd"]))
    assert notes == {"depends": ("a,b",), "alias": ("pci:v1", "pci:v2")}


def test_module_notes_of_a_file_without_sections_are_none() -> None:
    assert module_notes(program_needing([])) == {}


def test_is_elf_knows_the_magic() -> None:
    assert is_elf(program_needing([]))
    assert not is_elf(b"#!/bin/sh\n")


@given(st.binary(max_size=300))
def test_reading_anything_raises_nothing_but_malformed(data: bytes) -> None:
    for read in (needed_libraries, module_notes):
        try:
            read(data)
        except MalformedElf:
            continue


@settings(max_examples=40)
@given(
    st.sampled_from([program_needing(["libc.so.6", "libm.so.6"]), module_with(["depends=x"])]),
    st.data(),
)
def test_reading_a_damaged_file_raises_nothing_but_malformed(
    whole: bytes, draw: st.DataObject
) -> None:
    data = bytearray(whole)
    for _ in range(draw.draw(st.integers(1, 8))):
        data[draw.draw(st.integers(16, len(data) - 1))] = draw.draw(st.integers(0, 255))
    cut = bytes(data[: draw.draw(st.integers(0, len(data)))])
    for read in (needed_libraries, module_notes):
        try:
            read(cut)
        except MalformedElf:
            continue
