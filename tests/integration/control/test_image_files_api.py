"""The files of images over HTTP: one list with a tag, parts of files, and a bound on how many."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from lpmos.control.resources.image_files import MOST_OF_ONE_USER, ImageFiles
from lpmos.images.catalog import Catalog
from lpmos.images.installers import Installers
from lpmos.model.access import Role
from lpmos.model.errors import Occupied
from tests.integration.control.conftest import NO_AUTHORITIES
from tests.support.image_copy import SourceOfImages, image_source
from tests.support.polling import ANSWER_TIMEOUT_S, until

LIST = "/api/v1/image-files"
CONTENT = bytes(range(256)) * 100


@pytest.fixture
async def source(tmp_path: Path) -> AsyncIterator[SourceOfImages]:
    """A control plane without images."""
    async with image_source(tmp_path) as running:
        yield running


@pytest.fixture
async def viewer(source: SourceOfImages) -> AsyncIterator[httpx.AsyncClient]:
    """A client with a viewer's token."""
    headers = {"Authorization": f"Bearer {source.token.read_text().strip()}"}
    async with httpx.AsyncClient(
        base_url=source.control_plane.url,
        headers=headers,
        verify=NO_AUTHORITIES,
        timeout=ANSWER_TIMEOUT_S,
    ) as client:
        yield client


async def test_the_list_is_sent_again_only_where_it_changed(
    source: SourceOfImages, viewer: httpx.AsyncClient
) -> None:
    empty = await viewer.get(LIST)
    assert (empty.status_code, empty.json()) == (200, {"items": []})
    known = {"If-None-Match": empty.headers["etag"]}
    unchanged = await viewer.get(LIST, headers=known)
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    weak = {"If-None-Match": f'"another", W/{empty.headers["etag"]}'}
    assert (await viewer.get(LIST, headers=weak)).status_code == 304
    image = source.add_image("debian-12", CONTENT)
    source.add_agent()
    changed = await viewer.get(LIST, headers=known)
    items = {(each["kind"], each["name"]): each for each in changed.json()["items"]}
    assert set(items) == {("agent", "x86_64"), ("image", "debian-12")}
    assert items["image", "debian-12"]["manifest"]["sha256"] == image.sha256
    (source.images_dir / "debian-12" / "manifest.json").write_bytes(b"torn")
    (damaged,) = (each for each in (await viewer.get(LIST)).json()["items"] if each["error"])
    assert (damaged["name"], damaged["manifest"]) == ("debian-12", None)


async def test_a_file_is_sent_whole_or_from_where_it_is_asked_for(
    source: SourceOfImages, viewer: httpx.AsyncClient
) -> None:
    path = f"{LIST}/{source.add_image('debian-12', CONTENT).sha256}"
    whole = await viewer.get(path)
    assert (whole.status_code, whole.content) == (200, CONTENT)
    part = await viewer.get(path, headers={"Range": "bytes=1000-"})
    assert (part.status_code, part.content) == (206, CONTENT[1000:])
    assert part.headers["content-range"] == f"bytes 1000-{len(CONTENT) - 1}/{len(CONTENT)}"
    assert part.headers["content-length"] == str(len(CONTENT) - 1000)
    beyond = await viewer.get(path, headers={"Range": f"bytes={len(CONTENT)}-"})
    assert (beyond.status_code, beyond.content) == (416, b"")
    assert beyond.headers["content-range"] == f"bytes */{len(CONTENT)}"


async def test_what_is_not_there_is_404_and_nobody_without_a_token_gets_any(
    source: SourceOfImages, viewer: httpx.AsyncClient
) -> None:
    image = source.add_image("debian-12", CONTENT)
    for wrong in ("00" * 32, "x", "..%2f..%2fetc%2fpasswd"):
        assert (await viewer.get(f"{LIST}/{wrong}")).status_code == 404
    without = {"Authorization": ""}
    for path in (LIST, f"{LIST}/{image.sha256}"):
        assert (await viewer.get(path, headers=without)).status_code == 401


async def test_a_file_of_another_size_than_its_manifest_says_is_not_given_out(
    source: SourceOfImages, viewer: httpx.AsyncClient
) -> None:
    image = source.add_image("debian-12", CONTENT)
    (source.images_dir / "debian-12" / image.file).write_bytes(CONTENT[:-1])
    answer = await viewer.get(f"{LIST}/{image.sha256}", headers={"Range": "bytes=0-"})
    assert answer.status_code == 404
    assert "another size" in answer.json()["detail"]


async def test_the_file_before_is_given_out_for_one_more_build(
    source: SourceOfImages, viewer: httpx.AsyncClient
) -> None:
    for content in (b"one", b"two", b"three"):
        source.add_image("debian-12", content)
    digests = [hashlib.sha256(each).hexdigest() for each in (b"one", b"two", b"three")]
    answers = [await viewer.get(f"{LIST}/{each}") for each in digests]
    assert [each.status_code for each in answers] == [404, 200, 200]


async def test_one_user_has_so_many_downloads_at_once_and_a_place_again_after_a_break(
    source: SourceOfImages, viewer: httpx.AsyncClient
) -> None:
    image = source.add_image("debian-12", b"x" * (64 << 20))
    path = f"{LIST}/{image.sha256}"
    begun = [viewer.stream("GET", path) for _ in range(MOST_OF_ONE_USER)]
    for each in begun:
        assert (await each.__aenter__()).status_code == 200
    refused = await viewer.get(path, headers={"Range": "bytes=0-9"})
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) > 0
    assert refused.json()["code"] == "occupied"
    assert (await viewer.get(LIST)).status_code == 200
    other = {
        "Authorization": f"Bearer {await source.control_plane.as_user([Role.VIEWER], name='two')}"
    }
    one_more = await viewer.get(path, headers={"Range": "bytes=0-9", **other})
    assert one_more.status_code == 206
    metrics = (await viewer.get("/metrics")).text
    assert f"lpmos_image_downloads {MOST_OF_ONE_USER}.0" in metrics
    assert "lpmos_image_downloads_refused_total 1.0" in metrics
    await asyncio.gather(*(each.__aexit__(None, None, None) for each in begun))

    async def free() -> bool:
        part = await viewer.get(path, headers={"Range": "bytes=0-9"})
        return part.status_code == 206

    await until(free)


async def test_only_so_many_are_downloaded_at_once_by_all_users(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    files = ImageFiles(Catalog(tmp_path), Installers(tmp_path), tmp_path, most=2)
    begun = [await files.open(path, 0, 9, user) for user in ("a", "b")]
    with pytest.raises(Occupied, match="2 files of images are being downloaded;"):
        await files.open(path, 0, 9, "c")
    await begun[0].aclose()
    third = await files.open(path, 0, 9, "c")
    assert b"".join([piece async for piece in third]) == CONTENT[:10]
    await begun[1].aclose()


async def test_a_tenants_viewer_may_copy_what_it_sees(source: SourceOfImages) -> None:
    token = await source.control_plane.as_user([Role.VIEWER], tenant="acme")
    async with httpx.AsyncClient(
        base_url=source.control_plane.url,
        headers={"Authorization": f"Bearer {token}"},
        verify=NO_AUTHORITIES,
        timeout=ANSWER_TIMEOUT_S,
    ) as tenant:
        assert (await tenant.get(LIST)).status_code == 200
