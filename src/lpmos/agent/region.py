"""The agent's side of the HTTP protocol: one call, one answer, and no patience of its own.

The rule: whatever the network or a proxy does, a call ends in an `Answer` or in `NoAnswer`; it is
`caller.py` that knows what to do about each.
"""

import hashlib
import http.client
import json
import socket
import ssl
from collections.abc import Iterator
from types import TracebackType
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from lpmos import __version__
from lpmos.agent.errors import AgentError, InstallError, NoAnswer, Refused
from lpmos.agent.trace import HEADER, Trace

API = "/api/v1"
ANSWER_TIMEOUT_S = 30.0
ANSWER_LIMIT_BYTES = 8 << 20
CHUNK_BYTES = 1 << 18
KEEP_ALIVE_AFTER_S = 5
KEEP_ALIVE_EVERY_S = 2
KEEP_ALIVE_TIMES = 10
RETRY_AFTER_LIMIT_S = 3600.0
IDENTITY = "LPMOS-Identity"
"""The header of an answer with the identity for the next calls."""
CA_PATH = "/boot/ca.pem"
CA_LIMIT_BYTES = 1 << 16
FIRST_SPAN = "boot.agent"
"""The span of what an agent says before its first stage."""
DOWNLOAD_SPAN = "install.downloading"
NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL, for which Python has no name."""
_NOT_NOW = (429, 500, 502, 503, 504)


class Answer(NamedTuple):
    """A region's answer: its status and its JSON document."""

    status: int
    document: dict[str, object]
    retry_after_s: float | None

    def text(self) -> str:
        """What the region says is wrong, with the fields it names and what to do about it."""
        parts = [str(self.document.get("detail") or self.document.get("title") or "")]
        errors = self.document.get("errors")
        parts += [
            f"{problem.get('field')}: {problem.get('message')}"
            for problem in (errors if isinstance(errors, list) else [])
            if isinstance(problem, dict)
        ]
        parts.append(str(self.document.get("hint") or ""))
        return "; ".join(part for part in parts if part) or f"HTTP status {self.status}"


class Exchange(NamedTuple):
    """One request's connection and response; either may own the socket."""

    connection: http.client.HTTPConnection
    response: http.client.HTTPResponse

    def close(self) -> None:
        """Close both."""
        self.response.close()
        self.connection.close()


class Download:
    """The body of an image from some offset on; iterate to read it, close it always."""

    def __init__(self, exchange: Exchange, skip: int) -> None:
        self._exchange = exchange
        self._skip = skip

    def __enter__(self) -> "Download":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._exchange.close()

    def __iter__(self) -> Iterator[bytes]:
        """The bytes, in pieces; ends where the region ended, be it early.

        Raises:
            NoAnswer: the connection broke.
        """
        while True:
            try:
                data = self._exchange.response.read(CHUNK_BYTES)
            except (OSError, http.client.HTTPException) as error:
                raise NoAnswer(_named(error)) from error
            if not data:
                return
            skipped = data[: self._skip]
            self._skip -= len(skipped)
            if len(skipped) < len(data):
                yield data[len(skipped) :]


