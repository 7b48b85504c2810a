"""The region as a caching mirror: over real HTTP, of a repository that counts what is asked."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given
from hypothesis import strategies as st

from lpmos.images.installers import InstallerFields, Installers
from lpmos.model.errors import InvalidInput
from lpmos.region.answers import error_middleware
from lpmos.region.mirror_cache import FRESH_S, MirrorCache, checked_path

LIMIT_BYTES = 3_000_000
PACKAGE = bytes(range(256)) * 5_000


class Repository:
    """A repository of one index, whose text may change, and packages."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.index = "first"
        self.broken = False

    async def answer(self, request: web.Request) -> web.StreamResponse:
        response = self._answer(request)
        self.asked.append((request.path, response.status))
        return response

    def _answer(self, request: web.Request) -> web.Response:
        if self.broken:
            return web.Response(status=503)
        if request.path.endswith(".deb"):
            return web.Response(body=PACKAGE)
        if not request.path.endswith("/Release"):
            return web.Response(status=404)
        tag = f'"{self.index}"'
        if request.headers.get("If-None-Match") == tag:
            return web.Response(status=304)
        return web.Response(text=self.index, headers={"ETag": tag})


class Mirror:
    """The mirror of a repository, and its clock."""

    def __init__(
        self,
        client: TestClient[web.Request, web.Application],
        repository: Repository,
        directory: Path,
    ) -> None:
        self.client = client
        self.repository = repository
        self.directory = directory
        self.now_s = 1_000_000.0

    async def get(self, path: str, **headers: str) -> tuple[int, bytes]:
        answer = await self.client.get(f"/mirror/debian-12/{path}", headers=headers)
        return answer.status, await answer.read()


@pytest.fixture
async def mirror(tmp_path: Path) -> AsyncIterator[Mirror]:
    repository = Repository()
    upstream = web.Application()
    upstream.router.add_get("/{path:.*}", repository.answer)
    async with TestServer(upstream) as server:
        files = tmp_path / "linux", tmp_path / "initrd.gz"
        for file in files:
            file.write_bytes(b"x")
        installers = Installers(tmp_path / "images")
        fields = InstallerFields(
            name="debian-12", family="debian", os_type="debian", os_version="12",
            repository=str(server.make_url("/debian")),
        )  # fmt: skip
        installers.add(fields, *files)
        cache = MirrorCache(
            installers,
            tmp_path / "mirror",
            limit_bytes=LIMIT_BYTES,
            now_s=lambda: running.now_s,
        )
        app = web.Application(middlewares=[error_middleware(idc="dc1")])
        app.add_routes(cache.routes())
        app.cleanup_ctx.append(cache.session)
        async with TestClient(TestServer(app)) as client:
            running = Mirror(client, repository, tmp_path / "mirror")
            yield running


async def test_package_is_fetched_once_and_served_whole_and_in_parts(mirror: Mirror) -> None:
    path = "pool/main/a/apt/apt_2.6.1_amd64.deb"
    assert await mirror.get(path) == (200, PACKAGE)
    mirror.now_s += 10 * FRESH_S
    assert await mirror.get(path) == (200, PACKAGE)
    assert await mirror.get(path, Range="bytes=100-199") == (206, PACKAGE[100:200])
    assert mirror.repository.asked == [(f"/debian/{path}", 200)]


async def test_first_request_for_a_part_fetches_the_whole(mirror: Mirror) -> None:
    assert await mirror.get("a.deb", Range="bytes=0-9") == (206, PACKAGE[:10])
    assert await mirror.get("a.deb") == (200, PACKAGE)
    assert len(mirror.repository.asked) == 1


async def test_index_is_asked_for_again_once_it_is_no_longer_fresh(mirror: Mirror) -> None:
    path = "dists/bookworm/Release"
    assert await mirror.get(path) == (200, b"first")
    assert await mirror.get(path) == (200, b"first")
    mirror.now_s += FRESH_S
    assert await mirror.get(path) == (200, b"first")
    mirror.repository.index = "second"
    assert await mirror.get(path) == (200, b"first")
    mirror.now_s += FRESH_S
    assert await mirror.get(path) == (200, b"second")
    assert [status for _, status in mirror.repository.asked] == [200, 304, 200]


async def test_index_is_served_as_it_was_while_the_repository_is_away(mirror: Mirror) -> None:
    path = "dists/bookworm/Release"
    await mirror.get(path)
    mirror.repository.broken = True
    mirror.now_s += FRESH_S
    assert await mirror.get(path) == (200, b"first")
    assert (await mirror.get("dists/trixie/Release"))[0] == 503


async def test_what_is_not_there_is_not_kept(mirror: Mirror) -> None:
    assert (await mirror.get("nothing"))[0] == 404
    assert list(mirror.directory.iterdir()) == []


async def test_disk_is_bounded_and_what_was_used_longest_ago_goes_first(mirror: Mirror) -> None:
    for name in ("a", "b"):
        await mirror.get(f"{name}.deb")
    await mirror.get("a.deb")
    await mirror.get("c.deb")
    kept = [path for path in mirror.directory.iterdir() if not path.suffix]
    assert sum(path.stat().st_size for path in kept) <= LIMIT_BYTES
    asked = len(mirror.repository.asked)
    await mirror.get("a.deb")
    assert len(mirror.repository.asked) == asked
    await mirror.get("b.deb")
    assert len(mirror.repository.asked) == asked + 1


@pytest.mark.parametrize(
    "path",
    [
        "/mirror/other/dists/bookworm/Release",
        "/mirror/debian-12/..%2f..%2fetc/passwd",
        "/mirror/debian-12/http:%2f%2fexample.net/",
        "/media/debian-12/x.iso",
    ],
)
async def test_nothing_but_what_a_manifest_names_is_fetched(mirror: Mirror, path: str) -> None:
    answer = await mirror.client.get(path)
    assert answer.status in (404, 422)
    assert mirror.repository.asked == []


@given(st.text(max_size=60))
def test_checked_path_never_leads_out_of_the_repository(text: str) -> None:
    try:
        path = checked_path(text)
    except InvalidInput:
        return
    assert path == text
    assert not {".", "..", ""} & set(path.removesuffix("/").split("/"))
    assert not path.startswith("/")
