"""One file from the source to the disk: goes on where it is, and is believed by its digest only.

The rule: memory does not grow with the file; what came stays on the disk whatever ends the call,
except what has the wrong digest, which is removed, so that the next try begins anew.
"""

import asyncio
import errno
import hashlib
from collections.abc import Callable
from contextlib import aclosing
from io import FileIO
from pathlib import Path

from lpmos.images.atomic import CHUNK_BYTES, sync_file
from lpmos.model.fetching import MEGABYTE
from lpmos.model.installer import FileRef
from lpmos.region.image_source import Calls, NotFetched

RESERVE_BYTES = 1 << 30
"""What stays free: the words of a time without the store may take as much."""
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
LOOK_EVERY_BYTES = 64 << 20
"""How often the free room is looked at while a file is written."""


async def download(
    calls: Calls,
    file: FileRef,
    path: Path,
    came: Callable[[int], None],
    free_bytes: Callable[[], int],
) -> None:
    """Bring a file to `path`, where its first bytes may be; whole and on the disk at the end.

    Args:
        calls: to the source.
        file: what it has to be.
        path: where.
        came: told of each piece that was written, in bytes.
        free_bytes: of the disk that it is written to.

    Raises:
        NotFetched: it could not be had, or is another; what came of the right one stays, unless
            the disk is full.
    """
    try:
        digest, offset = await asyncio.to_thread(_begun, path, file.size_bytes)
        looked_at = offset
        with path.open("ab", buffering=0) as target:
            if offset < file.size_bytes:
                async with aclosing(calls.file(file.sha256, offset)) as pieces:
                    async for piece in pieces:
                        offset += len(piece)
                        if offset > file.size_bytes:
                            break
                        await asyncio.to_thread(_take, target, piece, digest)
                        came(len(piece))
                        if offset - looked_at >= LOOK_EVERY_BYTES:
                            looked_at = offset
                            lacking = file.size_bytes - offset
                            check_room(lacking, free_bytes(), path.parent.parent)
        if offset < file.size_bytes:
            text = (
                f"{file.file} ended at byte {offset} of {file.size_bytes}: look at it on the"
                " control plane (`lpmos image verify`)"
            )
            raise NotFetched("broken", text)
        if offset > file.size_bytes or digest.hexdigest() != file.sha256:
            await asyncio.to_thread(path.unlink)
            raise NotFetched(
                "digest",
                f"{file.file} came with another SHA-256 than the list says: look at it on the"
                " control plane (`lpmos image verify`); it is fetched anew",
            )
        await asyncio.to_thread(sync_file, path)
    except OSError as error:
        if error.errno in NO_ROOM:
            await asyncio.to_thread(path.unlink, missing_ok=True)
        raise _disk(error, path) from error


def check_room(needed_bytes: int, free_bytes: int, place: Path) -> None:
    """Look whether what is to be fetched fits.

    Raises:
        NotFetched: says what is needed, and where.
    """
    if needed_bytes + RESERVE_BYTES <= free_bytes:
        return
    raise NotFetched(
        "space",
        f"{needed_bytes / MEGABYTE:.1f} MB more are needed in {place}, beside"
        f" {RESERVE_BYTES >> 30} GiB that stay free; {free_bytes / MEGABYTE:.1f} MB are free:"
        " make room, or give images_dir a larger disk",
    )


def _begun(path: Path, size_bytes: int) -> "tuple[hashlib._Hash, int]":
    """The digest of what is there, and how much that is; more than the whole is removed."""
    digest, offset = hashlib.sha256(), 0
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
                offset += len(chunk)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
    if offset <= size_bytes:
        return digest, offset
    path.unlink()
    return hashlib.sha256(), 0


def _take(target: FileIO, piece: bytes, digest: "hashlib._Hash") -> None:
    """Write all of it; a file without a buffer may take a part at a time."""
    left = memoryview(piece)
    while left:
        left = left[target.write(left) :]
    digest.update(piece)


def _disk(error: OSError, path: Path) -> NotFetched:
    if error.errno in NO_ROOM:
        return NotFetched("space", f"the disk of {path.parent.parent} is full: make room there")
    text = f"{path.parent.parent} cannot be written ({error}): look at the disk and its rights"
    return NotFetched("disk", text, whole=True)
