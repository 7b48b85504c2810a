"""Places in time as row ids, ranges of keys, and the meaning of SQLite's errors."""

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.store.api import Ambiguous, Damaged, NoSpace, StoreError, Unavailable
from lpmos.store.sqlite.schema import (
    PLACE_BITS,
    connect,
    prefix_end,
    prepare,
    read_standing,
    revision_of,
    row_id,
    store_error,
)

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)


@given(st.integers(0, 2**38), st.integers(0, 2**PLACE_BITS - 1))
def test_row_id_tells_its_revision_and_fits_into_sqlite(revision: int, place: int) -> None:
    row = row_id(revision, place)
    assert revision_of(row) == revision
    assert row_id(revision) <= row < row_id(revision + 1) < 2**63


@given(text.filter(bool), text, text)
def test_prefix_end_bounds_exactly_the_keys_with_the_prefix(
    prefix: str, rest: str, other: str
) -> None:
    start = prefix.encode()
    for key in (prefix + rest, other):
        inside = start <= key.encode() < prefix_end(start)
        assert inside == key.startswith(prefix)


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        (sqlite3.SQLITE_FULL, NoSpace),
        (sqlite3.SQLITE_CORRUPT, Damaged),
        (sqlite3.SQLITE_CORRUPT_VTAB, Damaged),
        (sqlite3.SQLITE_NOTADB, Damaged),
        (sqlite3.SQLITE_IOERR_FSYNC, Ambiguous),
        (sqlite3.SQLITE_IOERR_WRITE, Unavailable),
        (sqlite3.SQLITE_IOERR_READ, Unavailable),
        (sqlite3.SQLITE_BUSY, Unavailable),
        (sqlite3.SQLITE_CANTOPEN, Unavailable),
    ],
)
def test_error_of_sqlite_has_a_meaning(code: int, meaning: type[StoreError]) -> None:
    error = sqlite3.OperationalError("told by the test")
    error.sqlite_errorcode = code
    assert type(store_error(error)) is meaning


def test_error_without_a_code_means_unavailable() -> None:
    assert type(store_error(sqlite3.ProgrammingError("closed"))) is Unavailable


def _memory() -> sqlite3.Connection:
    return sqlite3.connect(":memory:", isolation_level=None)


def test_connection_has_commits_on_the_disk_before_they_return() -> None:
    connection = connect(Path(":memory:"))
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # 2 is FULL


def test_prepare_of_a_new_file_starts_at_revision_one() -> None:
    connection = _memory()
    prepare(connection)
    prepare(connection)
    assert read_standing(connection) == (1, 0, 0)


def test_prepare_of_another_programs_database_is_refused() -> None:
    connection = _memory()
    connection.execute("CREATE TABLE theirs (x)")
    with pytest.raises(Damaged, match="another program"):
        prepare(connection)


def test_prepare_of_a_newer_format_is_refused() -> None:
    connection = _memory()
    prepare(connection)
    connection.execute("PRAGMA user_version = 99")
    with pytest.raises(Damaged, match="99"):
        prepare(connection)


def test_prepare_of_a_file_without_its_revision_is_refused() -> None:
    connection = _memory()
    prepare(connection)
    connection.execute("DELETE FROM standing")
    with pytest.raises(Damaged, match="snapshot"):
        prepare(connection)
