"""The region as a caching mirror of its installers' repositories: each piece is fetched once.

The rule: only what an installer's manifest names is ever fetched, by the installer's name; no part
of a request chooses a host, so this is no proxy for anybody else. Of a release in several trees
(RHEL's BaseOS and AppStream) one names all. A piece whose name says its content (a package of one
version, a file by its digest) is kept as it is; anything else is asked for again after `FRESH_S`,
and served as it was while the repository cannot be reached. What is kept is bounded: the least
recently used goes first; what is larger than the bound passes through. Who asks first is given a
piece as it arrives, and others wait for the whole: one that stops reading is left, and the piece is
fetched on without it.

    <state_dir>/mirror/<SHA-256 of the URL>         the bytes
    <state_dir>/mirror/<SHA-256 of the URL>.json    what was said of them: `Said`

Sources: RFC 9110 (conditional requests), RFC 9111; Debian's repository format for `by-hash`.
"""

import asyncio
import contextlib
import hashlib
import os
import re
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from io import FileIO
from pathlib import Path
from typing import ParamSpec
from urllib.parse import unquote
from weakref import WeakValueDictionary

import aiohttp
import msgspec
import structlog
from aiohttp import web

from lpmos.images.installers import Installers
from lpmos.model.errors import FieldProblem, ImageError, InvalidInput, NotFound
from lpmos.model.installer import InstallerManifest
from lpmos.store.api import Unavailable

PREFIX, MEDIA = "/mirror", "/media"
FRESH_S = 60.0
"""How long an index is served without asking for a newer one: one install sees one index."""
CHUNK_BYTES = 1 << 20
FETCHES = 32
"""At once; who comes beyond that waits."""
TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10.0, sock_read=60.0)
CALLER_S = 30.0
"""How long a caller may take no more of a piece; then the piece is fetched on without it."""
ATTEMPTS = 2
"""A piece that is removed while it is looked for is fetched anew."""
PATH_CHARACTERS = 1000

