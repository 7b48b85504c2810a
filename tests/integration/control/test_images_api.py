"""Images over HTTP: upload in pieces, resume, digests, and what may not be deleted."""

import asyncio
import errno
import hashlib
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import httpx
import pytest

from lpmos.images.atomic import UNFINISHED
from lpmos.images.catalog import Catalog
from lpmos.images.conversion import ZSTD_MAGIC
from lpmos.images.signatures import fingerprint
from tests.support.builders import make_task
from tests.support.control_plane import RunningControlPlane
from tests.support.image_signing import KEY, signature_of
from tests.support.polling import until
from tests.support.small_disk import report_of

CONTENT = ZSTD_MAGIC + bytes(range(256)) * 40
UPLOADS = "/api/v1/images/uploads"


def new_upload(**fields: Any) -> dict[str, Any]:
    """What the upload of `CONTENT` says of itself."""
    return {
        "name": "debian-13",
        "family": "debian",
        "os_type": "debian",
        "os_version": "13",
        "sha256": hashlib.sha256(CONTENT).hexdigest(),
        "size_bytes": len(CONTENT),
        "unpacked_bytes": 1_000_000,
        **fields,
    }


async def bring(api: httpx.AsyncClient, upload_id: str, offset: int, end: int) -> httpx.Response:
    """Send a part of `CONTENT`."""
    headers = {"Upload-Offset": str(offset), "Content-Type": "application/octet-stream"}
    return await api.patch(f"{UPLOADS}/{upload_id}", content=CONTENT[offset:end], headers=headers)


class HeldPiece:
    """100 bytes of `CONTENT` brought by a connection that holds the last 50 back until `end`."""

    def __init__(self, api: httpx.AsyncClient, upload_id: str, offset: int) -> None:
        self.sending, self.end = asyncio.Event(), asyncio.Event()
        self._offset = offset
        headers = {"Upload-Offset": str(offset), "Content-Type": "application/octet-stream"}
        sent = api.patch(f"{UPLOADS}/{upload_id}", content=self._pieces(), headers=headers)
        self.answer = asyncio.create_task(sent)

    async def _pieces(self) -> AsyncIterator[bytes]:
        self.sending.set()
        yield CONTENT[self._offset : self._offset + 50]
        await self.end.wait()
        yield CONTENT[self._offset + 50 : self._offset + 100]


async def wait_for_offset(api: httpx.AsyncClient, upload_id: str, offset: int) -> None:
    """Wait until an upload is there."""

    async def is_there() -> bool:
        return bool((await api.get(f"{UPLOADS}/{upload_id}")).json()["offset"] == offset)

    await until(is_there)


async def begin(api: httpx.AsyncClient, **fields: Any) -> str:
    """Begin an upload; its id."""
    begun = await api.post(UPLOADS, json=new_upload(**fields))
    assert begun.status_code == 201, begun.text
    return str(begun.json()["upload_id"])


async def test_image_uploaded_in_pieces_goes_on_where_it_was_and_is_listed(
    api: httpx.AsyncClient,
) -> None:
    upload_id = await begin(api)
    assert (await bring(api, upload_id, 0, 4000)).json()["offset"] == 4000
    again = await api.post(UPLOADS, json=new_upload())
    assert (again.json()["upload_id"], again.json()["offset"]) == (upload_id, 4000)
    assert (await api.get(f"{UPLOADS}/{upload_id}")).json()["offset"] == 4000
    last = await bring(api, upload_id, 4000, len(CONTENT))
    assert last.json()["image"]["sha256"] == hashlib.sha256(CONTENT).hexdigest()
    listed = (await api.get("/api/v1/images")).json()["images"]
    assert [(each["name"], each["size_bytes"]) for each in listed] == [("debian-13", len(CONTENT))]
    assert (await api.get(f"{UPLOADS}/{upload_id}")).status_code == 404
    assert (await api.post("/api/v1/images/debian-13/verify")).json()["error"] is None


@pytest.mark.parametrize(("said", "known"), [({"first_boot": True}, True), ({}, False)])
async def test_image_can_tell_of_its_first_boot_only_where_its_maker_says_so(
    api: httpx.AsyncClient, said: dict[str, bool], known: bool
) -> None:
    upload_id = await begin(api, **said)
    ended = await bring(api, upload_id, 0, len(CONTENT))
    assert ended.json()["image"]["first_boot"] is known
    (listed,) = (await api.get("/api/v1/images")).json()["images"]
    assert listed["first_boot"] is known


