"""The control plane's API as commands call it: one place for credentials, retries and errors.

What may be repeated is repeated by itself (`_repeatable`): calls that change nothing, and calls
that carry an idempotency key. Everything else is sent once; whether to send it again is a person's
decision. Answers stay documents (plain JSON): a command shows them, it does not judge them.
"""

import json
import random
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import urlsplit

import httpx

import lpmos
from lpmos.cli.failures import NoAnswer, NotSignedIn, Refused, Usage
from lpmos.model.tracecontext import HEADER, TraceContext

API: Final = "/api/v1"
CONNECT_TIMEOUT_S: Final = 5.0
ANSWER_TIMEOUT_S: Final = 60.0
ATTEMPTS: Final = 5
LONGEST_WAIT_S: Final = 15.0
"""A server that asks for a longer pause than this is not waited for."""
PAGE: Final = 500

Document = dict[str, Any]


class Credential(Protocol):
    """What a client shows to its server."""

    def token(self, client: "Client") -> str:
        """The token to send.

        Raises:
            NotSignedIn: there is none.
        """

    def renew(self, client: "Client", refused: str) -> bool:
        """Get another token, as the server no longer takes `refused`; False where none is got."""


class Answer(NamedTuple):
    """What came back; `document` is None where the answer has no JSON."""

    status: int
    document: Any
    headers: Mapping[str, str]

    @property
    def etag(self) -> str | None:
        """The revision of what was read, to be sent as `If-Match` with its change."""
        return self.headers.get("etag")


