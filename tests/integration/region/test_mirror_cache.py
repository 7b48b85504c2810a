"""The region as a caching mirror: over real HTTP, of a repository that counts what is asked."""

import asyncio
import posixpath
import resource
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given
from hypothesis import strategies as st

from lpmos.images.installers import InstallerFields, Installers
from lpmos.model.errors import InvalidInput
from lpmos.model.installer import Family
from lpmos.region.answers import error_middleware
from lpmos.region.handover_plans import installer_urls
from lpmos.region.mirror_cache import FRESH_S, MirrorCache, checked_path
from tests.support.region import until

INSTALLERS: tuple[tuple[Family, str, str], ...] = (
    ("debian", "debian-12", "/debian"),
    ("rhel", "rocky-9", "/rocky/9/BaseOS/x86_64/os/"),
    ("rhel", "almalinux-9", "/almalinux/9/BaseOS/x86_64/kickstart"),
    ("rhel", "rocky-9-dvd", "/dvd/rocky/9"),
    ("rhel", "centos-7", "/centos/7/os/x86_64"),
)
LIMIT_BYTES = 3_000_000
PACKAGE = bytes(range(256)) * 5_000
LARGE = bytes(range(256)) * 64_000
"""More than the buffers of a connection hold."""


class Repository:
    """A repository of one index, whose text may change, and packages."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.index = "first"
        self.broken = False
        self.goes_on = asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path.endswith(("held.deb", "endless.deb")):
            return await self._in_pieces(request)
        response = self._answer(request)
        self.asked.append((request.path, response.status))
        return response

    async def _in_pieces(self, request: web.Request) -> web.StreamResponse:
        """The large one; a held one says its length, and its rest waits for `goes_on`."""
        self.asked.append((request.path, 200))
        response = web.StreamResponse()
        held = request.path.endswith("held.deb")
        if held:
            response.content_length = len(LARGE)
        await response.prepare(request)
        await response.write(LARGE[: len(PACKAGE)])
        if held:
            await self.goes_on.wait()
        await response.write(LARGE[len(PACKAGE) :])
        return response

    def _answer(self, request: web.Request) -> web.Response:
        if self.broken:
            return web.Response(status=503)
        if request.path.endswith("large.deb"):
            return web.Response(body=LARGE)
        if request.path.endswith((".deb", ".rpm")):
            return web.Response(body=PACKAGE)
        if not request.path.endswith("/Release"):
            return web.Response(status=404)
        tag = f'"{self.index}"'
        if request.headers.get("If-None-Match") == tag:
            return web.Response(status=304)
        return web.Response(text=self.index, headers={"ETag": tag})


class RegionServer(TestServer):
    """Goes on with a handler whose caller has left, as a region does."""

    async def _make_runner(self, **kwargs: Any) -> web.BaseRunner:
        return await super()._make_runner(**{**kwargs, "handler_cancellation": False})


class Mirror:
    """The mirror of a repository, and its clock."""

    def __init__(
        self,
        client: TestClient[web.Request, web.Application],
        repository: Repository,
        installers: Installers,
        directory: Path,
    ) -> None:
        self.client = client
        self.repository = repository
        self.installers = installers
        self.directory = directory
        self.now_s = 1_000_000.0
        self.meanwhile: Callable[[], None] = lambda: None

    def clock_s(self) -> float:
        """The time; reading it lets happen what shall happen between two steps of the mirror."""
        self.meanwhile()
        return self.now_s

    async def get(self, path: str, **headers: str) -> tuple[int, bytes]:
        answer = await self.client.get(f"/mirror/debian-12/{path}", headers=headers)
        return answer.status, await answer.read()


@pytest.fixture
async def mirror(tmp_path: Path) -> AsyncIterator[Mirror]:
    async with mirroring(tmp_path, limit_bytes=LIMIT_BYTES) as running:
        yield running


@asynccontextmanager
async def mirroring(
    tmp_path: Path, *, limit_bytes: int, caller_s: float = 30.0
) -> AsyncIterator[Mirror]:
    """A running mirror of a repository, of an installer at each of its trees."""
    repository = Repository()
    upstream = web.Application()
    upstream.router.add_get("/{path:.*}", repository.answer)
    async with TestServer(upstream) as server:
        files = tmp_path / "linux", tmp_path / "initrd.gz"
        for file in files:
            file.write_bytes(b"x")
        installers = Installers(tmp_path / "images")
        for family, name, tree in INSTALLERS:
            os_type, os_version = name.split("-")[:2]
            fields = InstallerFields(
                name=name, family=family, os_type=os_type, os_version=os_version,
                repository=str(server.make_url(tree)),
            )  # fmt: skip
            installers.add(fields, *files)
        cache = MirrorCache(
            installers,
            tmp_path / "mirror",
            limit_bytes=limit_bytes,
            now_s=lambda: running.clock_s(),
            caller_s=caller_s,
        )
        app = web.Application(middlewares=[error_middleware(idc="dc1")])
        app.add_routes(cache.routes())
        app.cleanup_ctx.append(cache.session)
        async with TestClient(RegionServer(app)) as client:
            running = Mirror(client, repository, installers, tmp_path / "mirror")
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


def told(mirror: Mirror, name: str) -> str:
    """The URL of an installer's tree, as its machine is told."""
    manifest = mirror.installers.load(name)
    return installer_urls(
        manifest, "TOKEN", f"http://{mirror.client.make_url('').authority}"
    ).mirror


