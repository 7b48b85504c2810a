"""`lpmos image upload`: an archive in pieces, each told where it belongs.

The server says how much it has; so a lost connection costs one piece, and a command that is called
again goes on where the last one ended.
"""

import argparse
import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple
from urllib.parse import quote

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from lpmos.cli.client import Client, Content, Document
from lpmos.cli.connect import connect
from lpmos.cli.display import Display
from lpmos.cli.failures import NoAnswer, Refused, Usage
from lpmos.cli.image import FORMATS

PIECE_BYTES = 8 << 20
CHUNK_BYTES = 1 << 16
PIECE_TIMEOUT_S = 3900.0
"""The last piece is answered when the whole image is verified, and a disk converted."""

LOST_PIECES = 8
"""So many in a row are tried again."""

PAUSE_S = 1.0


class Archive(NamedTuple):
    """A file, and what is to be said of the image that it is."""

    file: Path
    fields: Document


def upload(chosen: argparse.Namespace) -> None:
    """Upload one image."""
    archive = _archive(chosen)
    display = Display(chosen)
    size_bytes = archive.file.stat().st_size
    fields = {**archive.fields, "size_bytes": size_bytes}
    with connect(chosen) as client, _bar(display, size_bytes) as shown:
        if "sha256" not in fields:
            fields["sha256"] = _digest(archive.file, shown)
        begun = client.call("POST", "images/uploads", fields).document
        if begun["offset"]:
            display.note(f"going on with upload {begun['upload_id']} at {begun['offset']} bytes")
        with archive.file.open("rb") as file:
            ended = _send(client, file, begun, fields, lambda done: shown("uploading", done))
    image = ended["image"] or {}
    said = f"{chosen.name} is there: SHA-256 {image.get('sha256', fields['sha256'])}"
    display.result(image, chosen.name, said)


def cancel(chosen: argparse.Namespace) -> None:
    """Give an upload up."""
    with connect(chosen) as client:
        client.call("DELETE", f"images/uploads/{chosen.upload_id}")
    Display(chosen).done(chosen.upload_id, f"gave up {chosen.upload_id}")


def _archive(chosen: argparse.Namespace) -> Archive:
    """The file and its fields, from the flags or from a catalog of this machine.

    Raises:
        Usage: something is missing.
    """
    if chosen.file is None:
        return _from_catalog(chosen)
    form = chosen.format or _format_of(chosen.file)
    needed = ["family", "os", *(["unpacked_bytes"] if form == "tar.zst" else [])]
    missing = [name for name in needed if not getattr(chosen, name)]
    if missing:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in missing)
        raise Usage(f"with --file these are needed too: {flags}")
    if not chosen.file.is_file():
        raise Usage(f"{chosen.file} is no file")
    fields = {
        "name": chosen.name,
        "family": chosen.family,
        "os_type": chosen.os[0],
        "os_version": chosen.os[1],
        "source_format": form,
        "architecture": chosen.architecture,
        "first_boot": chosen.first_boot,
        "cloud_init": chosen.cloud_init,
        "network": chosen.network,
        "unpacked_bytes": chosen.unpacked_bytes,
    }
    return Archive(
        chosen.file, {name: value for name, value in fields.items() if value is not None}
    )


def _format_of(file: Path) -> str:
    """What a file's name says that it is.

    Raises:
        Usage: it says nothing that is known.
    """
    name = file.name.lower().replace(".img", ".raw")
    for form in FORMATS:
        if name.endswith(f".{form}"):
            return form
    raise Usage(f"the name {file.name} does not say what it is: give --format")


def _from_catalog(chosen: argparse.Namespace) -> Archive:
    from lpmos.cli.image import IMAGES_DIR
    from lpmos.images.catalog import Catalog

    directory = chosen.images_dir or IMAGES_DIR
    image = Catalog(directory).load(chosen.name)
    names = ["name", "family", "os_type", "os_version", "sha256", "first_boot"]
    names += ["network", "cloud_init"] if image.whole_disk else ["unpacked_bytes"]
    fields = {name: getattr(image, name) for name in names}
    return Archive(directory / image.name / image.file, {**fields, "source_format": image.format})


def _send(
    client: Client,
    file: BinaryIO,
    begun: Document,
    fields: Document,
    shown: Callable[[int], None],
) -> Document:
    """Send what the server has not got; its last answer."""
    now, lost = begun, 0
    while now["offset"] < now["size_bytes"] or now["image"] is None:
        shown(now["offset"])
        try:
            now = _send_piece(client, file, now, shown)
            lost = 0
        except (NoAnswer, Refused) as error:
            lost += 1
            worth_it = isinstance(error, NoAnswer) or error.status in (409, 429, 502, 503, 504)
            if not worth_it or lost > LOST_PIECES:
                raise
            time.sleep(PAUSE_S)
            now = _where(client, begun, fields)
    shown(now["size_bytes"])
    return now


def _where(client: Client, begun: Document, fields: Document) -> Document:
    """How far the upload is; one whose last answer was lost has become the image."""
    try:
        found: Document = client.get(f"images/uploads/{begun['upload_id']}")
    except Refused as error:
        if error.status != 404:
            raise
        image = client.get(f"images/{quote(begun['name'], safe='')}")
        if fields["sha256"] not in (image["sha256"], image["source_sha256"]):
            raise
        return {**begun, "offset": begun["size_bytes"], "image": image}
    return found


def _send_piece(
    client: Client, file: BinaryIO, now: Document, shown: Callable[[int], None]
) -> Document:
    length = min(PIECE_BYTES, now["size_bytes"] - now["offset"])
    file.seek(now["offset"])

    def chunks() -> Iterator[bytes]:
        sent = 0
        while sent < length:
            chunk = file.read(min(CHUNK_BYTES, length - sent))
            if not chunk:
                raise Usage("the file became shorter while it was sent")
            sent += len(chunk)
            shown(now["offset"] + sent)
            yield chunk

    piece = Content("application/octet-stream", str(length), chunks())
    answer = client.call(
        "PATCH",
        f"images/uploads/{now['upload_id']}",
        content=piece,
        headers={"Upload-Offset": str(now["offset"])},
        timeout_s=PIECE_TIMEOUT_S,
    )
    found: Document = answer.document
    return found


def _digest(file: Path, shown: Callable[[str, int], None]) -> str:
    digest = hashlib.sha256()
    done = 0
    with file.open("rb") as content:
        while chunk := content.read(1 << 20):
            digest.update(chunk)
            done += len(chunk)
            shown("reading", done)
    return digest.hexdigest()


@contextmanager
def _bar(display: Display, total_bytes: int) -> Iterator[Callable[[str, int], None]]:
    """A bar on standard error in a terminal; nothing elsewhere."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=display.notes, disable=not display.notes.is_terminal) as bars:
        row = bars.add_task("", total=total_bytes)

        def show(what: str, done: int) -> None:
            bars.update(row, description=what, completed=done)

        yield show
