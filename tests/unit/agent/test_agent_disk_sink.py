"""Bytes of a disk into a file, where nobody zeroes ranges: they are written."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lpmos.agent.disksink import BLOCK_BYTES, DiskSink
from lpmos.agent.errors import InstallError

BLOCKS = st.lists(
    st.sampled_from([bytes(BLOCK_BYTES), b"\1" * BLOCK_BYTES, bytes(BLOCK_BYTES - 1) + b"\2"]),
    max_size=6,
)


@settings(max_examples=20, deadline=None)
@given(BLOCKS, st.binary(max_size=100))
def test_disk_holds_exactly_what_was_given_over_an_old_system(
    tmp_path_factory: pytest.TempPathFactory, blocks: list[bytes], tail: bytes
) -> None:
    disk = tmp_path_factory.mktemp("sink") / "disk"
    disk.write_bytes(b"old" * 3_000_000)
    wanted = b"".join(blocks) + tail
    sink = DiskSink(disk, len(wanted), "debian-12")
    for block in [*blocks, *([tail] if tail else [])]:
        sink.take(block)
    sink.finish()
    sink.close()
    assert disk.read_bytes()[: len(wanted)] == wanted


def test_disk_that_is_full_says_so() -> None:
    sink = DiskSink(Path("/dev/full"), 10, "debian-12")
    with pytest.raises(InstallError) as failed:
        sink.take(b"0123456789")
    sink.close()
    assert "No space left on device" in failed.value.output
    assert "too small" in failed.value.hint


def test_disk_that_is_gone_says_so(tmp_path: Path) -> None:
    with pytest.raises(InstallError, match="cannot be written to"):
        DiskSink(tmp_path / "none", 10, "debian-12")


@pytest.mark.parametrize("given_bytes", [9, 11])
def test_more_or_fewer_bytes_than_planned_are_an_error(tmp_path: Path, given_bytes: int) -> None:
    disk = tmp_path / "disk"
    disk.touch()
    sink = DiskSink(disk, 10, "debian-12")
    with pytest.raises(InstallError, match="not of the disk that its manifest says"):
        sink.take(b"x" * given_bytes)
        sink.finish()
    sink.close()
