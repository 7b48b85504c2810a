"""A process that removes one thing from a disk that has no room for one more name.

    python -m tests.support.remove_full_disk <directory> image|copy|installer|upload

The directory is a file system of its own, of few inodes. One JSON object is printed.
"""

import json
import sys
from itertools import count
from pathlib import Path
from typing import Any

import msgspec

from lpmos.images.catalog import Catalog
from lpmos.images.catalog_files import MANIFEST
from lpmos.images.copies import MARK, Copies, Mark
from lpmos.images.installers import DIRECTORY, InstallerFields, Installers
from lpmos.images.items import digest_of
from lpmos.images.uploads import Uploads
from tests.support.upload_full_disk import CONTENT, FIELDS

COPY = msgspec.structs.replace(FIELDS, name="debian-12")
INSTALLER = InstallerFields(
    name="debian",
    family="debian",
    os_type="debian",
    os_version="13",
    repository="http://mirror.example.net/debian",
)


def _report(directory: Path, what: str) -> dict[str, Any]:
    images, content = directory / "images", directory / "content"
    catalog, installers = Catalog(images), Installers(images)
    uploads, copies = Uploads(images, catalog), Copies(images)
    for fields in (FIELDS, COPY):
        content.write_bytes(CONTENT)
        catalog.add(fields, content)
    digest = digest_of((images / COPY.name / MANIFEST).read_bytes())
    mark = Mark(source="https://control.example", manifests=(digest,))
    (images / COPY.name / MARK).write_bytes(msgspec.json.encode(mark))
    content.write_bytes(CONTENT[:1000])
    installers.add(INSTALLER, content, content)
    upload_id = uploads.begin(FIELDS, "0" * 64, len(CONTENT)).upload_id
    (held,) = (each for each in copies.held() if each.name == COPY.name)
    (place,) = images.glob(f"*{upload_id}")
    said = ""
    try:
        for number in count():
            (directory / f"{number}").touch()
    except OSError as error:
        said = str(error)
    removals = {
        "image": (images / FIELDS.name, lambda: catalog.remove(FIELDS.name)),
        "copy": (images / COPY.name, lambda: copies.remove(held)),
        "installer": (images / DIRECTORY / "debian", lambda: installers.remove("debian")),
        "upload": (place, lambda: uploads.forget(upload_id)),
    }
    removals[what][1]()
    there = {name: path.exists() for name, (path, _) in removals.items()}
    return {"said": said, "gone": [name for name, still in there.items() if not still]}


if __name__ == "__main__":
    print(json.dumps(_report(Path(sys.argv[1]), sys.argv[2])))
