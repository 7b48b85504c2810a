"""Files that appear whole or not at all: written beside their place, synced, then renamed."""

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHUNK_BYTES = 1 << 20
UNFINISHED = ".unfinished-"
"""Prefix of names that nobody but their writer looks at."""
ABANDONED_S = 24 * 3600.0
"""A scratch directory that is older belongs to a writer that was killed."""


def write_file(path: Path, content: bytes) -> None:
    """Put `content` at `path`; a reader sees the old or the new one, also after a power cut."""
    descriptor, name = tempfile.mkstemp(prefix=UNFINISHED, dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def point_link(link: Path, target: str) -> None:
    """Make `link` a symbolic link to `target` in one step, in place of whatever link it was."""
    new = link.with_name(f"{UNFINISHED}{os.getpid()}-{link.name}")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    new.replace(link)
    sync_directory(link.parent)


@contextmanager
def scratch_directory(parent: Path) -> Iterator[Path]:
    """A directory on the file system of `parent` that is gone afterwards, unless it was renamed.

    Those that killed writers left in `parent` are removed as well.
    """
    parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(parent)
    path = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=parent))
    try:
        path.chmod(0o755)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def remove_directory(path: Path) -> None:
    """Remove a directory, which is there as a whole or not at all; a full disk is no hindrance.

    What a killed process leaves of it is removed as a scratch directory is.

    Raises:
        OSError: it is not there, or the directory above cannot be written.
    """
    gone = path.with_name(f"{UNFINISHED}{os.urandom(8).hex()}")
    path.rename(gone)
    if gone.is_symlink():
        gone.unlink()
    shutil.rmtree(gone, ignore_errors=True)


def _remove_abandoned(parent: Path) -> None:
    oldest = time.time() - ABANDONED_S
    for path in parent.glob(f"{UNFINISHED}*"):
        if path.is_dir() and path.stat().st_mtime < oldest:
            shutil.rmtree(path, ignore_errors=True)


def sync_file(path: Path) -> None:
    """Wait until the bytes of `path` are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


sync_directory = sync_file
"""Wait until the names in a directory are on the disk."""


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes in lower-case hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