async def test_upload_that_cannot_be_begun_says_why(api: httpx.AsyncClient, tmp_path: Path) -> None:
    (tmp_path / "images").write_text("a file where the images directory would be")
    answer = await api.post(UPLOADS, json=new_upload())
    assert answer.status_code == 500 and "on a disk with room" in answer.json()["detail"]


async def test_upload_that_could_not_enter_the_catalog_is_still_whole(
    api: httpx.AsyncClient, tmp_path: Path
) -> None:
    upload_id = await begin(api)
    place = tmp_path / "images" / f"{UNFINISHED}upload-{upload_id}"
    (place / "archive").write_text("the name that a run gave away before it was killed")
    in_the_way = tmp_path / "images" / "debian-13"
    in_the_way.write_text("a file where the image's directory would be")
    failed = await bring(api, upload_id, 0, len(CONTENT))
    assert failed.status_code == 500 and "images directory" in failed.json()["detail"]
    in_the_way.unlink()
    again = await api.post(UPLOADS, json=new_upload())
    assert (again.json()["upload_id"], again.json()["offset"]) == (upload_id, len(CONTENT))
    last = await bring(api, upload_id, len(CONTENT), len(CONTENT))
    assert last.json()["image"]["sha256"] == hashlib.sha256(CONTENT).hexdigest()


