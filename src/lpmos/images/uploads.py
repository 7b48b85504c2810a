"""Images that come in pieces: each piece is on the disk before it is acknowledged.

    <images_dir>/.unfinished-upload-<id>/fields.json    what the image shall be
    <images_dir>/.unfinished-upload-<id>/data           the bytes so far
    <images_dir>/.unfinished-upload-<id>/lock           held by who changes anything of it

The rule: one process at a time brings, finishes or removes an upload, of all that share the
directory; the kernel frees the lock of one that ends. The id is made of the image's name and
digest, so that who begins the same upload again goes on where it was. One that nobody goes on with
for a day is removed. When the last byte is there the digest is computed, a disk image is converted,
and the image enters the catalog; a wrong digest, or bytes that are no image of what they are said
to be, end the upload.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import os
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from io import FileIO
from pathlib import Path
from typing import IO, TypeVar

import msgspec

from lpmos.images.atomic import (
    UNFINISHED,
    remove_directory,
    scratch_directory,
    sha256_of,
    sync_directory,
    write_file,
)
from lpmos.images.catalog import Catalog, ImageFields
from lpmos.images.catalog_files import writing
from lpmos.images.conversion import SourceFormat, check_beginning, convert
from lpmos.model.errors import Conflict, FieldProblem, InvalidInput, NotFound
from lpmos.model.image import ImageManifest

LOCK_TIMEOUT_S = 60.0
"""How long one process waits for another to let an upload go."""
LOCK_POLL_S = 0.1

_ID = re.compile(r"[0-9a-f]{32}")

T = TypeVar("T")


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """An image on its way in, as `source_format`; `offset` bytes of `size_bytes` are safe."""

    upload_id: str
    fields: ImageFields
    sha256: str
    size_bytes: int
    source_format: SourceFormat = "tar.zst"
    offset: int = 0


class Uploads:
    """The unfinished uploads of one images directory."""

    def __init__(
        self, images_dir: Path, catalog: Catalog, *, lock_timeout_s: float = LOCK_TIMEOUT_S
    ) -> None:
        self._directory = images_dir
        self._catalog = catalog
        self._lock_timeout_s = lock_timeout_s

    def begin(
        self,
        fields: ImageFields,
        sha256: str,
        size_bytes: int,
        source_format: SourceFormat = "tar.zst",
    ) -> Upload:
        """Begin an upload, or find the one that was begun with the same name and digest.

        Raises:
            Conflict: it was begun with another size or other fields.
            ImageError: the images directory cannot be written.
        """
        name = f"{fields.name}\0{sha256}".encode()
        upload_id = hashlib.sha256(name).hexdigest()[:32]
        upload = Upload(
            upload_id=upload_id,
            fields=fields,
            sha256=sha256,
            size_bytes=size_bytes,
            source_format=source_format,
        )
        if self._place(upload_id).exists() or not self._make(upload):
            known = self.show(upload_id)
            was = (known.fields, known.size_bytes, known.source_format)
            if was != (fields, size_bytes, source_format):
                raise Conflict(
                    "this upload was begun with other fields or another size; delete it first"
                )
            return known
        return upload

    def _make(self, upload: Upload) -> bool:
        """The upload's directory, with all that belongs into it; False where another made it."""
        with writing(self._directory), scratch_directory(self._directory) as scratch:
            (scratch / "data").touch()
            write_file(scratch / "fields.json", msgspec.json.encode(upload))
            try:
                scratch.rename(self._place(upload.upload_id))
            except OSError:
                if not self._place(upload.upload_id).exists():
                    raise
                return False
            sync_directory(self._directory)
        return True

    @asynccontextmanager
    async def alone(self, upload_id: str) -> AsyncIterator[None]:
        """Hold an upload, so that no other process that shares the directory changes it.

        Raises:
            NotFound: there is no such upload, or it was finished or removed meanwhile.
            Conflict: another process held it for the whole of the time that is waited for it.
        """
        try:
            file = (self._place(upload_id) / "lock").open("ab")
        except FileNotFoundError:
            raise NotFound(f"there is no upload {upload_id[:64]}") from None
        with file:
            give_up = time.monotonic() + self._lock_timeout_s
            while not await asyncio.to_thread(_locked, file):
                if time.monotonic() >= give_up:
                    raise Conflict(
                        "another control plane takes bytes of this upload, or finishes it:"
                        " ask how far it is, and go on from there"
                    )
                await asyncio.sleep(LOCK_POLL_S)
            if os.fstat(file.fileno()).st_nlink == 0:
                raise NotFound(f"there is no upload {upload_id[:64]}")
            yield

    def show(self, upload_id: str) -> Upload:
        """How far an upload is.

        Raises:
            NotFound: there is no such upload.
        """
        place = self._place(upload_id)
        try:
            upload = msgspec.json.decode((place / "fields.json").read_bytes(), type=Upload)
            offset = (place / "data").stat().st_size
        except (FileNotFoundError, msgspec.MsgspecError):
            raise NotFound(f"there is no upload {upload_id[:64]}") from None
        return msgspec.structs.replace(upload, offset=offset)

    async def append(self, upload_id: str, offset: int, pieces: AsyncIterator[bytes]) -> Upload:
        """Write what comes at `offset`, which must be where the upload is; to be held `alone`.

        What a broken connection brought is kept: `show` says where to go on.

        Raises:
            NotFound: there is no such upload.
            Conflict: the upload is elsewhere; the text says where.
            InvalidInput: these are more bytes than were announced, or the first ones are not of
                what was announced.
            ImageError: the disk does not take them.
        """
        upload = self.show(upload_id)
        if offset != upload.offset:
            raise Conflict(f"the upload is at byte {upload.offset}; go on from there")
        path = self._place(upload_id) / "data"
        with path.open("ab", buffering=0) as file:
            try:
                async for piece in pieces:
                    _check_piece(upload, offset, piece)
                    await to_its_end(partial(self._write, file, piece))
                    offset += len(piece)
            finally:
                await to_its_end(partial(self._sync, file))
        os.utime(path.parent)
        return msgspec.structs.replace(upload, offset=offset)

    def _write(self, file: FileIO, piece: bytes) -> None:
        """Write all of it; a file without a buffer may take a part at a time."""
        left = memoryview(piece)
        with writing(self._directory):
            while left:
                left = left[file.write(left) :]

    def _sync(self, file: FileIO) -> None:
        with writing(self._directory):
            os.fsync(file.fileno())

    def finish(self, upload_id: str) -> ImageManifest:
        """Verify a whole upload, convert a disk, and put the image into the catalog.

        To be held `alone`. Takes seconds per gigabyte.

        Raises:
            NotFound: there is no such upload.
            Conflict: bytes are missing.
            InvalidInput: the digest is another one, or it is no image; the upload is gone.
            ImageError: it could not be converted here; the upload stays.
        """
        upload = self.show(upload_id)
        if upload.offset != upload.size_bytes:
            raise Conflict(f"the upload is at byte {upload.offset} of {upload.size_bytes}")
        path = self._place(upload_id) / "data"
        found = sha256_of(path)
        if found != upload.sha256:
            self.forget(upload_id)
            raise InvalidInput(
                FieldProblem("sha256", f"what came has the digest {found}; upload it again")
            )
        try:
            manifest = self._enter(upload, path)
        except InvalidInput:
            self.forget(upload_id)
            raise
        self.forget(upload_id)
        return manifest

    def _enter(self, upload: Upload, path: Path) -> ImageManifest:
        if upload.source_format == "tar.zst":
            return self._catalog.add(upload.fields, _another(path))
        image = convert(path, upload.source_format, path.parent)
        fields = msgspec.structs.replace(
            upload.fields,
            format="raw.zst",
            unpacked_bytes=image.disk_bytes,
            disk_bytes=image.disk_bytes,
            sector_bytes=image.sector_bytes,
            source_sha256=upload.sha256,
        )
        return self._catalog.add(fields, image.path)

    def forget(self, upload_id: str) -> None:
        """Remove an upload with all that came; to be held `alone`.

        Raises:
            NotFound: there is no such upload.
        """
        try:
            remove_directory(self._place(upload_id))
        except FileNotFoundError:
            raise NotFound(f"there is no upload {upload_id[:64]}") from None

    def _place(self, upload_id: str) -> Path:
        if not _ID.fullmatch(upload_id):
            raise NotFound(f"there is no upload {upload_id[:64]}")
        return self._directory / f"{UNFINISHED}upload-{upload_id}"


async def to_its_end(work: Callable[[], T]) -> T:
    """Do what an upload is held `alone` for in a thread; who is cancelled waits for its end.

    A disk makes who writes to it wait, and the others of this process shall not.

    A thread goes on whatever becomes of who waits for it, so it may not be without the lock.
    """
    done = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        return await asyncio.shield(done)
    except asyncio.CancelledError:
        while not done.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([done])
        done.exception()  # taken, so that nobody is told of it: the caller is gone
        raise


def _another(path: Path) -> Path:
    """Another name of a file, to be given away: what is known by the first one stays."""
    other = path.with_name("archive")
    other.unlink(missing_ok=True)
    try:
        other.hardlink_to(path)
    except OSError:  # a file system without such links
        return path
    return other


def _locked(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _check_piece(upload: Upload, offset: int, piece: bytes) -> None:
    if offset + len(piece) > upload.size_bytes:
        raise InvalidInput(FieldProblem("body", f"has more than {upload.size_bytes} bytes"))
    if offset == 0 and piece:
        check_beginning(upload.source_format, piece)
