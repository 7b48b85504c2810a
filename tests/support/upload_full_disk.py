"""A process that uploads an image to a full disk, makes space, and reports what it saw.

    python -m tests.support.upload_full_disk <directory> <bytes of a piece>

The directory is a small file system of its own. One JSON object is printed.
"""

import asyncio
import hashlib
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from lpmos.images.catalog import Catalog, ImageFields
from lpmos.images.conversion import ZSTD_MAGIC
from lpmos.images.uploads import Uploads
from lpmos.model.errors import ImageError

BALLAST_BYTES = 2_000_000
CONTENT = ZSTD_MAGIC + os.urandom(3_000_000)
FIELDS = ImageFields(
    name="debian-13",
    family="debian",
    os_type="debian",
    os_version="13",
    unpacked_bytes=1,
)


async def _pieces(offset: int, piece_bytes: int) -> AsyncIterator[bytes]:
    for at in range(offset, len(CONTENT), piece_bytes):
        yield CONTENT[at : at + piece_bytes]


async def _report(directory: Path, piece_bytes: int) -> dict[str, Any]:
    ballast = directory / "ballast"
    ballast.write_bytes(bytes(BALLAST_BYTES))
    uploads = Uploads(directory / "images", Catalog(directory / "images"))
    digest = hashlib.sha256(CONTENT).hexdigest()
    upload_id = uploads.begin(FIELDS, digest, len(CONTENT)).upload_id
    said = ""
    async with uploads.alone(upload_id):
        try:
            await uploads.append(upload_id, 0, _pieces(0, piece_bytes))
        except ImageError as error:
            said = str(error)
        kept = uploads.show(upload_id).offset
        ballast.unlink()
        await uploads.append(upload_id, kept, _pieces(kept, piece_bytes))
        image = uploads.finish(upload_id)
    return {"said": said, "kept": kept, "whole": image.sha256 == digest}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_report(Path(sys.argv[1]), int(sys.argv[2])))))
