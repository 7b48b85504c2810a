"""The control plane that a region copies its images from: its list, and its files by digest.

The rule: every way in which it does not give what was asked for is a `NotFetched` that says what to
do, and whether to go on with another file makes sense. Nothing is believed but by its digest, which
is for the caller to compare. The token is read anew for each call, so that a new one needs no
restart; redirects are not followed, so that it is shown to nobody else.
"""

import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal, NamedTuple

import aiohttp
import msgspec

from lpmos.images.items import Listed
from lpmos.model.errors import SettingsError

TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10.0, sock_read=60.0)
LIST_BYTES = 32 << 20
CHUNK_BYTES = 1 << 20
LONGEST_RETRY_S = 600

Reason = Literal[
    "away", "refused", "busy", "list", "gone", "broken", "digest", "space", "disk", "untrusted"
]


class NotFetched(Exception):
    """Something could not be fetched; the text is for people, and says what to do.

    `whole` says that nothing else can be fetched now either; `retry_after_s` is what the source
    asked for.
    """

    def __init__(
        self, reason: Reason, text: str, *, whole: bool = False, retry_after_s: int = 0
    ) -> None:
        super().__init__(text)
        self.reason: Reason = reason
        self.whole = whole
        self.retry_after_s = retry_after_s


class SourceSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where images come from: `url` of a control plane, a file with a token, CAs to trust."""

    url: str
    token_file: Path
    ca: Path | None = None


class Listing(NamedTuple):
    """A list, and the tag that it is asked for again with."""

    items: tuple[Listed, ...]
    etag: str


class _List(msgspec.Struct, frozen=True):
    items: tuple[Listed, ...]


class ImageSource:
    """One control plane; a context in which it can be asked."""

    def __init__(self, settings: SourceSettings) -> None:
        """Nothing is asked yet.

        Raises:
            SettingsError: the CA file cannot be used.
        """
        self.url = settings.url
        self._settings = settings
        self._tls = _trust(settings.ca)

    @asynccontextmanager
    async def session(self) -> AsyncIterator["Calls"]:
        """Connections to it."""
        async with aiohttp.ClientSession(
            timeout=TIMEOUT,
            trust_env=True,
            read_bufsize=CHUNK_BYTES,
            cookie_jar=aiohttp.DummyCookieJar(),
        ) as http:
            yield Calls(http, self._settings, self._tls)


class Calls:
    """What is asked of the source."""

    def __init__(
        self, http: aiohttp.ClientSession, settings: SourceSettings, tls: ssl.SSLContext | bool
    ) -> None:
        self._http = http
        self._settings = settings
        self._tls = tls

    async def listing(self, known: Listing | None) -> Listing:
        """What it has now; `known` where that has not changed.

        Raises:
            NotFetched: it cannot be asked, or its answer is no list.
        """
        headers = {"If-None-Match": known.etag} if known else {}
        async with self._get("image-files", headers) as answer:
            if answer.status == 304 and known:
                return known
            self._check(answer)
            content = await _all_of(answer, LIST_BYTES)
            try:
                items = msgspec.json.decode(content, type=_List).items
            except (msgspec.MsgspecError, UnicodeError) as error:
                raise self._no_list(f"its list cannot be read ({error})") from error
            return Listing(items, answer.headers.get("ETag", ""))

    async def file(self, sha256: str, offset: int) -> AsyncGenerator[bytes, None]:
        """The bytes of a file from `offset` on, in pieces.

        Raises:
            NotFetched: it cannot be asked, has no such file, or breaks off.
        """
        headers = {"Range": f"bytes={offset}-", "Accept-Encoding": "identity"}
        async with self._get(f"image-files/{sha256}", headers) as answer:
            self._check(answer)
            if offset and not answer.headers.get("Content-Range", "").startswith(
                f"bytes {offset}-"
            ):
                raise self._no_list("it does not give files from the middle on")
            async for chunk in answer.content.iter_chunked(CHUNK_BYTES):
                yield chunk

    @asynccontextmanager
    async def _get(
        self, path: str, headers: dict[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        token = self._token()
        try:
            async with self._http.get(
                f"{self._settings.url}/api/v1/{path}",
                headers={**headers, "Authorization": f"Bearer {token}"},
                ssl=self._tls,
                allow_redirects=False,
            ) as answer:
                yield answer
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            text = (
                f"{self._settings.url} cannot be reached ({str(error) or type(error).__name__}):"
                " look at images_url, images_ca and the way there"
            )
            raise NotFetched("away", text, whole=True) from error

    def _token(self) -> str:
        place = self._settings.token_file
        try:
            token = place.read_text().strip()
        except (OSError, UnicodeError) as error:
            text = f"images_token_file: {place} cannot be read ({error})"
            raise NotFetched("refused", text, whole=True) from error
        if not token or not token.isascii() or not token.isprintable():
            raise NotFetched("refused", f"images_token_file: {place} has no token", whole=True)
        return token

    def _check(self, answer: aiohttp.ClientResponse) -> None:
        """Raise what an answer without the content means."""
        url, status = self._settings.url, answer.status
        if status in (200, 206):
            return
        if status in (401, 403):
            text = (
                f"{url} does not take the token of {self._settings.token_file} ({status}): put one"
                " of a user with the role viewer there (`lpmos token create`)"
            )
            raise NotFetched("refused", text, whole=True)
        if status in (429, 503):
            text = f"{url} is busy ({status}); it is asked again"
            raise NotFetched("busy", text, whole=True, retry_after_s=_retry_after_s(answer))
        for_list = answer.url.path.endswith("/image-files")
        if status == 404 and for_list:
            raise self._no_list("it is none, or of a version that gives no images to regions")
        if status in (404, 409, 416):
            text = (
                f"{url} cannot give this file ({status}): it was replaced, then the new one comes,"
                " or is damaged there (`lpmos image verify`)"
            )
            raise NotFetched("gone", text)
        if status >= 500 and not for_list:
            text = f"{url} cannot give this file ({status}): look at the control plane's log"
            raise NotFetched("broken", text)
        raise self._no_list(f"it answered with {status}")

    def _no_list(self, why: str) -> NotFetched:
        text = f"{self._settings.url} is no control plane to fetch from: {why}; look at images_url"
        return NotFetched("list", text, whole=True)


async def _all_of(answer: aiohttp.ClientResponse, limit_bytes: int) -> bytes:
    content = bytearray()
    async for chunk in answer.content.iter_chunked(CHUNK_BYTES):
        content += chunk
        if len(content) > limit_bytes:
            raise NotFetched("list", f"the list has more than {limit_bytes} bytes", whole=True)
    return bytes(content)


def _retry_after_s(answer: aiohttp.ClientResponse) -> int:
    text = answer.headers.get("Retry-After", "")
    return min(int(text[:6]), LONGEST_RETRY_S) if text.isascii() and text.isdecimal() else 0


def _trust(ca: Path | None) -> ssl.SSLContext | bool:
    """The certificates of a file in place of the system's."""
    if ca is None:
        return True
    try:
        return ssl.create_default_context(cafile=str(ca))
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"--images-ca: {ca} cannot be used ({error})") from error