_IMMUTABLE = re.compile(
    r"(/by-hash/|\.(u?deb|d?rpm|iso|squashfs)$|[0-9a-f]{64})", re.ASCII | re.IGNORECASE
)
_PARTED = re.compile(r"/BaseOS/[^/]+/(os|kickstart)$", re.ASCII)
"""How the URL of a tree ends that is one of several of a release."""
_PASSED = ("Content-Type", "ETag", "Last-Modified")
P = ParamSpec("P")


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What the repository said of a piece, and when it was asked last (seconds since 1970)."""

    url: str
    headers: dict[str, str]
    asked_at: float


class NotThere(NotFound):
    """The repository does not have it."""

    code = "not-in-repository"


class Caller:
    """Who asked first for a piece and is given it as it arrives, for as long as it takes it."""

    def __init__(
        self, request: web.Request, response: web.StreamResponse | None, caller_s: float
    ) -> None:
        """`response` is None for one that is answered from what is kept."""
        self._request = request
        self._caller_s = caller_s
        self.response = response
        self.takes = response is not None

    @property
    def has_head(self) -> bool:
        """Whether its answer has begun."""
        return self.response is not None and self.response.prepared

    async def give(self, chunk: bytes) -> None:
        """Pass bytes on, unless it left; one that takes none for `caller_s` is left."""
        if self.response is None or not self.takes:
            return
        try:
            async with asyncio.timeout(self._caller_s):
                if not self.response.prepared:
                    await self.response.prepare(self._request)
                await self.response.write(chunk)
        except (ConnectionError, TimeoutError, aiohttp.ClientConnectionError):
            self.leave()

    def leave(self) -> None:
        """Break the connection: only that tells it that the rest is missing."""
        self.takes = False
        if self._request.transport is not None:
            self._request.transport.abort()


class MirrorCache:
    """The handlers below `/mirror/` and `/media/`, and their directory."""

    def __init__(
        self,
        installers: Installers,
        directory: Path,
        *,
        limit_bytes: int,
        now_s: Callable[[], float] = time.time,
        caller_s: float = CALLER_S,
    ) -> None:
        """`now_s` gives seconds since 1970; `caller_s` is as `CALLER_S`."""
        self._installers = installers
        self._directory = directory
        self._limit_bytes = limit_bytes
        self._now_s = now_s
        self._caller_s = caller_s
        self._session: aiohttp.ClientSession | None = None
        self._places: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._fetches = asyncio.Semaphore(FETCHES)
        self._log = structlog.get_logger()

    def routes(self) -> list[web.RouteDef]:
        """The table of this part."""
        return [
            web.get(f"{PREFIX}/{{name}}/{{path:.*}}", self.piece),
            web.get(f"{MEDIA}/{{name}}/{{path}}", self.media),
        ]

    async def session(self, _: web.Application) -> AsyncIterator[None]:
        """The connections to the repositories, for as long as the region serves."""
        await asyncio.to_thread(self._prepare)
        async with aiohttp.ClientSession(
            timeout=TIMEOUT, trust_env=True, auto_decompress=False
        ) as session:
            self._session = session
            yield
            self._session = None

    async def piece(self, request: web.Request) -> web.StreamResponse:
        """A piece of an installer's repository."""
        manifest = self._manifest(request)
        path = checked_path(request.match_info["path"])
        root, _ = _root_and_tree(manifest)
        return await self._serve(request, f"{root}/{path}")

    async def media(self, request: web.Request) -> web.StreamResponse:
        """The installer's medium, for those that load one."""
        manifest = self._manifest(request)
        if not manifest.media or media_name(manifest) != request.match_info["path"]:
            raise NotFound(f"the installer {manifest.name} has no such medium")
        return await self._serve(request, manifest.media)

    def _manifest(self, request: web.Request) -> InstallerManifest:
        try:
            return self._installers.load(request.match_info["name"])
        except ImageError:
            raise NotFound("there is no such installer") from None

    async def _serve(self, request: web.Request, url: str) -> web.StreamResponse:
        if not url.startswith(("http://", "https://")):
            raise NotFound("this repository is not fetched through the region's mirror")
        place = self._directory / hashlib.sha256(url.encode()).hexdigest()
        lock = self._places.setdefault(place.name, asyncio.Lock())
        async with lock:
            for _ in range(ATTEMPTS):
                said = await asyncio.to_thread(_read, place, url)
                if said is None or not self._is_fresh(said):
                    streamed = await self._fetch(request, url, place, said)
                    if streamed is not None:
                        return streamed
                    said = await asyncio.to_thread(_read, place, url)
                # Another piece may have needed its room meanwhile.
                with contextlib.suppress(FileNotFoundError):
                    if said is not None:
                        await asyncio.to_thread(_note_use, place)
                        return web.FileResponse(place, headers=said.headers)
        raise Unavailable("the piece was not kept; ask again")

    def _is_fresh(self, said: Said) -> bool:
        age_s = self._now_s() - said.asked_at
        return bool(_IMMUTABLE.search(said.url)) or 0 <= age_s < FRESH_S

    async def _fetch(
        self, request: web.Request, url: str, place: Path, known: Said | None
    ) -> web.StreamResponse | None:
        """Fetch a piece into its place; the answer where it was streamed to the caller at once.

        Raises:
            NotThere: the repository does not have it.
            Unavailable: the repository cannot be reached, and nothing is known of the piece.
        """
        if self._session is None:
            raise Unavailable("the region is starting or stopping")
        try:
            async with self._fetches, self._session.get(url, headers=_conditions(known)) as answer:
                if answer.status == 304 and known is not None:
                    await self._taken(_write_said, place, self._asked(url, known.headers))
                    return None
                _check_status(url, answer.status)
                return await self._take(request, url, place, answer)
        except (aiohttp.ClientError, TimeoutError, Unavailable) as error:
            if known is not None:
                self._log.warning("a repository cannot be reached; an older piece is served",
                                  url=url, error=str(error))  # fmt: skip
                return None
            raise Unavailable(f"{url} cannot be fetched: {_named(error)}") from error

    def _asked(self, url: str, headers: dict[str, str]) -> Said:
        return Said(url=url, headers=headers, asked_at=self._now_s())

    async def _take(
        self, request: web.Request, url: str, place: Path, answer: aiohttp.ClientResponse
    ) -> web.StreamResponse | None:
        headers = {name: answer.headers[name] for name in _PASSED if name in answer.headers}
        too_large = (answer.content_length or 0) > self._limit_bytes
        response = web.StreamResponse(headers=headers)
        response.content_length = answer.content_length
        if too_large and request.method == "HEAD":
            return response
        # A part of what is not kept is answered with the whole (RFC 9110 section 14.2).
        streams = request.method == "GET" and (too_large or "Range" not in request.headers)
        caller = Caller(request, response if streams else None, self._caller_s)
        arriving = place.with_name(f"{place.name}.{os.getpid()}.new")
        try:
            file = None if too_large else await self._opened(arriving, answer.content_length or 0)
            arrived_bytes = await self._pass_on(caller, answer, file)
            if arrived_bytes is not None and not (
                await self._taken(self._make_room, arrived_bytes)
                and await self._taken(_keep, arriving, place, self._asked(url, headers))
            ):
                arrived_bytes = None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if not caller.has_head:
                raise
            self._log.warning("a piece broke off on its way", url=url, error=_named(error))
            caller.leave()
            return caller.response
        finally:
            with contextlib.suppress(OSError):  # a disk that is read only says so of no file, too
                arriving.unlink()
        if arrived_bytes is None and caller.response is None:
            raise Unavailable(
                f"it has more than the {self._limit_bytes} bytes that are kept here, or the disk"
                " has no room for it"
            )
        self._log.info("fetched from a repository", url=url, kept=arrived_bytes is not None)
        return caller.response

    async def _pass_on(
        self, caller: Caller, answer: aiohttp.ClientResponse, file: FileIO | None
    ) -> int | None:
        """Write what comes and give it to the caller; its bytes, None where it is not to be kept.

        What is larger than all that is kept, or than the disk has room for, is given to the caller
        only, while it takes it; so is all where there is no file.
        """
        arrived_bytes = 0
        keeps = file is not None
        with file or contextlib.nullcontext():
            async for chunk in answer.content.iter_chunked(CHUNK_BYTES):
                arrived_bytes += len(chunk)
                if (file is not None and keeps) and not (
                    arrived_bytes <= self._limit_bytes and await self._taken(_write, file, chunk)
                ):
                    keeps = False
                    await asyncio.to_thread(file.truncate, 0)
                if not keeps and not caller.takes:
                    break
                await caller.give(chunk)
        return arrived_bytes if keeps else None

    async def _opened(self, arriving: Path, size_bytes: int) -> FileIO | None:
        """The file for a piece, with room for it; None where the disk makes none."""

        def opened() -> FileIO:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._make_room(size_bytes)
            return arriving.open("wb", buffering=0)

        try:
            return await asyncio.to_thread(opened)
        except OSError as error:
            self._say_full(error)
            return None

    async def _taken(self, write: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> bool:
        """Whether the disk took it; where it is full, pieces are passed on and not kept."""
        try:
            await asyncio.to_thread(write, *args, **kwargs)
        except OSError as error:
            self._say_full(error)
            return False
        return True

    def _say_full(self, error: OSError) -> None:
        self._log.error(
            "the region's disk takes no more: a piece is passed on, and not kept",
            error=str(error),
            hint=f"make space in {self._directory}",
        )

    def _prepare(self) -> None:
        """Make the directory, without leftovers; where the disk refuses, pieces are passed on."""
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            for leftover in self._directory.glob("*.new"):
                leftover.unlink(missing_ok=True)
        except OSError as error:
            self._log.error(
                "the region's disk refuses the directory of the mirror: nothing is kept meanwhile",
                error=str(error),
                hint=f"make {self._directory} one that can be written",
            )

    def _make_room(self, size_bytes: int) -> None:
        """Remove what was used longest ago until `size_bytes` more fit."""
        stats = sorted(_stats(path for path in self._directory.iterdir() if not path.suffix))
        total = sum(size for _, size, _ in stats)
        for _, size, path in stats:
            if total + size_bytes <= self._limit_bytes:
                return
            path.unlink(missing_ok=True)
            _said_path(path).unlink(missing_ok=True)
            total -= size


def mirror_path(manifest: InstallerManifest) -> str:
    """The path at the region below which an installer's repository is found."""
    _, tree = _root_and_tree(manifest)
    return f"{PREFIX}/{manifest.name}{tree}"


def _root_and_tree(manifest: InstallerManifest) -> tuple[str, str]:
    """The URL below which pieces are fetched, and the path of the installer's tree below that.

    BaseOS's `.treeinfo` names AppStream relative to itself, `../../../AppStream/x86_64/os/`, and
    Anaconda (`tree_info.py`) takes as many parts off the URL that it was told, the host's name too.
    So the path of such a tree stays as it is at the origin.
    """
    url = manifest.repository.rstrip("/")
    parted = _PARTED.search(url)
    return (url[: parted.start()], parted[0]) if parted else (url, "")


def media_path(manifest: InstallerManifest) -> str | None:
    """The path at the region of an installer's medium; None where it has none."""
    return f"{MEDIA}/{manifest.name}/{media_name(manifest)}" if manifest.media else None


def media_name(manifest: InstallerManifest) -> str:
    """The last part of the medium's URL: some installers look at how it ends."""
    return (manifest.media or "").rpartition("/")[2]


def checked_path(path: str) -> str:
    """A path below a repository, as it may be asked for there.

    Raises:
        InvalidInput: it leads elsewhere.
    """
    decoded = unquote(unquote(path))
    wrong = any(part in ("", ".", "..") for part in decoded.removesuffix("/").split("/"))
    strange = any(ord(char) < 0x21 or char in "\\?#\x7f" for char in decoded)
    if wrong or strange or len(path) > PATH_CHARACTERS:
        raise InvalidInput(FieldProblem("path", "is no path below a repository"))
    return path


def _check_status(url: str, status: int) -> None:
    if status in (403, 404, 410):
        raise NotThere(f"{url} is not there (HTTP status {status})")
    if status != 200:
        raise Unavailable(f"{url} answered with HTTP status {status}")


def _conditions(known: Said | None) -> dict[str, str]:
    headers = {"Accept-Encoding": "identity"}
    if known is not None and "ETag" in known.headers:
        headers["If-None-Match"] = known.headers["ETag"]
    if known is not None and "Last-Modified" in known.headers:
        headers["If-Modified-Since"] = known.headers["Last-Modified"]
    return headers


def _stats(paths: Iterable[Path]) -> Iterator[tuple[float, int, Path]]:
    """When each was used last, and its bytes; without those that another fetch has removed."""
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            stat = path.stat()
            yield stat.st_mtime, stat.st_size, path


def _said_path(place: Path) -> Path:
    return place.with_name(f"{place.name}.json")


def _read(place: Path, url: str) -> Said | None:
    """What is known of a piece that is there; None where it is not."""
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        said = msgspec.json.decode(_said_path(place).read_bytes(), type=Said)
        if said.url == url and place.is_file():
            return said
    return None


def _note_use(place: Path) -> None:
    """Note that a piece is used now, where the disk takes that; FileNotFoundError: it is gone."""
    with contextlib.suppress(OSError):
        os.utime(place)
    place.stat()


def _write(file: FileIO, chunk: bytes) -> None:
    """Write all of it; a file without a buffer may take a part at a time."""
    left = memoryview(chunk)
    while left:
        left = left[file.write(left) :]


def _keep(arriving: Path, place: Path, said: Said) -> None:
    _said_path(place).unlink(missing_ok=True)
    arriving.replace(place)
    _write_said(place, said)


def _write_said(place: Path, said: Said) -> None:
    new = _said_path(place).with_suffix(".json-new")
    new.write_bytes(msgspec.json.encode(said))
    new.replace(_said_path(place))


def _named(error: BaseException) -> str:
    return str(error) or type(error).__name__