def variant(root_url: str, relative: str) -> str:
    """The URL of a variant's repository, as Anaconda's `tree_info.py` makes it of `.treeinfo`."""
    if relative == ".":
        return root_url
    protocol, root = "http://", root_url.removeprefix("http://")
    return protocol + posixpath.normpath(posixpath.join(root, relative))


@pytest.mark.parametrize(
    ("name", "relative", "asked"),
    [
        ("rocky-9", ".", "/rocky/9/BaseOS/x86_64/os"),
        ("rocky-9", "../../../AppStream/x86_64/os/", "/rocky/9/AppStream/x86_64/os"),
        (
            "almalinux-9",
            "../../../AppStream/x86_64/kickstart/",
            "/almalinux/9/AppStream/x86_64/kickstart",
        ),
        ("rocky-9-dvd", "BaseOS", "/dvd/rocky/9/BaseOS"),
        ("rocky-9-dvd", "AppStream", "/dvd/rocky/9/AppStream"),
        ("centos-7", ".", "/centos/7/os/x86_64"),
    ],
)
async def test_variants_of_a_tree_are_found_where_anaconda_looks_for_them(
    mirror: Mirror, name: str, relative: str, asked: str
) -> None:
    url = variant(told(mirror, name), relative)
    async with mirror.client.session.get(f"{url}/Packages/t/tmux-3.rpm") as answer:
        assert (answer.status, await answer.read()) == (200, PACKAGE)
    assert mirror.repository.asked == [(f"{asked}/Packages/t/tmux-3.rpm", 200)]


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


