"""What regions copy images by: one list of all manifests, and each file by its digest.

The rule: a file's path is its content, so a part of it can be asked for at any time and from any
control plane that has it; one that was replaced meanwhile is not there (404). A download holds no
thread but while it reads the disk, and only so many go on at once, in all and of one user.
"""

import asyncio
import hashlib
import os
import re
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, cast

import msgspec
from litestar import Response, get
from litestar.datastructures import ResponseHeader
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, HeaderParameter
from litestar.response import Stream
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from lpmos.control.access import CallerRequest, needs
from lpmos.control.http.problems import PROBLEMS
from lpmos.images.catalog import Catalog
from lpmos.images.installers import Installers
from lpmos.images.items import ItemKind, file_of, listed
from lpmos.model.access import Permission
from lpmos.model.errors import ImageError, NotFound, Occupied

MOST_AT_ONCE = 64
MOST_OF_ONE_USER = 8
"""Regions share a user, and each downloads one file at a time; one user alone stops no other."""
READS_AT_ONCE = 4
"""By threads of their own: who leaves a slow disk to itself leaves a thread with it."""
PIECE_BYTES = 128 << 10
OCTETS = "application/octet-stream"

_RANGE = re.compile(r"bytes=([0-9]{1,15})-([0-9]{0,15})")


class ImageItemView(msgspec.Struct, frozen=True, kw_only=True):
    """One item with its manifest, which has digest and size of each of its files.

    `manifest` is null where it cannot be given out now; `error` says why.
    """

    kind: ItemKind
    name: str
    manifest: dict[str, Any] | None = None
    error: str | None = None


class ImageItemList(msgspec.Struct, frozen=True):
    """All that machines are booted and installed from: the agent, images and installers."""

    items: list[ImageItemView]


class ImageFiles(Collector):
    """The files of one images directory, given out to at most `most` at once.

    To one user at most `MOST_OF_ONE_USER`.
    """

    def __init__(
        self,
        catalog: Catalog,
        installers: Installers,
        directory: Path,
        *,
        most: int = MOST_AT_ONCE,
    ) -> None:
        self._catalog = catalog
        self._installers = installers
        self._directory = directory
        self._most = most
        self._downloads: Counter[str] = Counter()
        """How many each user has; who has none is not in it."""
        self._reads = ThreadPoolExecutor(READS_AT_ONCE, thread_name_prefix="image-file")
        self._refused = 0
        self._sent_bytes = 0

    def all(self) -> ImageItemList:
        """Every item; those that cannot be given out with why.

        Raises:
            ImageError: the directory cannot be read.
        """
        found = listed(self._catalog, self._installers, self._directory)
        return ImageItemList(
            [
                ImageItemView(
                    kind=cast(ItemKind, each.kind),
                    name=each.name,
                    manifest=None if each.error else msgspec.json.decode(each.manifest),
                    error=each.error,
                )
                for each in found
            ]
        )

    def find(self, sha256: str) -> tuple[Path, int]:
        """Where a file is, and how many bytes it has.

        Raises:
            NotFound: there is none with this digest, or no more.
        """
        try:
            path = file_of(self._catalog, self._installers, sha256)
        except ImageError as error:
            raise Occupied(f"the images cannot be read now: {error}") from error
        with suppress(FileNotFoundError):
            if path is not None:
                return path, path.stat().st_size
        raise NotFound(
            f"there is no file with the digest {sha256[:64]}, or another size than its manifest"
            " says: read the list again, and verify its image"
        )

    async def open(
        self, path: Path, first: int, last: int, user: str
    ) -> AsyncGenerator[bytes, None]:
        """The bytes from `first` to `last` of a file for this user; it is open by then.

        Raises:
            NotFound: it was removed meanwhile.
            Occupied: too many are being given out, to this user or in all.
        """
        pieces = self._pieces(path, first, last, user)
        await anext(pieces)
        return pieces

    async def _pieces(
        self, path: Path, first: int, last: int, user: str
    ) -> AsyncGenerator[bytes, None]:
        """First an empty piece, once the file is open."""
        loop = asyncio.get_running_loop()
        with self._place(user), _opened(path) as descriptor:
            yield b""
            while first <= last:
                size = min(PIECE_BYTES, last + 1 - first)
                piece = await loop.run_in_executor(self._reads, os.pread, descriptor, size, first)
                if not piece:
                    return
                first += len(piece)
                self._sent_bytes += len(piece)
                yield piece

    @contextmanager
    def _place(self, user: str) -> Iterator[None]:
        for now, most, whom in (
            (self._downloads[user], MOST_OF_ONE_USER, f" by {user}"),
            (self._downloads.total(), self._most, ""),
        ):
            if now >= most:
                self._refused += 1
                raise Occupied(f"{most} files of images are being downloaded{whom}; try later")
        self._downloads[user] += 1
        try:
            yield
        finally:
            self._downloads -= Counter([user])

    def collect(self) -> Iterator[Metric]:
        """Its metrics."""
        now = GaugeMetricFamily("lpmos_image_downloads", "Files of images on their way to regions")
        now.add_metric([], self._downloads.total())
        yield now
        refused = CounterMetricFamily(
            "lpmos_image_downloads_refused", "Downloads that began while all places were taken"
        )
        refused.add_metric([], self._refused)
        yield refused
        sent = CounterMetricFamily("lpmos_image_sent_bytes", "Bytes of images given to regions")
        sent.add_metric([], self._sent_bytes)
        yield sent


