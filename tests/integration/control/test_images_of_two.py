"""An upload that two control planes take at once, over one store and one images directory."""

import asyncio
import fcntl
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import cast

import httpx
import pytest

from lpmos.control.config import ControlConfig
from lpmos.control.resources.images import Images
from lpmos.core.fleet import Fleet
from lpmos.images.catalog import Catalog, ImageFields
from lpmos.images.uploads import Uploads
from lpmos.model.errors import Conflict, NotFound
from lpmos.store.api import Store
from tests.integration.control.test_images_api import (
    CONTENT,
    UPLOADS,
    HeldPiece,
    begin,
    bring,
    new_upload,
    wait_for_offset,
)
from tests.support.builders import NOW
from tests.support.control_plane import TIMEOUT_S, open_store, running
from tests.support.polling import ANSWER_TIMEOUT_S

HOLDING = """
import fcntl, sys
file = open(sys.argv[1], "ab")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""
FIELDS = ImageFields(
    name="debian-13", family="debian", os_type="debian", os_version="13", unpacked_bytes=1
)


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Callers of two control planes that share what they keep."""
    config = ControlConfig(images_dir=tmp_path / "images")
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_store(tmp_path))
        callers = []
        for _ in range(2):
            made = await stack.enter_async_context(running(store, config=config))
            caller = httpx.AsyncClient(
                base_url=made.url,
                headers={"Authorization": f"Bearer {made.token}"},
                timeout=ANSWER_TIMEOUT_S,
            )
            callers.append(await stack.enter_async_context(caller))
        yield callers


async def test_same_part_brought_to_two_control_planes_is_taken_once(
    two: list[httpx.AsyncClient],
) -> None:
    upload_id = await begin(two[0])
    held = HeldPiece(two[0], upload_id, 0)
    await wait_for_offset(two[1], upload_id, 50)
    also = asyncio.create_task(bring(two[1], upload_id, 50, 100))
    assert (await two[1].get(f"{UPLOADS}/{upload_id}")).json()["offset"] == 50
    held.end.set()
    assert (await held.answer).json()["offset"] == 100
    refused = await also
    assert refused.status_code == 409 and "is at byte 100" in refused.text
    whole = await bring(two[1], upload_id, 100, len(CONTENT))
    assert whole.json()["image"]["sha256"] == new_upload()["sha256"]


async def test_parts_brought_to_both_at_once_again_and_again_give_the_whole_image(
    two: list[httpx.AsyncClient],
) -> None:
    upload_id = await begin(two[0])
    step = 1000
    for offset in range(0, len(CONTENT), step):
        answers = await asyncio.gather(
            *(bring(caller, upload_id, offset, offset + step) for caller in two)
        )
        codes = sorted(answer.status_code for answer in answers)
        assert codes[0] == 200 and codes[1] in (404, 409), [each.text for each in answers]
    image = (await two[1].get("/api/v1/images/debian-13")).json()
    assert (image["sha256"], image["error"]) == (new_upload()["sha256"], None)


async def test_upload_begun_at_both_at_once_is_one(two: list[httpx.AsyncClient]) -> None:
    for number in range(8):
        fields = new_upload(name=f"debian-{number}")
        begun = await asyncio.gather(*(caller.post(UPLOADS, json=fields) for caller in two))
        assert [answer.status_code for answer in begun] == [201, 201]
        assert len({answer.json()["upload_id"] for answer in begun}) == 1


async def test_upload_held_by_another_process_is_refused_until_that_ends(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path, Catalog(tmp_path), lock_timeout_s=0.0)
    upload_id = uploads.begin(FIELDS, "0" * 64, 10).upload_id
    lock = tmp_path / f".unfinished-upload-{upload_id}" / "lock"
    other = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", HOLDING, str(lock)),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert other.stdout is not None
    async with asyncio.timeout(TIMEOUT_S):
        assert await other.stdout.readline() == b"held\n"
        with pytest.raises(Conflict, match="another control plane"):
            async with uploads.alone(upload_id):
                pass
        other.kill()
        await other.communicate()
    async with uploads.alone(upload_id):
        pass


async def test_upload_that_was_removed_while_it_was_waited_for_is_not_there(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path, Catalog(tmp_path), lock_timeout_s=TIMEOUT_S)
    upload_id = uploads.begin(FIELDS, "0" * 64, 10).upload_id

    async def wait_for_it() -> None:
        async with uploads.alone(upload_id):
            pass

    with (tmp_path / f".unfinished-upload-{upload_id}" / "lock").open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        waiting = asyncio.create_task(wait_for_it())
        await asyncio.sleep(0)
        uploads.forget(upload_id)
    with pytest.raises(NotFound):
        await waiting
    with pytest.raises(NotFound):
        uploads.show(upload_id)


class Slow(Uploads):
    """Its removing begins, and goes on once it may."""

    begun, may = threading.Event(), threading.Event()

    def forget(self, upload_id: str) -> None:
        self.begun.set()
        self.may.wait(TIMEOUT_S)
        super().forget(upload_id)


async def test_upload_whose_caller_is_cancelled_is_held_until_its_thread_ends(
    tmp_path: Path,
) -> None:
    uploads = Slow(tmp_path, Catalog(tmp_path), lock_timeout_s=0.0)
    upload_id = uploads.begin(FIELDS, "0" * 64, 10).upload_id
    store, fleet = cast(Store, None), cast(Fleet, None)
    images = Images(Catalog(tmp_path), uploads, store, fleet, lambda: NOW)
    removing = asyncio.create_task(images.give_up(upload_id))
    assert await asyncio.to_thread(uploads.begun.wait, TIMEOUT_S)
    for _ in range(2):  # who is impatient cancels again
        removing.cancel()
        await asyncio.sleep(0)
        with pytest.raises(Conflict):
            async with uploads.alone(upload_id):
                pass
    uploads.may.set()
    with pytest.raises(asyncio.CancelledError):
        await removing
    with pytest.raises(NotFound):
        uploads.show(upload_id)
