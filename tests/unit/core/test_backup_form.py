"""The file of a backup: what is written is read, and nothing that was changed passes."""

import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from lpmos.core.backup import form
from lpmos.core.backup.form import (
    HEAD_BYTES,
    BackupWriter,
    Manifest,
    Record,
    read_manifest,
    read_records,
)
from lpmos.model.errors import DamagedBackup

NOW = datetime(2026, 1, 2, tzinfo=UTC)
RECORDS = st.lists(
    st.builds(Record, st.text(st.characters(exclude_categories=["Cs"])), st.binary(max_size=300)),
    max_size=40,
)


def written(path: Path, records: list[Record]) -> Manifest:
    """A backup of these records."""
    writer = BackupWriter(path)
    writer.add(records)
    manifest = writer.tally.manifest(made_at=NOW, cluster="c", version="1", revision=7)
    writer.seal(manifest)
    return manifest


def read(path: Path) -> list[Record]:
    return [record for batch in read_records(path) for record in batch]


@given(RECORDS)
@settings(max_examples=60)
def test_form_records_are_read_as_they_were_written(records: list[Record]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "a"
        manifest = written(path, records)
        assert read(path) == records
        assert read_manifest(path) == manifest
        assert manifest.records == len(records) == sum(manifest.counts.values())


@given(RECORDS, st.data())
@settings(max_examples=150)
def test_form_a_changed_file_is_refused_or_reads_the_same(
    records: list[Record], data: st.DataObject
) -> None:
    """Blanks after the manifest say nothing; every other byte counts."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "a"
        manifest = written(path, records)
        content = bytearray(path.read_bytes())
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] ^= data.draw(st.integers(1, 255))
        path.write_bytes(content)
        try:
            assert (read_manifest(path), read(path)) == (manifest, records)
        except DamagedBackup:
            return


@given(st.binary(max_size=6000))
@settings(max_examples=60)
def test_form_anything_else_is_refused(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "a"
        path.write_bytes(content)
        with pytest.raises(DamagedBackup):
            read(path)


@pytest.mark.parametrize("left", [0, 100, HEAD_BYTES, HEAD_BYTES + 10, -1])
def test_form_a_file_that_was_cut_is_refused(tmp_path: Path, left: int) -> None:
    path = tmp_path / "a"
    written(path, [Record(f"/os/{number}", bytes(50)) for number in range(1000)])
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(DamagedBackup):
        read(path)


def test_form_what_was_added_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a"
    written(path, [Record("/os/a", b"1")])
    path.write_bytes(path.read_bytes() + zstd.compress(b"more"))
    with pytest.raises(DamagedBackup, match="added"):
        read(path)


def test_form_a_record_that_was_exchanged_is_refused(tmp_path: Path) -> None:
    """Whoever compresses other records anew has to change the manifest too."""
    one, other = tmp_path / "a", tmp_path / "b"
    written(one, [Record("/os/a", b"1")])
    written(other, [Record("/os/a", b"2")])
    one.write_bytes(one.read_bytes()[:HEAD_BYTES] + other.read_bytes()[HEAD_BYTES:])
    with pytest.raises(DamagedBackup, match="manifest"):
        read(one)


def test_form_a_record_of_impossible_size_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "a"
    written(path, [])
    huge = (form.RECORD_LIMIT_BYTES + 1).to_bytes(4, "big")
    path.write_bytes(path.read_bytes()[:HEAD_BYTES] + zstd.compress(huge))
    with pytest.raises(DamagedBackup, match="cannot be"):
        read(path)


def test_form_zstd_itself_passes_over_the_manifest(tmp_path: Path) -> None:
    path = tmp_path / "a"
    record = Record("/os/a", b"1")
    written(path, [record])
    assert zstd.decompress(path.read_bytes()) == form.framed(record)


def test_form_only_the_owner_may_read_it(tmp_path: Path) -> None:
    written(tmp_path / "a", [])
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