@get(
    "/image-files",
    responses={
        **PROBLEMS,
        304: ResponseSpec(
            None, description="Nothing has changed since that list.", generate_examples=False
        ),
    },
    response_headers=[
        ResponseHeader(
            name="ETag",
            description="Of this list, for `If-None-Match`.",
            documentation_only=True,
            required=True,
        )
    ],
    opt=needs(Permission.IMAGE_READ),
)
async def list_image_files(
    image_files: NamedDependency[ImageFiles],
    if_none_match: Annotated[
        str | None,
        HeaderParameter(
            name="If-None-Match",
            max_length=400,
            description="The ETag of a list that is known: where it is still that, 304.",
        ),
    ] = None,
) -> Response[ImageItemList]:
    """The agent, every image and every installer with its manifest, for regions to copy."""
    found = await asyncio.to_thread(image_files.all)
    etag = f'"{hashlib.sha256(msgspec.json.encode(found)).hexdigest()[:32]}"'
    headers = {"ETag": etag}
    if etag in _tags(if_none_match):
        return Response(cast(Any, None), status_code=304, headers=headers)
    return Response(found, headers=headers)


@get(
    "/image-files/{sha256:str}",
    media_type=OCTETS,
    responses={
        **PROBLEMS,
        206: ResponseSpec(
            bytes,
            description="The part that `Range` asks for.",
            media_type=cast(Any, OCTETS),
            generate_examples=False,
        ),
        416: ResponseSpec(
            None, description="The part begins after the file's end.", generate_examples=False
        ),
    },
    opt=needs(Permission.IMAGE_READ),
)
async def download_image_file(
    request: CallerRequest,
    sha256: FromPath[str],
    image_files: NamedDependency[ImageFiles],
    range_: Annotated[
        str | None,
        HeaderParameter(
            name="Range",
            max_length=100,
            description="One part, as `bytes=1000-`; of anything else the whole is sent.",
        ),
    ] = None,
) -> Response[bytes]:
    """A file of an item by the SHA-256 that its manifest says; parts of it by `Range`."""
    path, size_bytes = await asyncio.to_thread(image_files.find, sha256)
    if begins_beyond(range_, size_bytes):
        headers = {"Content-Range": f"bytes */{size_bytes}"}
        return Response(b"", status_code=416, media_type=OCTETS, headers=headers)
    part = asked_part(range_, size_bytes)
    first, last = part or (0, size_bytes - 1)
    pieces = await image_files.open(path, first, last, request.user.subject)
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Length": str(last + 1 - first),
        "ETag": f'"{sha256}"',
        **({"Content-Range": f"bytes {first}-{last}/{size_bytes}"} if part else {}),
    }
    stream = Stream(pieces, media_type=OCTETS, status_code=206 if part else 200, headers=headers)
    return cast(Response[bytes], cast(Any, stream))


def _tags(if_none_match: str | None) -> list[str]:
    """The tags as they are compared weakly (RFC 9110 section 13.1.2): balancers make them weak."""
    return [each.strip().removeprefix("W/") for each in (if_none_match or "").split(",")]


def asked_part(text: str | None, size_bytes: int) -> tuple[int, int] | None:
    """The first and the last byte that a `Range` names (RFC 9110 section 14.1.2).

    None where it names none that there is, several, or something else than bytes: all of it is
    sent then, as section 14.2 allows.
    """
    match = _RANGE.fullmatch(text or "")
    if match is None:
        return None
    first, last = int(match[1]), min(int(match[2] or size_bytes), size_bytes - 1)
    return (first, last) if first <= last else None


def begins_beyond(text: str | None, size_bytes: int) -> bool:
    """Whether a `Range` names one part, which begins after the last byte: 416 (section 15.5.17)."""
    match = _RANGE.fullmatch(text or "")
    return match is not None and int(match[1]) >= size_bytes


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        raise NotFound("the file was replaced at this moment; read the list again") from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


IMAGE_FILE_CALLS = (list_image_files, download_image_file)