class Client:
    """A context over one connection pool; every call raises `Refused`, `NoAnswer`, `NotSignedIn`.

    Args:
        url: `http://host:port` or `https://…`.
        credential: who calls.
        ca: certificates that are trusted in place of the system's.
        transport: another way to the server than the network, for tests.
        sleep: how a pause between two attempts is made.
        trace: told of every answer: method, path, status and how long it took.
        parent: the span of the caller's own trace that the calls belong to.
    """

    def __init__(
        self,
        url: str,
        credential: Credential,
        *,
        ca: Path | None = None,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        trace: Callable[[str], None] | None = None,
        parent: TraceContext | None = None,
    ) -> None:
        self.url = url
        self.tls = trust(ca) if url.startswith("https:") else None
        self._credential = credential
        self._sleep = sleep
        self._trace = trace
        self._http = httpx.Client(
            base_url=url,
            verify=self.tls or True,
            transport=transport,
            trust_env=not is_loopback(url),
            timeout=httpx.Timeout(ANSWER_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            headers={
                "User-Agent": f"lpmos/{lpmos.__version__}",
                "Accept": "application/json",
                **({HEADER: str(parent)} if parent else {}),
            },
        )

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    def get(self, path: str, **parameters: object) -> Any:
        """What `path` (below `/api/v1`, or written out from `/`) shows."""
        return self.call("GET", path, parameters=parameters).document

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        parameters: Mapping[str, object] | None = None,
        if_match: str | None = None,
        idempotency_key: str | None = None,
        content: "Content | None" = None,
        headers: Mapping[str, str] | None = None,
        signed: bool = True,
        timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> Answer:
        """One call, repeated where that is safe and of use.

        Args:
            method: `GET`, `POST`, `PUT`, `PATCH` or `DELETE`.
            path: below `/api/v1` where it does not begin with `/`, else as it is.
            body: sent as JSON; None sends none.
            parameters: of the query; those that are None are left out.
            if_match: an `etag` that was read: the change is made to that revision only.
            idempotency_key: names this change, so that a repetition makes it once.
            content: a body that is not JSON, in place of `body`.
            headers: more of them.
            signed: whether the call carries the credential.
            timeout_s: how long the server may take.
        """
        sent = {"If-Match": if_match, "Idempotency-Key": idempotency_key, **(headers or {})}
        if content is not None:
            sent |= {"Content-Type": content.media_type, "Content-Length": content.length}
        elif body is not None:
            sent["Content-Type"] = "application/json"
        request = _Request(
            method,
            path if path.startswith("/") else f"{API}/{path}",
            {name: str(value) for name, value in stated(parameters or {}).items()},
            stated(sent),
            content.chunks if content else _encoded(body),
            timeout_s,
        )
        repeatable = content is None and (method in {"GET", "HEAD"} or idempotency_key is not None)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._signed(request) if signed else self._once(request)
            except (Refused, NoAnswer) as error:
                pause_s = _pause_s(error, attempt) if repeatable else None
                if pause_s is None or attempt == ATTEMPTS:
                    raise
            self._sleep(pause_s)
        raise AssertionError("the last attempt returns or raises")

    def pages(
        self, path: str, name: str, *, limit: int | None = None, **parameters: object
    ) -> Document:
        """A list as one document, read page by page: at most `limit` entries of its field `name`.

        `limit` and `offset` of the document are then of the whole; `total` is the server's.
        """
        first: Document | None = None
        found: list[Any] = []
        while limit is None or len(found) < limit:
            size = PAGE if limit is None else min(PAGE, limit - len(found))
            page = self.get(path, **parameters, limit=size, offset=len(found))
            first = first or page
            found += page[name]
            if not page[name] or len(found) >= page["total"]:
                break
        whole = first or {name: [], "total": 0}
        return {**whole, name: found, "limit": limit or len(found), "offset": 0}

    def token(self) -> str:
        """The token itself, for what does not go over HTTP (the WebSocket)."""
        return self._credential.token(self)

    def renew(self) -> bool:
        """Get another token, as the present one was refused elsewhere than over HTTP."""
        return self._credential.renew(self, self.token())

    def _signed(self, request: "_Request") -> Answer:
        """Send with the credential; a token that is refused is renewed once."""
        token = self._credential.token(self)
        try:
            return self._once(request, token)
        except Refused as error:
            again = request.repeats and self._credential_renewed(error, token)
            if not again:
                raise
        return self._once(request, self._credential.token(self))

    def _credential_renewed(self, error: Refused, token: str) -> bool:
        return error.status == 401 and self._credential.renew(self, token)

    def _once(self, request: "_Request", token: str | None = None) -> Answer:
        headers = {**request.headers, **({"Authorization": f"Bearer {token}"} if token else {})}
        began_s = time.monotonic()
        try:
            answer = self._http.request(
                request.method,
                request.path,
                params=request.parameters,
                headers=headers,
                content=request.content,
                timeout=httpx.Timeout(request.timeout_s, connect=CONNECT_TIMEOUT_S),
            )
        except httpx.HTTPError as error:
            raise self._silence(error) from error
        except httpx.InvalidURL as error:
            raise Usage(f"{self.url} is no address of a server: {error}") from error
        if self._trace:
            took_ms = 1000 * (time.monotonic() - began_s)
            self._trace(
                f"{request.method} {answer.url.raw_path.decode()}"
                f" {answer.status_code} {took_ms:.0f} ms"
            )
        return _read(answer)

    def _silence(self, error: httpx.HTTPError) -> NoAnswer:
        """Why there was no answer, in one line that says what to do."""
        text = str(error) or type(error).__name__
        if "CERTIFICATE_VERIFY_FAILED" in text:
            return Unreachable(
                f"the certificate of {self.url} is not trusted ({_short(text)}):"
                " name its CA with --ca FILE"
            )
        if "WRONG_VERSION_NUMBER" in text:
            return Unreachable(
                f"{self.url} answers, but without TLS: if that is meant to be so, the address"
                " begins with http://"
            )
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return Unreachable(
                f"no control plane answers at {self.url} ({_short(text)}): is it running,"
                " and is --server (or LPMOS_SERVER) right?"
            )
        if isinstance(error, httpx.TimeoutException):
            return NoAnswer(f"{self.url} did not answer in time; look before you repeat a change")
        return NoAnswer(
            f"the connection to {self.url} was lost ({_short(text)}); look before you repeat"
            " a change"
        )


class Unreachable(NoAnswer):
    """Nobody is there, or nobody to be trusted: nothing was sent."""


class Content(NamedTuple):
    """A body that is sent as it comes; `length` is its bytes as text."""

    media_type: str
    length: str | None
    chunks: Iterable[bytes]


class Fixed:
    """A token that is given (`LPMOS_TOKEN`); nothing renews it."""

    def __init__(self, token: str) -> None:
        self._token = token

    def token(self, client: Client) -> str:
        """The one that was given."""
        return self._token

    def renew(self, client: Client, refused: str) -> bool:
        """Nothing to renew with."""
        return False


class Nobody:
    """No credential at all."""

    def token(self, client: Client) -> str:
        """There is none."""
        raise NotSignedIn(
            f"not signed in at {client.url}: run `lpmos login`, or set LPMOS_TOKEN to an API token"
        )

    def renew(self, client: Client, refused: str) -> bool:
        """Nothing to renew."""
        return False


def stated(named: Mapping[str, Any]) -> Document:
    """What was said; what is None was not."""
    return {name: value for name, value in named.items() if value is not None}


def is_loopback(url: str) -> bool:
    """Whether the server is this machine itself: then no proxy stands between."""
    host = urlsplit(url).hostname or ""
    return host in {"localhost", "::1"} or host.startswith("127.")


def trust(ca: Path | None) -> ssl.SSLContext:
    """What is trusted: the system's authorities, or only those in `ca`.

    Raises:
        Usage: the file cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=str(ca) if ca else None)
    except (OSError, ssl.SSLError) as error:
        raise Usage(f"--ca {ca}: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class _Request(NamedTuple):
    method: str
    path: str
    parameters: dict[str, str]
    headers: dict[str, str]
    content: bytes | Iterable[bytes] | None
    timeout_s: float

    @property
    def repeats(self) -> bool:
        """Whether its body can be sent a second time."""
        return self.content is None or isinstance(self.content, bytes)


def _encoded(body: object) -> bytes | None:
    return None if body is None else json.dumps(body).encode()


def _read(answer: httpx.Response) -> Answer:
    kind = answer.headers.get("content-type", "")
    document: Any = None
    if answer.content and "json" in kind.partition(";")[0]:
        try:
            document = answer.json()
        except ValueError as error:
            raise NoAnswer(f"{answer.url.host} sent no JSON; is it a control plane?") from error
    if answer.status_code >= 400:
        problem = document if isinstance(document, dict) else {}
        raise Refused(answer.status_code, problem, _retry_after_s(answer.headers))
    if answer.status_code >= 300:
        raise NoAnswer(
            f"{answer.url.host} sends elsewhere ({answer.headers.get('location', '?')});"
            " name the control plane itself"
        )
    return Answer(answer.status_code, document if document is not None else answer.text, {
        name.lower(): value for name, value in answer.headers.items()
    })  # fmt: skip


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """`Retry-After` in seconds (RFC 9110 section 10.2.3); a date is not understood."""
    text = headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdecimal() else None


def _pause_s(error: Refused | NoAnswer, attempt: int) -> float | None:
    """How long to wait before a repetition; None where none is of use."""
    backoff_s: float = 0.2 * 2**attempt * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
    if isinstance(error, Unreachable):
        return None
    if isinstance(error, NoAnswer):
        return backoff_s
    if error.status not in (429, 502, 503, 504):
        return None
    pause_s = backoff_s if error.retry_after_s is None else error.retry_after_s
    return pause_s if pause_s <= LONGEST_WAIT_S else None


def _short(text: str) -> str:
    """A library's error without its ornaments."""
    line = " ".join(text.split())
    return line[:120] if line else "no reason given"


def each(documents: Document, name: str) -> Iterator[Document]:
    """The entries of a list's document."""
    yield from documents.get(name) or ()
