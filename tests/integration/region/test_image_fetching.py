"""A region's copy of its control plane's images over HTTP, with what can go wrong on the way."""

import asyncio
import errno
import hashlib
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import cast

import httpx
import pytest
from aiohttp import web

from lpmos.control.tls import TlsFiles
from lpmos.core.clock import utc_now
from lpmos.images.catalog import Catalog
from lpmos.images.copies import Copies
from lpmos.images.signatures import TrustedKeys
from lpmos.model.installer import FileRef
from lpmos.region.image_download import LOOK_EVERY_BYTES, RESERVE_BYTES, download
from lpmos.region.image_fetching import ImageFetching
from lpmos.region.image_plan import GONE_AFTER
from lpmos.region.image_source import Calls, ImageSource, NotFetched, SourceSettings
from tests.support.certificates import Authority
from tests.support.image_copy import (
    BYTES_PER_SECOND,
    LARGE,
    PLENTY_BYTES,
    SourceOfImages,
    copying,
    image_source,
    part_of,
    port_of,
    run_in_background,
)
from tests.support.region import until
from tests.support.served import served
from tests.support.tcp_proxy import TcpProxy
from tests.support.throttled_proxy import ThrottledProxy

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture
async def source(tmp_path: Path) -> AsyncIterator[SourceOfImages]:
    """A control plane without images."""
    async with image_source(tmp_path) as running:
        yield running


@pytest.fixture
def images_dir(tmp_path: Path) -> Path:
    """The region's."""
    return tmp_path / "region"


class AheadClock:
    """The time, and what a test adds to it."""

    ahead = timedelta()

    def __call__(self) -> datetime:
        return utc_now() + self.ahead


@asynccontextmanager
async def listing_server(
    source: SourceOfImages, file: Answer
) -> AsyncIterator[tuple[str, list[str]]]:
    """Lists what a control plane has, each time by another weak tag, and answers for files.

    Gives its URL and the tags so far.
    """
    headers = {"Authorization": f"Bearer {source.token.read_text().strip()}"}
    async with httpx.AsyncClient(base_url=source.control_plane.url, headers=headers) as api:
        listed = (await api.get("/api/v1/image-files")).content
    tags: list[str] = []

    async def listing(_: web.Request) -> web.StreamResponse:
        tags.append(f'W/"{len(tags)}"')
        return web.Response(body=listed, headers={"ETag": tags[-1]})

    application = web.Application()
    application.router.add_get("/api/v1/image-files", listing)
    application.router.add_get("/api/v1/image-files/{sha256}", file)
    async with served(application) as url:
        yield url, tags


