"""Images that come in pieces: each piece is on the disk before it is acknowledged.

    <images_dir>/.unfinished-upload-<id>/fields.json    what the image shall be
    <images_dir>/.unfinished-upload-<id>/data           the bytes so far

The id is made of the image's name and digest, so that who begins the same upload again goes on
where it was. One that nobody goes on with for a day is removed. When the last byte is there the
digest is computed, a disk image is converted, and the image enters the catalog; a wrong digest, or
bytes that are no image of what they are said to be, end the upload.
"""

import hashlib
import os
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from lpmos.images.atomic import UNFINISHED, sha256_of, sync_directory, write_file
from lpmos.images.catalog import Catalog, ImageFields
from lpmos.images.conversion import SourceFormat, check_beginning, convert
from lpmos.model.errors import Conflict, FieldProblem, InvalidInput, NotFound
from lpmos.model.image import ImageManifest

_ID = re.compile(r"[0-9a-f]{32}")


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

    def __init__(self, images_dir: Path, catalog: Catalog) -> None:
        self._directory = images_dir
        self._catalog = catalog

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
        """
        name = f"{fields.name}\0{sha256}".encode()
        upload_id = hashlib.sha256(name).hexdigest()[:32]
        place = self._place(upload_id)
        if place.exists():
            known = self.show(upload_id)
            was = (known.fields, known.size_bytes, known.source_format)
            if was != (fields, size_bytes, source_format):
                raise Conflict(
                    "this upload was begun with other fields or another size; delete it first"
                )
            return known
        place.mkdir(parents=True)
        (place / "data").touch()
        upload = Upload(
            upload_id=upload_id,
            fields=fields,
            sha256=sha256,
            size_bytes=size_bytes,
            source_format=source_format,
        )
        write_file(place / "fields.json", msgspec.json.encode(upload))
        sync_directory(self._directory)
        return upload

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
        """Write what comes at `offset`, which must be where the upload is.

        What a broken connection brought is kept: `show` says where to go on.

        Raises:
            NotFound: there is no such upload.
            Conflict: the upload is elsewhere; the text says where.
            InvalidInput: these are more bytes than were announced, or the first ones are not of
                what was announced.
        """
        upload = self.show(upload_id)
        if offset != upload.offset:
            raise Conflict(f"the upload is at byte {upload.offset}; go on from there")
        path = self._place(upload_id) / "data"
        with path.open("ab", buffering=0) as file:
            try:
                async for piece in pieces:
                    _check_piece(upload, offset, piece)
                    file.write(piece)
                    offset += len(piece)
            finally:
                os.fsync(file.fileno())
        os.utime(path.parent)
        return msgspec.structs.replace(upload, offset=offset)

    def finish(self, upload_id: str) -> ImageManifest:
        """Verify a whole upload, convert a disk, and put the image into the catalog.

        Takes seconds per gigabyte.

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
            return self._catalog.add(upload.fields, path)
        image = convert(path, upload.source_format, path.parent)
        fields = msgspec.structs.replace(
            upload.fields,
            format="raw.zst",
            unpacked_bytes=image.disk_bytes,
            disk_bytes=image.disk_bytes,
            source_sha256=upload.sha256,
        )
        return self._catalog.add(fields, image.path)

    def forget(self, upload_id: str) -> None:
        """Remove an upload with all that came.

        Raises:
            NotFound: there is no such upload.
        """
        place = self._place(upload_id)
        if not place.exists():
            raise NotFound(f"there is no upload {upload_id[:64]}")
        shutil.rmtree(place)

    def _place(self, upload_id: str) -> Path:
        if not _ID.fullmatch(upload_id):
            raise NotFound(f"there is no upload {upload_id[:64]}")
        return self._directory / f"{UNFINISHED}upload-{upload_id}"


def _check_piece(upload: Upload, offset: int, piece: bytes) -> None:
    if offset + len(piece) > upload.size_bytes:
        raise InvalidInput(FieldProblem("body", f"has more than {upload.size_bytes} bytes"))
    if offset == 0 and piece:
        check_beginning(upload.source_format, piece)
