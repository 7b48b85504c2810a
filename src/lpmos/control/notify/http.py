"""Signed messages to receivers over HTTP.

A receiver has the message when it answers with a status of 2xx within `TIMEOUT_S`; all else is an
attempt in vain. Redirects are not followed, certificates are verified, no more of an answer is read
than is kept for the person who looks why it was refused.
"""

import asyncio
import time
from datetime import datetime

import aiohttp
from yarl import URL

import lpmos
from lpmos.control.notify.reach import REFUSED, Reach
from lpmos.control.notify.signature import signed_headers
from lpmos.core.clock import Clock
from lpmos.core.notifications.webhooks import Letter
from lpmos.model.tracecontext import HEADER
from lpmos.model.webhook import (
    ERROR_CHARACTERS,
    HTTP_SCHEMES,
    Attempt,
    Outcome,
    parse_retry_after,
)

TIMEOUT_S = 10.0
ANSWER_BYTES = 1_024
CONTENT_TYPE = "application/json"


class HttpSender:
    """Posts messages, each try over a connection of its own."""

    def __init__(self, clock: Clock, reach: Reach, *, timeout_s: float = TIMEOUT_S) -> None:
        """`reach` bounds tenants' webhooks; `timeout_s` is for one whole try."""
        self._clock = clock
        self._reach = reach
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)

    async def refusal(self, url: str, tenant: str | None) -> str | None:
        """Why a webhook cannot have this URL; None where it can."""
        try:
            parsed = URL(url)
        except ValueError:
            return "is no URL"
        if not url.isprintable() or " " in url:
            return "has blanks or control characters"
        if parsed.scheme not in HTTP_SCHEMES or not parsed.host:
            return "has no host"
        if parsed.fragment:
            return "has a fragment (#…), which is never sent"
        if tenant is not None and self._reach.refuses_host(parsed.host):
            return REFUSED
        return None

    async def send(self, letter: Letter) -> Outcome:
        """Post the message once; whatever goes wrong is told in the outcome."""
        at, started = self._clock(), time.perf_counter()
        outcome = Outcome(attempt=Attempt(at=at, duration_ms=0))
        try:
            async with (
                self._session(letter) as session,
                session.post(
                    URL(letter.url),
                    data=letter.payload,
                    headers=self._headers(letter, at),
                    allow_redirects=False,
                ) as answer,
            ):
                outcome = await self._outcome(answer, at)
        except TimeoutError:
            outcome = _failed(at, f"no answer within {self._timeout.total:g} s")
        except aiohttp.ClientError as error:
            outcome = _failed(at, _said(error))
        except (OSError, ValueError) as error:
            outcome = _failed(at, str(error) or type(error).__name__)
        duration_ms = round((time.perf_counter() - started) * 1000)
        return _lasting(outcome, duration_ms)

    def _session(self, letter: Letter) -> aiohttp.ClientSession:
        guard = None if letter.tenant is None else self._reach.guarded_socket
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True, socket_factory=guard),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=self._timeout,
            auto_decompress=False,
        )

    def _headers(self, letter: Letter, at: datetime) -> dict[str, str]:
        signed = signed_headers(
            letter.secrets, letter.message_id, int(at.timestamp()), letter.payload
        )
        return {
            "Content-Type": CONTENT_TYPE,
            "User-Agent": f"lpmos/{lpmos.__version__}",
            **({HEADER: letter.traceparent} if letter.traceparent else {}),
            **signed,
        }

    async def _outcome(self, answer: aiohttp.ClientResponse, at: datetime) -> Outcome:
        status = answer.status
        if 200 <= status < 300:
            return Outcome(attempt=Attempt(at=at, duration_ms=0, status=status), accepted=True)
        text = ""
        if 300 <= status < 400:
            text = "redirects are not followed; give the webhook the final URL"
        else:
            text = _printable(await _beginning(answer))
        return Outcome(
            attempt=Attempt(at=at, duration_ms=0, status=status, error=text or answer.reason),
            gone=status == 410,
            retry_after_s=parse_retry_after(answer.headers.get("Retry-After"), self._clock()),
        )


async def _beginning(answer: aiohttp.ClientResponse) -> bytes:
    """The first bytes of an answer; a receiver that is slow or breaks off here has answered."""
    found = b""
    try:
        while len(found) < ANSWER_BYTES:
            part = await answer.content.read(ANSWER_BYTES - len(found))
            if not part:
                break
            found += part
    except (aiohttp.ClientError, TimeoutError, asyncio.IncompleteReadError):
        return found
    return found


def _printable(answer: bytes) -> str:
    text = answer.decode("utf-8", "replace")
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line[:ERROR_CHARACTERS]


def _said(error: aiohttp.ClientError) -> str:
    """What went wrong, without the URL: its path may be a secret."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return _printable(f"the certificate is refused: {error.certificate_error}".encode())
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "the host's name is not known"
    if isinstance(error, aiohttp.ClientConnectorError):
        return _printable(f"no connection: {error.os_error}".encode())
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the receiver closed the connection without an answer"
    return f"the receiver's answer is not HTTP ({type(error).__name__})"


def _failed(at: datetime, why: str) -> Outcome:
    return Outcome(attempt=Attempt(at=at, duration_ms=0, error=why[:ERROR_CHARACTERS]))


def _lasting(outcome: Outcome, duration_ms: int) -> Outcome:
    attempt = outcome.attempt
    return Outcome(
        attempt=Attempt(
            at=attempt.at, duration_ms=duration_ms, status=attempt.status, error=attempt.error
        ),
        accepted=outcome.accepted,
        gone=outcome.gone,
        retry_after_s=outcome.retry_after_s,
    )