class _Pieces:
    """A source that gives these bytes again and again."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    async def file(self, _sha256: str, _offset: int) -> AsyncIterator[bytes]:
        while True:
            yield self._content


def names(images_dir: Path) -> list[str]:
    """The images that a region would serve."""
    return [each.name for each in Catalog(images_dir).manifests()]


async def test_all_that_the_source_has_is_served_here_and_stays_when_it_is_away(
    source: SourceOfImages, images_dir: Path
) -> None:
    source.add_agent()
    source.add_image("debian-12", LARGE)
    async with TcpProxy(port_of(source)) as proxy:
        copy = copying(proxy.endpoint, source.token, images_dir)
        async with run_in_background(copy):
            await until(lambda: names(images_dir) == ["debian-12"], "the image")
            Catalog(images_dir).verify("debian-12")
            Catalog(images_dir).verify_agent()
            await proxy.cut()
            await until(lambda: bool(copy.state.error), "the way to be cut")
            assert "cannot be reached" in (copy.state.error or "")
            assert names(images_dir) == ["debian-12"]
            source.add_image("debian-13", b"thirteen", "13")
            await proxy.heal()
            await until(lambda: names(images_dir) == ["debian-12", "debian-13"], "the other one")
            await until(lambda: copy.state.arriving == (), "all to be there")
            assert copy.state.error is None


async def test_a_download_that_is_cut_goes_on_where_it_was(
    source: SourceOfImages, images_dir: Path
) -> None:
    source.add_image("debian-12", LARGE)
    async with ThrottledProxy(port_of(source), BYTES_PER_SECOND) as proxy:
        copy = copying(proxy.endpoint, source.token, images_dir)
        async with run_in_background(copy):
            await until(lambda: copy.counted.fetched_bytes > len(LARGE) // 4, "a part")
            (arrival,) = copy.state.arriving
            assert 0 < arrival.done_bytes < arrival.size_bytes == len(LARGE)
            assert (copy.state.current, names(images_dir)) == ("debian-12", [])
            await proxy.cut()
            await proxy.heal()
            await until(lambda: names(images_dir) == ["debian-12"], "the image")
    assert copy.counted.fetched_bytes == len(LARGE)
    assert copy.counted.failures == {"away": 1}
    Catalog(images_dir).verify("debian-12")


async def test_a_client_that_is_killed_goes_on_where_it_was(
    source: SourceOfImages, images_dir: Path
) -> None:
    source.add_image("debian-12", LARGE)
    async with ThrottledProxy(port_of(source), BYTES_PER_SECOND) as proxy:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.support.image_copy",
            proxy.endpoint, str(source.token), str(images_dir),
        )  # fmt: skip
        try:
            await until(lambda: part_of(images_dir) > len(LARGE) // 4, "a part")
        finally:
            process.send_signal(signal.SIGKILL)
            await process.wait()
    had = part_of(images_dir)
    copy = copying(source.control_plane.url, source.token, images_dir)
    async with run_in_background(copy):
        await until(lambda: names(images_dir) == ["debian-12"], "the image")
    assert copy.counted.fetched_bytes == len(LARGE) - had
    Catalog(images_dir).verify("debian-12")


async def test_another_digest_is_refused_not_offered_and_told(
    source: SourceOfImages, images_dir: Path
) -> None:
    image = source.add_image("debian-12", LARGE)
    source.add_image("debian-13", b"thirteen", "13")
    path = source.images_dir / "debian-12" / image.file
    path.write_bytes(LARGE[:-1] + b"x")
    copy = copying(source.control_plane.url, source.token, images_dir)
    async with run_in_background(copy):
        await until(lambda: copy.counted.failures.get("digest", 0) > 0, "the digest to be wrong")
        await until(lambda: names(images_dir) == ["debian-13"], "the other image")
        (arrival,) = copy.state.arriving
        assert "another SHA-256" in (arrival.error or "")
        assert part_of(images_dir) == 0
        source.add_image("debian-12", LARGE)
        await until(lambda: len(names(images_dir)) == 2, "the image to be whole")


async def test_bytes_that_were_damaged_on_the_disk_are_fetched_anew(
    source: SourceOfImages, images_dir: Path
) -> None:
    image = source.add_image("debian-12", LARGE)
    part = images_dir / ".unfinished-fetch" / image.sha256
    part.parent.mkdir(parents=True)
    part.write_bytes(b"\0" * 1000)
    copy = copying(source.control_plane.url, source.token, images_dir)
    async with run_in_background(copy):
        await until(lambda: names(images_dir) == ["debian-12"], "the image")
    assert copy.counted.failures == {"digest": 1}


async def test_without_room_nothing_is_begun_and_it_is_said_how_much_is_missing(
    source: SourceOfImages, images_dir: Path
) -> None:
    source.add_image("debian-12", LARGE)
    copy = copying(source.control_plane.url, source.token, images_dir, free_bytes=1 << 30)
    async with run_in_background(copy):
        await until(lambda: bool(copy.counted.failures), "the look at the disk")
        (arrival,) = copy.state.arriving
        assert f"4.2 MB more are needed in {images_dir}" in (arrival.error or "")
        assert part_of(images_dir) == 0


async def test_what_is_written_stops_where_others_take_the_room_meanwhile(
    tmp_path: Path,
) -> None:
    content = bytes(LOOK_EVERY_BYTES)
    file = FileRef(
        file="root", sha256=hashlib.sha256(content).hexdigest(), size_bytes=2 * len(content)
    )
    part = tmp_path / "parts" / file.sha256
    calls = cast(Calls, _Pieces(content))
    with pytest.raises(NotFetched, match="more are needed") as raised:
        await download(calls, file, part, lambda _: None, lambda: RESERVE_BYTES)
    assert (raised.value.reason, raised.value.whole) == ("space", False)
    assert part.stat().st_size == len(content)


async def test_a_disk_that_is_full_gets_the_room_of_the_part_back(tmp_path: Path) -> None:
    file = FileRef(file="root", sha256="ab" * 32, size_bytes=2)
    part = tmp_path / "parts" / file.sha256

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "no space")

    with pytest.raises(NotFetched, match="is full"):
        await download(cast(Calls, _Pieces(b"x")), file, part, full, lambda: PLENTY_BYTES)
    assert not part.exists()


async def test_a_part_that_no_item_wants_goes_when_all_else_is_there(
    source: SourceOfImages, images_dir: Path
) -> None:
    part = images_dir / ".unfinished-fetch" / ("ab" * 32)
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x")
    copy = copying(source.control_plane.url, source.token, images_dir)
    async with run_in_background(copy):
        await until(lambda: not part.exists(), "the part to go")


async def test_an_empty_list_removes_nothing_and_one_image_that_is_gone_goes_after_a_day(
    source: SourceOfImages, images_dir: Path
) -> None:
    for name in ("debian-12", "debian-13"):
        source.add_image(name, name.encode(), name[-2:])
    clock = AheadClock()
    copy = copying(source.control_plane.url, source.token, images_dir, clock=clock)
    copies = Copies(images_dir)
    async with run_in_background(copy):
        await until(lambda: len(names(images_dir)) == 2, "both images")
        kept = source.images_dir.rename(source.images_dir.with_name("unmounted"))
        asked_at = copy.state.listed_at
        await until(lambda: copy.state.listed_at != asked_at, "an empty list")
        asked_at = copy.state.listed_at
        await until(lambda: copy.state.listed_at != asked_at, "another one")
        assert len(names(images_dir)) == 2
        kept.rename(source.images_dir)
        source.catalog.remove("debian-13")
        await until(lambda: any(each.missing_since for each in copies.held()), "it to be missed")
        assert len(names(images_dir)) == 2
        clock.ahead = GONE_AFTER
        await until(lambda: names(images_dir) == ["debian-12"], "one of them to go")


async def test_an_image_that_a_task_needs_goes_after_it(
    source: SourceOfImages, images_dir: Path
) -> None:
    for name in ("debian-12", "debian-13"):
        source.add_image(name, name.encode(), name[-2:])
    needed = {("debian", "13")}
    clock = AheadClock()
    copy = copying(source.control_plane.url, source.token, images_dir, needed=needed, clock=clock)
    copies = Copies(images_dir)
    async with run_in_background(copy):
        await until(lambda: len(names(images_dir)) == 2, "both images")
        source.catalog.remove("debian-13")
        await until(lambda: any(each.missing_since for each in copies.held()), "it to be missed")
        clock.ahead = GONE_AFTER
        asked_at = copy.state.listed_at
        await until(lambda: copy.state.listed_at != asked_at, "a list")
        asked_at = copy.state.listed_at
        await until(lambda: copy.state.listed_at != asked_at, "another list")
        assert len(names(images_dir)) == 2
        needed.clear()
        await until(lambda: names(images_dir) == ["debian-12"], "it to go")


async def test_an_image_that_is_listed_again_within_a_day_is_not_missed(
    source: SourceOfImages, images_dir: Path
) -> None:
    source.add_agent()
    source.add_image("debian-12")
    copy = copying(source.control_plane.url, source.token, images_dir)
    copies = Copies(images_dir)
    async with run_in_background(copy):
        await until(lambda: names(images_dir) == ["debian-12"], "the image")
        source.catalog.remove("debian-12")
        await until(lambda: any(each.missing_since for each in copies.held()), "it to be missed")
        source.add_image("debian-12")
        await until(lambda: not any(each.missing_since for each in copies.held()), "it to be back")
        assert names(images_dir) == ["debian-12"]


async def test_a_source_that_never_says_unchanged_is_not_asked_without_a_pause(
    source: SourceOfImages, images_dir: Path
) -> None:
    for name in ("debian-12", "debian-13"):
        source.add_image(name, name.encode(), name[-2:])

    async def gone(_: web.Request) -> web.StreamResponse:
        raise web.HTTPNotFound

    async with listing_server(source, gone) as (url, lists):
        settings = SourceSettings(url=url, token_file=source.token)
        copy = ImageFetching(ImageSource(settings), images_dir, lambda: (), utc_now)
        async with run_in_background(copy):
            await until(lambda: copy.counted.failures == {"gone": 2}, "both to fail")
            await asyncio.sleep(1.5)  # longer than what is tried again waits
            assert (len(lists), copy.counted.failures) == (1, {"gone": 2})


async def fails(_: web.Request) -> web.StreamResponse:
    """As where the disk of the source cannot be read."""
    raise web.HTTPInternalServerError


async def ends(_: web.Request) -> web.StreamResponse:
    """A shorter file."""
    return web.Response(body=b"deb")


async def breaks(request: web.Request) -> web.StreamResponse:
    """A connection that ends before the first byte."""
    answer = web.StreamResponse(headers={"Content-Length": "9"})
    await answer.prepare(request)
    assert request.transport is not None
    request.transport.close()
    return answer


@pytest.mark.parametrize("broken", [fails, ends, breaks])
async def test_one_file_that_cannot_be_had_stops_no_other(
    source: SourceOfImages, images_dir: Path, broken: Answer
) -> None:
    bad = source.add_image("debian-12", b"debian-12")
    source.add_image("debian-13", b"debian-13, longer", "13")

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path.endswith(bad.sha256):
            return await broken(request)
        return web.Response(body=b"debian-13, longer")

    async with listing_server(source, answer) as (url, _):
        copy = copying(url, source.token, images_dir)
        async with run_in_background(copy):
            await until(lambda: names(images_dir) == ["debian-13"], "the other image")
            assert copy.counted.failures["broken"] > 0
            await until(lambda: len(copy.state.arriving) == 1, "the region to know")
            await until(lambda: copy.state.error is None, "nothing else to be wrong")
            (arrival,) = copy.state.arriving
            assert "control plane" in (arrival.error or "")


async def test_two_clients_of_one_directory_fetch_each_image_once(
    source: SourceOfImages, images_dir: Path
) -> None:
    for number in range(4):
        source.add_image(f"debian-{number}", bytes([number]) * 100_000, str(number))
    copies = [copying(source.control_plane.url, source.token, images_dir) for _ in range(2)]
    async with run_in_background(copies[0]), run_in_background(copies[1]):
        await until(lambda: len(names(images_dir)) == 4, "all images")
        await until(lambda: all(each.state.arriving == () for each in copies), "both to know")
    assert sum(each.counted.items for each in copies) == 4
    assert {each.source for each in Copies(images_dir).held()} == {source.control_plane.url}


async def test_an_image_that_no_trusted_key_signed_is_not_fetched(
    source: SourceOfImages, images_dir: Path
) -> None:
    source.add_image("debian-12", LARGE)
    trust = TrustedKeys({}).refuses
    copy = copying(source.control_plane.url, source.token, images_dir, trust=trust)
    async with run_in_background(copy):
        await until(lambda: bool(copy.state.arriving), "the list")
        assert "debian-12" in (copy.state.arriving[0].error or "")
    assert copy.counted.fetched_bytes == 0


async def test_a_control_plane_is_believed_only_with_a_certificate_of_the_ca(
    tmp_path: Path, images_dir: Path
) -> None:
    authority = Authority(tmp_path / "ca")
    pair = authority.issue("server")
    async with image_source(tmp_path, tls=TlsFiles(pair.cert, pair.key)) as source:
        source.add_image("debian-12")
        url = source.control_plane.url
        async with run_in_background(copying(url, source.token, images_dir)) as copy:
            await until(lambda: bool(copy.state.error), "the certificate to be refused")
            assert "images_ca" in (copy.state.error or "")
        trusting = copying(url, source.token, images_dir, ca=authority.ca)
        async with run_in_background(trusting):
            await until(lambda: names(images_dir) == ["debian-12"], "the image")


@pytest.mark.parametrize("token", [None, "", "no-token"])
async def test_a_token_that_is_not_taken_is_told_of_and_a_new_one_needs_no_restart(
    source: SourceOfImages, images_dir: Path, token: str | None
) -> None:
    source.add_image("debian-12")
    good = source.token.read_text()
    source.token.unlink() if token is None else source.token.write_text(token)
    copy = copying(source.control_plane.url, source.token, images_dir)
    async with run_in_background(copy):
        await until(lambda: bool(copy.state.error), "the token to be refused")
        assert str(source.token) in (copy.state.error or "")
        source.token.write_text(good)
        await until(lambda: names(images_dir) == ["debian-12"], "the image")
