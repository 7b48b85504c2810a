"""The full log of a task, read from the region that keeps it (S13).

A region answers this call to whoever reaches it, and shall be reached by machines and control
planes only. So a caller never says where to: the address is the one that the region itself keeps in
the store, the path is made here, redirects are not followed, and size, time and number are bounded.
"""

from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager

import aiohttp
from yarl import URL

from lpmos.core.fleet import Fleet
from lpmos.model.errors import TooBusy
from lpmos.model.region import is_api_url

CONNECT_TIMEOUT_S = 3.0
READ_TIMEOUT_S = 10.0
TOTAL_TIMEOUT_S = 300.0
MOST_BYTES = 32 << 20
PIECE_BYTES = 64 << 10
MOST_AT_ONCE = 8
MOST_OF_ONE_USER = 2
TEXT = "text/plain"

BROKE_OFF = b"\n[WARN] the log broke off here: %s; download it again\n"


class LogAway(Exception):
    """The region's log cannot be read now; the text says why."""


class RegionLogs:
    """Reads the logs; `MOST_AT_ONCE` of them at once, `MOST_OF_ONE_USER` for one reader."""

    def __init__(
        self,
        fleet: Fleet,
        *,
        read_timeout_s: float = READ_TIMEOUT_S,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        """`read_timeout_s` is how long a region may be silent, `most_bytes` what is read of it."""
        self._fleet = fleet
        self._timeout = aiohttp.ClientTimeout(
            total=TOTAL_TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S, sock_read=read_timeout_s
        )
        self._most_bytes = most_bytes
        self._reading: Counter[str] = Counter()
        """How many each user reads; who reads none is not in it."""

    def url(self, idc: str, task_id: str) -> URL:
        """Where the log of a task of this region is.

        Raises:
            LogAway: the region is away, or says of itself no address that is followed.
        """
        beat = self._fleet.region(idc).heartbeat
        if beat is None:
            raise LogAway(f"the region {idc} is offline")
        if beat.api_url is None or not is_api_url(beat.api_url):
            raise LogAway(f"the region {idc} names no address of its API")
        return URL(beat.api_url) / "api/v1/tasks" / task_id / "log"

    async def open(self, idc: str, task_id: str, reader: str) -> AsyncGenerator[bytes, None]:
        """The pieces of a log for the user `reader`; the region has answered by then.

        Raises:
            LogAway: it cannot be read; the text says why.
            TooBusy: too many are being read, by this user or in all.
        """
        pieces = self._pieces(self.url(idc, task_id), idc, reader)
        await anext(pieces)
        return pieces

    async def _pieces(self, url: URL, idc: str, reader: str) -> AsyncGenerator[bytes, None]:
        """First an empty piece, once the region has begun to answer."""
        with self._place(reader):
            began = False
            try:
                async with (
                    aiohttp.ClientSession(
                        timeout=self._timeout, cookie_jar=aiohttp.DummyCookieJar()
                    ) as session,
                    session.get(url, allow_redirects=False) as answer,
                ):
                    _check(answer, idc)
                    began = True
                    yield b""
                    left = self._most_bytes
                    async for piece in answer.content.iter_chunked(PIECE_BYTES):
                        yield piece[:left]
                        left -= len(piece)
                        if left <= 0:
                            yield BROKE_OFF % b"it is too long"
                            return
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                if not began:
                    raise LogAway(f"the region {idc} cannot be reached") from error
                yield BROKE_OFF % b"the region does not go on"

    @contextmanager
    def _place(self, reader: str) -> Iterator[None]:
        if self._reading[reader] >= MOST_OF_ONE_USER:
            raise TooBusy(f"you download {MOST_OF_ONE_USER} logs already; wait for one to end")
        if self._reading.total() >= MOST_AT_ONCE:
            raise TooBusy(f"{MOST_AT_ONCE} logs are being downloaded already; try again later")
        self._reading[reader] += 1
        try:
            yield
        finally:
            self._reading -= Counter([reader])


def _check(answer: aiohttp.ClientResponse, idc: str) -> None:
    if answer.status == 404:
        raise LogAway(f"the region {idc} keeps no log of this task")
    if answer.status != 200 or answer.content_type != TEXT:
        raise LogAway(f"the region {idc} answered with {answer.status} instead of a log")