class Region:
    """Calls to one region at `url`, with the identity that it gave.

    Files are had from `boot_url`, which may be plain HTTP: each is checked by its digest. With
    `ca_sha256` the region has to show a certificate of the CA with this fingerprint. Each call
    names its span of `trace`: that of the stage that was told of last.
    """

    def __init__(
        self,
        url: str,
        *,
        boot_url: str | None = None,
        ca_sha256: str | None = None,
        trace: Trace | None = None,
    ) -> None:
        self.url = url
        self.identity: str | None = None
        self._trace = trace
        self._span = FIRST_SPAN
        self._boot_url = boot_url or url
        self._ca_sha256 = ca_sha256
        self._context: ssl.SSLContext | None = None

    def call(
        self,
        method: str,
        path: str,
        body: dict[str, object] | None = None,
        *,
        timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> Answer:
        """Make one call of the agent API.

        Raises:
            NoAnswer: the region cannot be reached, is not ready (429, 5xx), or does not speak JSON.
            Refused: its CA is not the one that the boot script named.
        """
        data = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        headers = {"Content-Type": "application/json"} if data is not None else {}
        if body and "stage" in body:
            self._span = f"install.{body['stage']}"
        try:
            if self.identity is not None:
                headers["Authorization"] = f"Bearer {self.identity}"
            exchange = self._request(
                self.url, method, API + path, data, headers=headers, timeout_s=timeout_s
            )
            try:
                self.identity = exchange.response.getheader(IDENTITY) or self.identity
                return _answer(exchange.response)
            finally:
                exchange.close()
        except (OSError, http.client.HTTPException) as error:
            raise NoAnswer(_named(error)) from error

    def download(self, path: str, offset: int, size_bytes: int) -> Download:
        """Open a file of `size_bytes` from `offset` on (RFC 9110, section 14).

        Raises:
            NoAnswer: the region cannot be reached or is not ready; try again.
            InstallError: the file is not there, or has another size.
        """
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        if self._trace is not None:
            headers[HEADER] = self._trace.header(DOWNLOAD_SPAN)
        try:
            exchange = self._request(self._boot_url, "GET", path, None, headers=headers)
        except (OSError, http.client.HTTPException) as error:
            raise NoAnswer(_named(error)) from error
        try:
            return Download(exchange, _checked_start(exchange.response, path, offset, size_bytes))
        except AgentError:
            exchange.close()
            raise

    def _connection(self, parts: SplitResult, timeout_s: float) -> http.client.HTTPConnection:
        host = parts.hostname or ""
        if parts.scheme != "https":
            return http.client.HTTPConnection(host, parts.port, timeout=timeout_s)
        if self._context is None:
            self._context = self._trust()
        return http.client.HTTPSConnection(
            host, parts.port, timeout=timeout_s, context=self._context
        )

    def _trust(self) -> ssl.SSLContext:
        """Whom to believe that it is the region: the CA of the boot script, and nobody else.

        The clock does not count: that of a machine out of its box may be years off.
        """
        if self._ca_sha256 is None:
            return ssl.create_default_context()
        exchange = self._request(self._boot_url, "GET", CA_PATH, None, headers={})
        try:
            status, pem = exchange.response.status, exchange.response.read(CA_LIMIT_BYTES)
        finally:
            exchange.close()
        if status in _NOT_NOW:
            raise NoAnswer(f"HTTP status {status} for {CA_PATH}")
        try:
            found = ssl.PEM_cert_to_DER_cert(pem.decode("ascii"))
        except ValueError:
            found = b""
        if status != 200 or hashlib.sha256(found).hexdigest() != self._ca_sha256:
            raise Refused(
                f"the CA certificate at {self._boot_url}{CA_PATH} is not the one that this machine"
                " was booted with: either the region has a new one, and booting again helps, or"
                " somebody stands between"
            )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN | NO_CHECK_TIME
        context.load_verify_locations(cadata=found)
        return context

    def _request(
        self,
        url: str,
        method: str,
        path: str,
        data: bytes | None,
        *,
        headers: dict[str, str],
        timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> Exchange:
        identity = {"User-Agent": f"lpmos-agent/{__version__}", "Connection": "close"}
        if self._trace is not None:
            identity[HEADER] = self._trace.header(self._span)
        parts = urlsplit(url)
        connection = self._connection(parts, timeout_s)
        try:
            connection.connect()
            _watch(connection.sock)
            connection.request(method, parts.path + path, data, identity | headers)
            return Exchange(connection, connection.getresponse())
        except (OSError, http.client.HTTPException):
            connection.close()
            raise


def _watch(sock: socket.socket) -> None:
    """Have the kernel ask whether the other side is still there (tcp(7)).

    Where the region's address has moved to another host, that one refuses the connection, and the
    call is repeated soon; who only waits for data would not learn of it before its time is over.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        (socket.TCP_KEEPIDLE, KEEP_ALIVE_AFTER_S),
        (socket.TCP_KEEPINTVL, KEEP_ALIVE_EVERY_S),
        (socket.TCP_KEEPCNT, KEEP_ALIVE_TIMES),
    ):
        sock.setsockopt(socket.IPPROTO_TCP, option, value)


def _answer(response: http.client.HTTPResponse) -> Answer:
    body = response.read(ANSWER_LIMIT_BYTES)
    try:
        parsed = json.loads(body) if body else {}
    except ValueError:
        parsed = None
    document = parsed if isinstance(parsed, dict) else {}
    retry_after_s = _retry_after(response, document)
    if response.status in _NOT_NOW:
        text = document.get("detail") or document.get("title") or response.reason
        raise NoAnswer(f"HTTP status {response.status}: {text}", retry_after_s)
    if parsed is not document:
        raise NoAnswer(f"HTTP status {response.status} with a body that is no JSON object")
    return Answer(response.status, document, retry_after_s)


def _retry_after(response: http.client.HTTPResponse, document: dict[str, object]) -> float | None:
    """Seconds from the header or the body; a date or nonsense is ignored."""
    for value in (response.getheader("Retry-After"), document.get("retry_after")):
        try:
            seconds = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            continue
        if seconds >= 0:
            return min(seconds, RETRY_AFTER_LIMIT_S)
    return None


def _checked_start(
    response: http.client.HTTPResponse, path: str, offset: int, size_bytes: int
) -> int:
    """How many bytes to skip: a server may ignore `Range` and send all."""
    if response.status in _NOT_NOW:
        raise NoAnswer(f"HTTP status {response.status}", _retry_after(response, {}))
    if response.status == 206:
        start = response.getheader("Content-Range") or ""
        expected = f"bytes {offset}-{size_bytes - 1}/{size_bytes}"
        if start != expected:
            raise _wrong_image(f"{path}: the region sent {start!r}, expected {expected!r}")
        return 0
    if response.status != 200:
        raise _wrong_image(f"{path}: the region answered with HTTP status {response.status}")
    length = response.getheader("Content-Length")
    if length is not None and length != str(size_bytes):
        raise _wrong_image(f"{path}: the region has {length} bytes, the plan says {size_bytes}")
    return offset


def _wrong_image(message: str) -> InstallError:
    return InstallError(
        message,
        hint="Check the image at the region with `lpmos image verify`, then create the task again.",
    )


def _named(error: Exception) -> str:
    return str(error) or type(error).__name__
