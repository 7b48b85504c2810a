"""What the parts of the catalog have in common: how a file of it is checked and written.

The rule: whatever cannot be read or written is an `ImageError` that says what to do.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from lpmos.images.atomic import sha256_of
from lpmos.model.errors import ImageError

MANIFEST = "manifest.json"

Stamp = tuple[int, int, int]
MISSING: Stamp = (0, 0, 0)


@contextmanager
def writing(directory: Path) -> Iterator[None]:
    """Say what to do where the images directory cannot be written."""
    try:
        yield
    except OSError as error:
        raise ImageError(
            f"nothing can be put into the images directory {directory} ({error}): name a directory"
            " that this user may write, on a disk with room"
        ) from error


def document(manifest: msgspec.Struct) -> bytes:
    """A manifest as it stands in its file."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def stamp_of(path: Path) -> Stamp:
    """What changes when a file is written again."""
    try:
        status = path.stat()
    except OSError:
        return MISSING
    return (status.st_mtime_ns, status.st_size, status.st_ino)


def check_size(path: Path, size_bytes: int, advice: str) -> None:
    """Compare a file's size with its manifest's.

    Raises:
        ImageError: it is another, or the file cannot be read; `advice` says what to do.
    """
    try:
        found = path.stat().st_size
    except OSError as error:
        raise ImageError(f"the file {path} cannot be read ({error.strerror}): {advice}") from error
    if found != size_bytes:
        raise ImageError(
            f"the file {path} has {found} bytes, its manifest says {size_bytes}: {advice}"
        )


def check_digest(path: Path, sha256: str, advice: str) -> None:
    """Read a file and compare its digest with its manifest's.

    Raises:
        ImageError: it is another, or the file cannot be read; `advice` says what to do.
    """
    try:
        found = sha256_of(path)
    except OSError as error:
        raise ImageError(f"the file {path} cannot be read ({error.strerror}): {advice}") from error
    if found != sha256:
        raise ImageError(
            f"the file {path} is damaged: its SHA-256 is {found}, its manifest says {sha256};"
            f" {advice}"
        )
