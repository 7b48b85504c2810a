"""The full log of a task, read from the region that keeps it (S13).

A region answers this call to whoever proves to be a control plane; the proof is good for this log
alone. A caller never says where to: the address is the one that the region itself keeps in the
store, the path is made here, redirects are not followed, and size, time and number are bounded.
"""

import re
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, contextmanager

import aiohttp
from yarl import URL

from lpmos.core.fleet import Fleet
from lpmos.core.logproof import LogProofs
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
STAMP_BYTES = len("2026-01-01T00:00:00.000Z")
_STAMP = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ")

BROKE_OFF = b"\n[WARN] the log broke off here: %s; download it again\n"


class LogAway(Exception):
    """The region's log cannot be read now; the text says why."""


class RegionLogs:
    """Reads the logs; `MOST_AT_ONCE` of them at once, `MOST_OF_ONE_USER` for one reader."""

    def __init__(
        self,
        fleet: Fleet,
        proofs: LogProofs,
        *,
        read_timeout_s: float = READ_TIMEOUT_S,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        """`read_timeout_s` is how long a region may be silent, `most_bytes` what is read of it."""
        self._fleet = fleet
        self._proofs = proofs
        self.reader = proofs.reader
        """Whom the regions have to know for that."""
        self._timeout = aiohttp.ClientTimeout(
            total=TOTAL_TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S, sock_read=read_timeout_s
        )
        self._most_bytes = most_bytes
        self._reading: Counter[str] = Counter()
        """How many each user reads; who reads none is not in it."""

    def urls(self, idc: str, task_id: str) -> list[URL]:
        """Where the log of a task of this region is: in parts, where it has several clients.

        Raises:
            LogAway: the region is away, or says of itself no address that is followed.
        """
        region = self._fleet.region(idc)
        said = [client.api_url for client in region.clients]
        if not said and region.heartbeat is not None:
            said = [region.heartbeat.api_url or ""]
        if not said:
            raise LogAway(f"the region {idc} is offline")
        followed = [url for url in said if is_api_url(url)]
        if not followed:
            raise LogAway(f"the region {idc} names no address of its API")
        return [URL(url) / "api/v1/tasks" / task_id / "log" for url in followed]

    async def open(self, idc: str, task_id: str, reader: str) -> AsyncGenerator[bytes, None]:
        """The pieces of a log for the user `reader`; the region has answered by then.

        Raises:
            LogAway: it cannot be read; the text says why.
            TooBusy: too many are being read, by this user or in all.
        """
        proof = self._proofs.proof(idc, task_id)
        pieces = self._pieces(self.urls(idc, task_id), proof, idc, reader)
        await anext(pieces)
        return pieces

    async def _pieces(
        self, urls: list[URL], proof: str, idc: str, reader: str
    ) -> AsyncGenerator[bytes, None]:
        """First an empty piece, once the region has begun to answer."""
        with self._place(reader):
            async with AsyncExitStack() as stack:
                session = aiohttp.ClientSession(
                    timeout=self._timeout,
                    cookie_jar=aiohttp.DummyCookieJar(),
                    headers={"Authorization": f"Bearer {proof}"},
                )
                await stack.enter_async_context(session)
                answers = await _opened(stack, session, urls, idc)
                yield b""
                left = self._most_bytes
                try:
                    async for piece in _whole(answers):
                        yield piece[:left]
                        left -= len(piece)
                        if left <= 0:
                            yield BROKE_OFF % b"it is too long"
                            return
                except (aiohttp.ClientError, TimeoutError, OSError):
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


async def _opened(
    stack: AsyncExitStack, session: aiohttp.ClientSession, urls: list[URL], idc: str
) -> list[aiohttp.ClientResponse]:
    """The answers of those clients of a region that have a part of the log.

    Raises:
        LogAway: none has; the text says why, of the last.
    """
    answers: list[aiohttp.ClientResponse] = []
    away = LogAway(f"the region {idc} keeps no log of this task")
    for url in urls:
        try:
            answer = await stack.enter_async_context(session.get(url, allow_redirects=False))
            _check(answer, idc)
            answers.append(answer)
        except LogAway as error:
            away = error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            away = LogAway(f"the region {idc} cannot be reached")
            away.__cause__ = error
    if not answers:
        raise away
    return answers


async def _whole(answers: list[aiohttp.ClientResponse]) -> AsyncGenerator[bytes, None]:
    """The log in pieces; parts of several clients are put together by the time of their lines."""
    if len(answers) == 1:
        async for piece in answers[0].content.iter_chunked(PIECE_BYTES):
            yield piece
        return
    parts = [_lines(answer) for answer in answers]
    heads = [await anext(part, None) for part in parts]
    held = bytearray()
    while any(head is not None for head in heads):
        _, at = min((head[0], at) for at, head in enumerate(heads) if head is not None)
        if (head := heads[at]) is not None:
            held += head[1]
        heads[at] = await anext(parts[at], None)
        if len(held) >= PIECE_BYTES:
            yield bytes(held)
            held.clear()
    yield bytes(held)


async def _lines(answer: aiohttp.ClientResponse) -> AsyncGenerator[tuple[bytes, bytes], None]:
    """Each line with its time; one without a time of its own has that of the line before."""
    time, rest = b"", b""
    async for piece in answer.content.iter_chunked(PIECE_BYTES):
        *lines, rest = (rest + piece).splitlines(keepends=True)
        if rest.endswith(b"\n") or len(rest) > PIECE_BYTES:
            lines, rest = [*lines, rest], b""
        for line in lines:
            time = _time_of(line) or time
            yield time, line
    if rest:
        yield _time_of(rest) or time, rest + b"\n"


def _time_of(line: bytes) -> bytes | None:
    return line[:STAMP_BYTES] if _STAMP.match(line) else None


def _check(answer: aiohttp.ClientResponse, idc: str) -> None:
    if answer.status == 404:
        raise LogAway(f"the region {idc} keeps no log of this task")
    if answer.status == 401:
        raise LogAway(
            f"the region {idc} does not take it that a control plane asks: do all have"
            " one auth_key_file, and do their clocks agree?"
        )
    if answer.status != 200 or answer.content_type != TEXT:
        raise LogAway(f"the region {idc} answered with {answer.status} instead of a log")