async def test_upload_enters_the_catalog_also_where_a_file_has_only_one_name(
    api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on FAT and on some shares; few kernels that run tests know such a file system."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    ended = await bring(api, await begin(api), 0, len(CONTENT))
    assert ended.json()["image"]["sha256"] == hashlib.sha256(CONTENT).hexdigest()


@pytest.mark.parametrize("piece_bytes", [300_007, 10_000_000], ids=["pieces", "whole"])
async def test_upload_to_a_full_disk_says_so_and_goes_on_with_room(
    tmp_path: Path, piece_bytes: int
) -> None:
    """A disk takes a part of what is written before it is full; that part is no harm."""
    arguments = ("tests.support.upload_full_disk", str(tmp_path), str(piece_bytes))
    report = await report_of(*arguments, disk=tmp_path, size_mb=4)
    assert "on a disk with room" in report["said"]
    assert 1_000_000 < report["kept"] < 3_000_000
    assert report["whole"]


@pytest.mark.parametrize("removed", ["image", "copy", "installer", "upload"])
async def test_full_disk_lets_things_be_removed(tmp_path: Path, removed: str) -> None:
    """Who makes room is not asked for room."""
    arguments = ("tests.support.remove_full_disk", str(tmp_path), removed)
    report = await report_of(*arguments, disk=tmp_path, size_mb=16, inodes=60)
    assert "No space left" in report["said"]
    assert report["gone"] == [removed]


async def test_upload_to_a_disk_that_refuses_to_write_and_to_sync_says_so(
    api: httpx.AsyncClient, tmp_path: Path
) -> None:
    upload_id = await begin(api)
    data = tmp_path / "images" / f"{UNFINISHED}upload-{upload_id}" / "data"
    data.unlink()
    data.symlink_to("/dev/full")
    answer = await bring(api, upload_id, 0, 100)
    assert answer.status_code == 500 and "on a disk with room" in answer.json()["detail"]


@contextmanager
def called_here() -> Iterator[set[str]]:
    """The functions in C that this thread calls meanwhile; the control plane's loop is its."""
    found: set[str] = set()

    def note(_: FrameType, event: str, called: Any) -> None:
        if event == "c_call":
            found.add(called.__qualname__)

    sys.setprofile(note)
    try:
        yield found
    finally:
        sys.setprofile(None)


async def test_upload_holds_nobody_up_while_the_disk_writes(api: httpx.AsyncClient) -> None:
    with called_here() as called:
        upload_id = await begin(api)
        await bring(api, upload_id, 0, 4000)
        last = await bring(api, upload_id, 4000, len(CONTENT))
    assert last.json()["image"]["name"] == "debian-13"
    assert "open" in called  # what the disk need not be waited for
    assert called.isdisjoint({"fsync", "rename", "FileIO.write"})


async def test_upload_at_another_offset_is_refused_and_says_where_it_is(
    api: httpx.AsyncClient,
) -> None:
    upload_id = await begin(api)
    await bring(api, upload_id, 0, 100)
    answer = await bring(api, upload_id, 50, 150)
    assert answer.status_code == 409
    assert "at byte 100" in answer.json()["detail"]
    assert (await api.get(f"{UPLOADS}/{upload_id}")).json()["offset"] == 100


async def test_upload_is_given_up_only_after_the_piece_that_is_on_its_way(
    api: httpx.AsyncClient,
) -> None:
    upload_id = await begin(api)
    piece = HeldPiece(api, upload_id, 0)
    await wait_for_offset(api, upload_id, 50)
    deleting = asyncio.create_task(api.delete(f"{UPLOADS}/{upload_id}"))
    done, _ = await asyncio.wait({deleting}, timeout=0.3)
    assert not done
    piece.end.set()
    assert (await piece.answer).json()["offset"] == 100
    assert (await deleting).status_code == 204
    assert (await api.get(f"{UPLOADS}/{upload_id}")).status_code == 404


async def test_pieces_of_one_upload_wait_for_each_other_also_behind_one_that_waited(
    api: httpx.AsyncClient,
) -> None:
    upload_id = await begin(api)
    first = HeldPiece(api, upload_id, 0)
    await wait_for_offset(api, upload_id, 50)
    second = HeldPiece(api, upload_id, 100)
    await second.sending.wait()
    first.end.set()
    assert (await first.answer).json()["offset"] == 100
    await wait_for_offset(api, upload_id, 150)
    third = asyncio.create_task(bring(api, upload_id, 150, 160))
    done, _ = await asyncio.wait({third}, timeout=0.3)
    assert not done
    second.end.set()
    assert (await second.answer).json()["offset"] == 200
    assert (await third).status_code == 409


async def test_upload_with_another_digest_never_becomes_an_image(api: httpx.AsyncClient) -> None:
    upload_id = await begin(api, sha256="0" * 64)
    answer = await bring(api, upload_id, 0, len(CONTENT))
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "sha256"
    assert (await api.get("/api/v1/images")).json()["images"] == []
    assert (await api.get(f"{UPLOADS}/{upload_id}")).status_code == 404


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": "../agent"}, "name"),
        ({"name": "agent"}, "name"),
        ({"family": "plan9"}, "family"),
        ({"sha256": "x"}, "sha256"),
        ({"size_bytes": 0}, "size_bytes"),
        ({"surprise": 1}, "surprise"),
        ({"name": "installers"}, "name"),
        ({"architecture": "aarch64"}, "architecture"),
        ({"source_format": "iso"}, "source_format"),
        ({"network": "carrier pigeon"}, "network"),
        ({"unpacked_bytes": None}, "unpacked_bytes"),
        ({"family": "linux"}, "family"),
        ({"cloud_init": True}, "cloud_init"),
        ({"network": "netplan"}, "network"),
        ({"source_format": "raw"}, "unpacked_bytes"),
    ],
)
async def test_upload_of_a_wrong_image_is_refused(
    api: httpx.AsyncClient, fields: dict[str, Any], field: str
) -> None:
    answer = await api.post(UPLOADS, json=new_upload(**fields))
    assert answer.status_code == 422, answer.text
    assert [error["field"] for error in answer.json()["errors"]] == [field]


async def test_upload_that_is_no_archive_or_too_long_is_refused(api: httpx.AsyncClient) -> None:
    upload_id = await begin(api, size_bytes=10)
    headers = {"Upload-Offset": "0", "Content-Type": "application/octet-stream"}
    for content in (b"not zstd", ZSTD_MAGIC + b"0123456789"):
        answer = await api.patch(f"{UPLOADS}/{upload_id}", content=content, headers=headers)
        assert answer.status_code == 422, answer.text
    assert (await api.get(f"{UPLOADS}/{upload_id}")).json()["offset"] == 0


async def test_upload_of_another_media_type_is_refused(api: httpx.AsyncClient) -> None:
    upload_id = await begin(api)
    for headers in ({}, {"Content-Type": "application/json"}):
        answer = await api.patch(
            f"{UPLOADS}/{upload_id}", content=CONTENT, headers={"Upload-Offset": "0", **headers}
        )
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported-media-type")
    assert (await api.get(f"{UPLOADS}/{upload_id}")).json()["offset"] == 0


