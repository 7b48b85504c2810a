"""qcow2 into raw.zst by the real `qemu-img`: plain ones, and those that name other files."""

import subprocess
from pathlib import Path

import pytest
from backports import zstd

from lpmos.images.conversion import convert
from lpmos.model.errors import ImageError, InvalidInput

MIB = 1 << 20
DISK = (bytes(510) + b"\x55\xaa" + bytes(MIB) + b"data" * 1000).ljust(16 * MIB, b"\0")


def qemu_img(*arguments: str | Path) -> None:
    """Run it as a maker of images does."""
    subprocess.run(["qemu-img", *arguments], check=True, capture_output=True)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    path = tmp_path / "made.raw"
    path.write_bytes(DISK)
    return path


@pytest.mark.parametrize("options", [(), ("-c",), ("-o", "compat=0.10")])
def test_qcow2_of_every_kind_comes_out_as_the_disk_that_it_is(
    tmp_path: Path, raw: Path, options: tuple[str, ...]
) -> None:
    qemu_img("convert", "-f", "raw", "-O", "qcow2", *options, raw, tmp_path / "data")
    found = convert(tmp_path / "data", "qcow2", tmp_path, spare_bytes=0)
    assert found.disk_bytes == len(DISK)
    assert zstd.decompress(found.path.read_bytes()) == DISK
    assert not (tmp_path / "disk.raw").exists()


def test_qcow2_over_a_file_of_this_machine_is_refused(tmp_path: Path, raw: Path) -> None:
    qemu_img("create", "-f", "qcow2", "-b", raw, "-F", "raw", tmp_path / "data")
    with pytest.raises(InvalidInput, match="backing file"):
        convert(tmp_path / "data", "qcow2", tmp_path)


def test_qcow2_with_its_data_in_another_file_is_refused(tmp_path: Path) -> None:
    other = f"data_file={tmp_path / 'other.raw'},data_file_raw=on"
    qemu_img("create", "-f", "qcow2", "-o", other, tmp_path / "data", "16M")
    with pytest.raises(InvalidInput, match="another file"):
        convert(tmp_path / "data", "qcow2", tmp_path)


def test_qcow2_that_is_cut_off_is_refused_and_leaves_nothing(tmp_path: Path, raw: Path) -> None:
    qemu_img("convert", "-f", "raw", "-O", "qcow2", raw, tmp_path / "data")
    (tmp_path / "data").write_bytes((tmp_path / "data").read_bytes()[:4096])
    with pytest.raises(InvalidInput, match="qemu-img"):
        convert(tmp_path / "data", "qcow2", tmp_path, spare_bytes=0)
    assert not (tmp_path / "disk.raw").exists()


def test_qcow2_whose_disk_has_no_room_is_refused_before_it_is_written(tmp_path: Path) -> None:
    qemu_img("create", "-f", "qcow2", tmp_path / "data", "16M")
    with pytest.raises(ImageError, match=r"bytes are free: make room"):
        convert(tmp_path / "data", "qcow2", tmp_path, spare_bytes=1 << 60)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
