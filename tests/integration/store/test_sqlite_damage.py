"""Damaged files: the store opens with a consistent earlier state, or says what is wrong."""

import random
import shutil
from pathlib import Path

import pytest

from lpmos.store.api import Damaged, StoreError, Unavailable
from lpmos.store.sqlite import SqliteStore

PREFIX = "/os/damage/"
KEYS = 7
WRITES = 150
FIRST_REVISION = 1
_RANDOM = random.SystemRandom()


@pytest.fixture
async def files(tmp_path: Path) -> Path:
    """A store's database and write-ahead log as a killed process leaves them."""
    store = await SqliteStore.open(tmp_path / "live" / "store.db")
    for number in range(WRITES):
        await store.put(f"{PREFIX}{number % KEYS}", b"%d" % number)
    left = tmp_path / "left"
    left.mkdir()
    for name in ("store.db", "store.db-wal"):
        shutil.copy(tmp_path / "live" / name, left / name)
    await store.close()
    return left


async def _check_is_a_past_state(path: Path) -> int:
    """Every key is as it was at the revision that the store says it has; the revision."""
    store = await SqliteStore.open(path)
    try:
        page = await store.range(PREFIX)
        writes = page.revision - FIRST_REVISION
        expected = {f"{PREFIX}{number % KEYS}": b"%d" % number for number in range(writes)}
        assert {kv.key: kv.value for kv in page.kvs} == expected
        assert await store.put(f"{PREFIX}new", b"") == page.revision + 1
        return page.revision
    finally:
        await store.close()


async def test_sqlite_wal_left_by_a_kill_is_recovered_whole(files: Path) -> None:
    assert await _check_is_a_past_state(files / "store.db") == FIRST_REVISION + WRITES


async def test_sqlite_wal_cut_off_anywhere_gives_an_earlier_state(
    files: Path, tmp_path: Path
) -> None:
    size = (files / "store.db-wal").stat().st_size
    seen = set()
    for number, cut in enumerate([0, 1, 31, 33, *_RANDOM.sample(range(size), 20)]):
        copy = Path(shutil.copytree(files, tmp_path / f"cut{number}"))
        with (copy / "store.db-wal").open("r+b") as wal:
            wal.truncate(cut)
        seen.add(await _past_state_or_clear_error(copy / "store.db"))
    assert len(seen) > 5


async def test_sqlite_wal_with_wrong_bytes_gives_an_earlier_state(
    files: Path, tmp_path: Path
) -> None:
    size = (files / "store.db-wal").stat().st_size
    for number, place in enumerate(_RANDOM.sample(range(size), 20)):
        copy = Path(shutil.copytree(files, tmp_path / f"flip{number}"))
        with (copy / "store.db-wal").open("r+b") as wal:
            wal.seek(place)
            wal.write(bytes(byte ^ 0xFF for byte in wal.read(1) or b"\0"))
            wal.seek(place)
        await _past_state_or_clear_error(copy / "store.db")


async def _past_state_or_clear_error(path: Path) -> int:
    try:
        return await _check_is_a_past_state(path)
    except StoreError:
        return 0


async def test_sqlite_wal_lost_gives_an_earlier_state_or_a_clear_error(files: Path) -> None:
    (files / "store.db-wal").unlink()
    await _past_state_or_clear_error(files / "store.db")


async def test_sqlite_database_overwritten_anywhere_never_shows_an_error_of_sqlite(
    files: Path, tmp_path: Path
) -> None:
    whole = await SqliteStore.open(files / "store.db")
    await whole.close()
    size = (files / "store.db").stat().st_size
    for number in range(25):
        copy = Path(shutil.copytree(files, tmp_path / f"over{number}"))
        with (copy / "store.db").open("r+b") as database:
            database.seek(_RANDOM.randrange(size))
            database.write(_RANDOM.randbytes(200))
        try:
            store = await SqliteStore.open(copy / "store.db")
        except StoreError:
            continue
        try:
            await store.range(PREFIX)
            await store.range(PREFIX, revision=FIRST_REVISION + 5)
            await store.put(f"{PREFIX}0", b"")
            await store.delete(PREFIX, prefix=True)
        except StoreError:
            pass
        finally:
            await store.close()


async def test_sqlite_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(b"certainly not a database" * 1000)
    with pytest.raises(Damaged):
        await SqliteStore.open(path)
    assert path.read_bytes().startswith(b"certainly")


async def test_sqlite_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="file"):
        await SqliteStore.open(tmp_path / "file" / "store.db")
    (tmp_path / "directory").mkdir()
    with pytest.raises(Unavailable):
        await SqliteStore.open(tmp_path / "directory")