async def first_caller(mirror: Mirror, path: str) -> asyncio.StreamWriter:
    """A caller with small buffers that has read no more than the first line of its answer."""
    url = mirror.client.make_url("/")
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.setblocking(False)
    await asyncio.get_running_loop().sock_connect(raw, (url.host, url.port))
    reader, writer = await asyncio.open_connection(sock=raw, limit=1024)
    writer.write(f"GET /mirror/debian-12/{path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    async with asyncio.timeout(30):
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    return writer


async def test_caller_that_reads_no_more_keeps_the_piece_from_nobody(tmp_path: Path) -> None:
    async with mirroring(tmp_path, limit_bytes=2 * len(LARGE), caller_s=0.1) as mirror:
        caller = await first_caller(mirror, "large.deb")
        async with asyncio.timeout(30):
            assert await mirror.get("large.deb") == (200, LARGE)
        assert len(mirror.repository.asked) == 1
        caller.transport.abort()


async def test_piece_whose_first_caller_left_is_fetched_once_for_the_others(
    tmp_path: Path,
) -> None:
    async with mirroring(tmp_path, limit_bytes=2 * len(LARGE)) as mirror:
        caller = await first_caller(mirror, "held.deb")
        other = asyncio.create_task(mirror.get("held.deb"))
        caller.transport.abort()
        mirror.repository.goes_on.set()
        async with asyncio.timeout(30):
            assert await other == (200, LARGE)
        assert len(mirror.repository.asked) == 1


@pytest.mark.parametrize("name", ["large.deb", "endless.deb"])
async def test_piece_larger_than_all_that_is_kept_passes_through(mirror: Mirror, name: str) -> None:
    assert await mirror.get("a.deb") == (200, PACKAGE)
    assert await mirror.get(name) == (200, LARGE)
    assert await mirror.get("a.deb") == (200, PACKAGE)
    assert len(mirror.repository.asked) == 2
    assert not list(mirror.directory.glob("*.new"))
    assert [path.stat().st_size for path in mirror.directory.iterdir() if not path.suffix] == [
        len(PACKAGE)
    ]


async def test_part_of_a_piece_that_is_not_kept_is_the_whole_or_refused(mirror: Mirror) -> None:
    assert await mirror.get("large.deb", Range="bytes=0-9") == (200, LARGE)
    status, said = await mirror.get("endless.deb", Range="bytes=0-9")
    assert (status, b"that are kept here" in said) == (503, True)
    answer = await mirror.client.head("/mirror/debian-12/large.deb")
    assert (answer.status, answer.content_length) == (200, len(LARGE))


@contextmanager
def no_file_beyond(size_bytes: int) -> Iterator[None]:
    """This process writes no larger file until the block ends, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_disk_that_takes_no_more_keeps_a_piece_from_nobody(mirror: Mirror) -> None:
    with no_file_beyond(len(PACKAGE) // 2):
        assert await mirror.get("a.deb") == (200, PACKAGE)
        assert (await mirror.get("a.deb", Range="bytes=0-9"))[0] == 503
    assert not list(mirror.directory.iterdir())
    assert await mirror.get("a.deb", Range="bytes=0-9") == (206, PACKAGE[:10])


async def test_disk_that_makes_no_file_keeps_a_piece_from_nobody(tmp_path: Path) -> None:
    (tmp_path / "mirror").write_bytes(b"")  # so that there can be no directory, also not for root
    async with mirroring(tmp_path, limit_bytes=LIMIT_BYTES) as mirror:
        assert await mirror.get("a.deb") == (200, PACKAGE)
        assert (await mirror.get("a.deb", Range="bytes=0-9"))[0] == 503
        mirror.directory.unlink()
        for _ in range(2):
            assert await mirror.get("a.deb", Range="bytes=0-9") == (206, PACKAGE[:10])
        assert len(mirror.repository.asked) == 3


async def test_disk_that_does_not_take_what_was_said_of_a_piece_keeps_it_from_nobody(
    mirror: Mirror,
) -> None:
    assert await mirror.get("Release") == (200, b"first")
    await until(lambda: any(mirror.directory.glob("*.json")), "it to be kept, once it was given")
    mirror.now_s += FRESH_S
    (said,) = mirror.directory.glob("*.json")
    taken = said.with_suffix(".json-new")  # what it is written through
    taken.mkdir()
    assert await mirror.get("Release") == (200, b"first")
    mirror.repository.index = "second"
    assert await mirror.get("Release") == (200, b"second")


async def test_room_is_made_also_where_a_piece_goes_meanwhile(mirror: Mirror) -> None:
    (mirror.directory / "gone").symlink_to("nowhere")
    assert await mirror.get("a.deb") == (200, PACKAGE)


async def test_piece_that_is_removed_while_it_is_looked_for_is_fetched_anew(
    mirror: Mirror,
) -> None:
    def remove() -> None:
        for path in mirror.directory.iterdir():
            path.unlink()
        mirror.meanwhile = lambda: None

    assert await mirror.get("a.deb") == (200, PACKAGE)
    kept = mirror.directory.iterdir
    await until(lambda: {path.suffix for path in kept()} == {"", ".json"}, "it to be kept")
    mirror.meanwhile = remove
    assert await mirror.get("a.deb") == (200, PACKAGE)
    assert len(mirror.repository.asked) == 2
