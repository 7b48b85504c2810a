"""Uploaded disks into raw.zst: what comes out is what went in, and what is refused."""

import gzip
import lzma
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from lpmos.images.conversion import MAGICS, SourceFormat, check_beginning, convert
from lpmos.model.errors import ImageError, InvalidInput

MIB = 1 << 20
PIECE = 128 * 1024
DISK = bytes(510) + b"\x55\xaa" + os.urandom(PIECE) + bytes(5 * MIB) + os.urandom(PIECE)
PACKED: dict[SourceFormat, Callable[[bytes], bytes]] = {
    "raw": bytes,
    "raw.zst": zstd.compress,
    "raw.gz": gzip.compress,
    "raw.xz": lambda data: lzma.compress(data, preset=0),
}


def upload(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "data"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("form", PACKED)
def test_disk_of_every_form_comes_out_as_it_went_in(tmp_path: Path, form: SourceFormat) -> None:
    found = convert(upload(tmp_path, PACKED[form](DISK)), form, tmp_path)
    assert found.disk_bytes == len(DISK)
    assert zstd.decompress(found.path.read_bytes()) == DISK
    assert found.path.stat().st_size < 3 * PIECE


@pytest.mark.parametrize("form", ["raw.gz", "raw.xz"])
def test_disk_in_several_members_is_one_disk(tmp_path: Path, form: SourceFormat) -> None:
    pack = PACKED[form]
    content = pack(DISK[: 3 * MIB]) + pack(DISK[3 * MIB :])
    assert convert(upload(tmp_path, content), form, tmp_path).disk_bytes == len(DISK)


@pytest.mark.parametrize("form", ["raw.zst", "raw.gz", "raw.xz"])
@pytest.mark.parametrize("broken", ["cut", "changed", "followed"])
def test_compressed_disk_that_is_not_whole_is_refused(
    tmp_path: Path, form: SourceFormat, broken: str
) -> None:
    packed = PACKED[form](DISK)
    if broken == "cut":
        packed = packed[:-100]
    elif broken == "changed":
        packed = packed[: PIECE // 2] + b"\xff" * PIECE
    else:
        packed += b"something else"
    with pytest.raises(InvalidInput) as refused:
        convert(upload(tmp_path, packed), form, tmp_path)
    assert form in str(refused.value)


@pytest.mark.parametrize("form", ["raw.zst", "raw.gz", "raw.xz"])
def test_compressed_members_of_nothing_end_at_the_deadline(
    tmp_path: Path, form: SourceFormat
) -> None:
    nothing = PACKED[form](b"") * 1000
    with pytest.raises(ImageError, match="more than an hour"):
        convert(upload(tmp_path, nothing), form, tmp_path, timeout_s=-1.0)


@pytest.mark.parametrize(
    ("disk", "message"),
    [
        (bytes(4 * MIB), "no partition table"),
        (b"", "cut off"),
        (DISK[:-1], "cut off"),
    ],
)
def test_disk_that_nothing_starts_from_is_refused(
    tmp_path: Path, disk: bytes, message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        convert(upload(tmp_path, disk), "raw", tmp_path)


@pytest.mark.parametrize("of_pc", [b"\x55\xaa", bytes(2)])
@pytest.mark.parametrize("sector_bytes", [512, 4096])
def test_disk_with_a_gpt_says_of_which_sectors_it_is(
    tmp_path: Path, sector_bytes: int, of_pc: bytes
) -> None:
    head = (bytes(510) + of_pc).ljust(sector_bytes, b"\0")
    found = convert(upload(tmp_path, (head + b"EFI PART").ljust(MIB, b"\0")), "raw", tmp_path)
    assert (found.disk_bytes, found.sector_bytes) == (MIB, sector_bytes)


def test_disk_with_a_table_of_a_pc_does_not_say_of_which_sectors_it_is(tmp_path: Path) -> None:
    assert convert(upload(tmp_path, DISK), "raw", tmp_path).sector_bytes is None


@pytest.mark.parametrize("form", MAGICS)
def test_first_bytes_of_another_form_are_refused(form: SourceFormat) -> None:
    check_beginning(form, MAGICS[form] + b"rest")
    check_beginning(form, MAGICS[form][:1])
    with pytest.raises(InvalidInput):
        check_beginning(form, b"something else")


def test_raw_disk_that_is_another_form_says_which() -> None:
    check_beginning("raw", DISK[:512])
    with pytest.raises(InvalidInput, match="'qcow2'"):
        check_beginning("raw", b"QFI\xfb\0\0\0\3")
    with pytest.raises(InvalidInput, match=r"'raw\.gz'"):
        check_beginning("raw", b"\x1f\x8b\x08")


@given(st.sampled_from(["raw.zst", "raw.gz", "raw.xz"]), st.binary(max_size=300))
def test_any_bytes_are_a_disk_or_refused(
    tmp_path_factory: pytest.TempPathFactory, form: SourceFormat, tail: bytes
) -> None:
    place = tmp_path_factory.mktemp("any")
    with pytest.raises(InvalidInput):
        convert(upload(place, MAGICS[form] + tail), form, place)
