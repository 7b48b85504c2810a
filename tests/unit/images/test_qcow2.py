"""The header of a qcow2 image: what is refused before any program opens the file."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.images.qcow2 import HEADER_BYTES, MAGIC, read_header


def header(
    *, version: int = 3, backing: int = 0, bits: int = 16, size: int = 1 << 30, crypt: int = 0,
    features: int = 0,
) -> bytes:  # fmt: skip
    """A header of these fields."""
    fields = struct.pack(">4sIQIIQI", MAGIC, version, backing, 0, bits, size, crypt)
    return (fields.ljust(72, b"\0") + struct.pack(">Q", features)).ljust(HEADER_BYTES, b"\0")


@pytest.mark.parametrize("version", [2, 3])
def test_plain_header_says_the_disks_size(version: int) -> None:
    assert read_header(header(version=version)) == (version, 1 << 30)


def test_dirty_compressed_and_extended_images_are_taken() -> None:
    assert read_header(header(features=0b11001)).disk_bytes == 1 << 30


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (header(backing=4096), "backing file"),
        (header(crypt=1), "encrypted"),
        (header(crypt=2), "encrypted"),
        (header(features=0b100), "data in another file"),
        (header(features=0b10), "corrupt"),
        (header(features=1 << 60), "not known"),
        (header(version=4), "version 4"),
        (header(version=1), "version 1"),
        (header(bits=40), "clusters"),
        (header()[:20], "cut off"),
        (header()[:80], "cut off"),
        (b"RAW", "no qcow2"),
        (b"", "no qcow2"),
    ],
)
def test_header_that_names_other_files_or_is_not_whole_is_refused(
    head: bytes, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        read_header(head)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_header_or_a_reason(tail: bytes) -> None:
    try:
        found = read_header(MAGIC + tail)
    except ValueError as error:
        assert str(error)
    else:
        assert found.version in (2, 3)
