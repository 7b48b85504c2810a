"""The store's files: the lock that keeps a second process out, copies, and sizes."""

import fcntl
import os
import sqlite3
from pathlib import Path

from lpmos.store.api import InvalidRequest, NoSpace, StoreError, StoreLocked, Unavailable
from lpmos.store.sqlite.schema import store_error

OWNER_ONLY = 0o600


class FileLock:
    """An advisory lock beside the database; the kernel drops it with the process."""

    def __init__(self, database: Path) -> None:
        """Take the lock.

        Raises:
            StoreLocked: another process, or another store of this one, has it.
            Unavailable: the directory cannot be used.
        """
        path = database.with_name(f"{database.name}.lock")
        try:
            database.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, OWNER_ONLY)
        except OSError as error:
            raise Unavailable(f"the store's directory cannot be used: {error}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._file)
            raise StoreLocked(
                f"{database} is open in another process; stop that, or use etcd for several"
            ) from error

    def release(self) -> None:
        """Let others open the store."""
        os.close(self._file)


def create_private(database: Path) -> None:
    """Make sure that the database exists and that only its owner reads it."""
    try:
        os.close(os.open(database, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, OWNER_ONLY))
    except OSError as error:
        raise Unavailable(f"the store's file cannot be opened: {error}") from error


def copy_database(source: sqlite3.Connection, target: Path) -> None:
    """Write the database as it is now to a new file; `target` appears only when complete.

    Raises:
        InvalidRequest: `target` exists or its directory cannot be written.
        NoSpace: there is no room for it.
    """
    if target.exists():
        raise InvalidRequest(f"{target} exists; a snapshot is written to a new file")
    partial = target.with_name(f"{target.name}.partial")
    partial.unlink(missing_ok=True)
    try:
        _copy(source, partial)
        partial.rename(target)
        _sync_directory(target.parent)
    except OSError as error:
        raise InvalidRequest(f"the snapshot cannot be written: {error}") from error
    finally:
        partial.unlink(missing_ok=True)


def size_bytes(database: Path) -> int:
    """How much disk the store takes, write-ahead log included."""
    files = (database, database.with_name(f"{database.name}-wal"))
    return sum(file.stat().st_size for file in files if file.exists())


def _copy(source: sqlite3.Connection, target: Path) -> None:
    os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, OWNER_ONLY))
    copy = sqlite3.connect(target, isolation_level=None)
    try:
        source.backup(copy)
    except sqlite3.Error as error:
        raise _snapshot_error(error) from error
    finally:
        copy.close()


def _snapshot_error(error: sqlite3.Error) -> StoreError:
    meaning = store_error(error)
    if isinstance(meaning, NoSpace):
        return NoSpace("there is no room for the snapshot; the store itself goes on")
    return meaning


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