async def test_upload_that_was_begun_with_another_size_is_a_contradiction(
    api: httpx.AsyncClient,
) -> None:
    await begin(api, size_bytes=10)
    answer = await api.post(UPLOADS, json=new_upload(size_bytes=11))
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


async def test_image_that_an_unfinished_task_needs_is_not_deleted(
    control_plane: RunningControlPlane, api: httpx.AsyncClient
) -> None:
    await bring(api, await begin(api), 0, len(CONTENT))
    await control_plane.put_task(make_task(os_version="13"))
    assert (await api.delete("/api/v1/images/debian-13")).status_code == 409
    await control_plane.put_task(make_task(os_version="12"))
    assert (await api.delete("/api/v1/images/debian-13")).status_code == 204
    assert (await api.get("/api/v1/images/debian-13")).status_code == 404


DISK = (bytes(510) + b"\x55\xaa" + b"disk" * 1000).ljust(1 << 20, b"\0")


async def bring_disk(api: httpx.AsyncClient, content: bytes, **fields: Any) -> httpx.Response:
    """Upload a disk in two pieces; the last answer."""
    said = {
        **new_upload(source_format="raw", **fields),
        "sha256": hashlib.sha256(content).hexdigest(),
        "size_bytes": len(content),
    }
    del said["unpacked_bytes"]
    begun = await api.post(UPLOADS, json=said)
    assert begun.status_code == 201, begun.text
    for start in (0, 1000):
        headers = {"Upload-Offset": str(start), "Content-Type": "application/octet-stream"}
        end = len(content) if start else 1000
        path = f"{UPLOADS}/{begun.json()['upload_id']}"
        answer = await api.patch(path, content=content[start:end], headers=headers)
    return answer


async def test_disk_with_a_gpt_becomes_an_image_for_disks_of_its_sectors(
    api: httpx.AsyncClient, tmp_path: Path
) -> None:
    disk = (bytes(4096) + b"EFI PART").ljust(1 << 20, b"\0")
    answer = await bring_disk(api, disk, family="linux")
    assert answer.status_code == 200, answer.text
    (manifest,) = Catalog(tmp_path / "images").manifests()
    assert manifest.sector_bytes == 4096


async def test_disk_that_is_uploaded_becomes_an_image_of_a_whole_disk(
    api: httpx.AsyncClient,
) -> None:
    answer = await bring_disk(api, DISK, family="linux", cloud_init=True, network="netplan")
    assert answer.status_code == 200, answer.text
    image = answer.json()["image"]
    assert (image["format"], image["disk_bytes"]) == ("raw.zst", len(DISK))
    assert (image["cloud_init"], image["network"]) == (True, "netplan")
    assert image["source_sha256"] == hashlib.sha256(DISK).hexdigest() != image["sha256"]
    assert image["size_bytes"] < 5000
    assert (await api.get("/api/v1/images/debian-13")).json() == image


async def test_disk_that_nothing_starts_from_never_becomes_an_image(
    api: httpx.AsyncClient,
) -> None:
    answer = await bring_disk(api, bytes(1 << 20))
    assert answer.status_code == 422
    assert "no partition table" in answer.json()["errors"][0]["message"]
    assert (await api.get("/api/v1/images")).json()["images"] == []


async def test_signature_of_what_the_image_says_is_kept_and_another_refused(
    api: httpx.AsyncClient,
) -> None:
    await bring(api, await begin(api), 0, len(CONTENT))
    image = (await api.get("/api/v1/images/debian-13")).json()
    path = "/api/v1/images/debian-13/signature"
    body = signature_of(image)
    answer = await api.put(path, json=body)
    key = fingerprint(KEY.public_key())
    assert (answer.status_code, answer.json()["signed_by"]) == (200, key)
    for wrong, field in (
        (signature_of(image, first_boot=True), "signature"),
        ({**body, "public_key": "no key"}, "public_key"),
        ({**body, "signature": "x"}, "signature"),
    ):
        refused = await api.put(path, json=wrong)
        assert refused.status_code == 422
        assert [error["field"] for error in refused.json()["errors"]] == [field]
    assert (await api.get("/api/v1/images/debian-13")).json()["signed_by"] == key
    assert (await api.put("/api/v1/images/none/signature", json=body)).status_code == 404
