"""Signed messages to real receivers that take them, refuse them, hang, lie and go away."""

import asyncio
import base64
import hashlib
import hmac
import ssl
from ipaddress import ip_network
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from lpmos.control.notify.http import HttpSender
from lpmos.control.notify.reach import REFUSED, Reach
from lpmos.core.notifications.webhooks import Letter
from lpmos.model.webhook import ERROR_CHARACTERS
from tests.support.certificates import Authority
from tests.support.clocks import HandClock
from tests.support.etcd import free_port
from tests.support.receiver import answering_raw, receiving, status

KEY = b"a key of more than 24 bytes"
SECRET = "whsec_" + base64.b64encode(KEY).decode()
BODY = b'{"type":"task.failed"}'
TIMEOUT_S = 0.5


def sender(reach: Reach | None = None, *, timeout_s: float = TIMEOUT_S) -> HttpSender:
    return HttpSender(HandClock(), reach or Reach(), timeout_s=timeout_s)


def letter(url: str, tenant: str | None = None) -> Letter:
    return Letter(url=url, secrets=(SECRET,), tenant=tenant, message_id="event-1", payload=BODY)


async def test_message_arrives_with_a_signature_that_holds() -> None:
    async with receiving() as receiver:
        outcome = await sender(timeout_s=10).send(letter(f"{receiver.url}/hook?a=b"))
    assert outcome.accepted
    assert (outcome.attempt.status, outcome.attempt.error) == (204, None)
    (received,) = receiver.received
    assert received.path == "/hook?a=b"
    assert received.body == BODY
    assert received.headers["content-type"] == "application/json"
    assert received.headers["webhook-timestamp"] == "1767323045"
    content = b"event-1.1767323045." + received.body
    expected = base64.b64encode(hmac.digest(KEY, content, hashlib.sha256)).decode()
    assert received.headers["webhook-signature"] == f"v1,{expected}"


async def test_message_about_a_task_names_its_span_and_any_other_none() -> None:
    traceparent = f"00-{'a1' * 16}-{'b2' * 8}-01"
    async with receiving() as receiver:
        about = msgspec.structs.replace(letter(receiver.url), traceparent=traceparent)
        for each in (about, letter(receiver.url)):
            assert (await sender(timeout_s=10).send(each)).accepted
    assert [each.headers.get("traceparent") for each in receiver.received] == [traceparent, None]


@pytest.mark.parametrize("code", [200, 202, 299])
async def test_answer_of_success_is_accepted(code: int) -> None:
    async with receiving() as receiver:
        receiver.answer = status(code)
        assert (await sender(timeout_s=10).send(letter(receiver.url))).accepted


@pytest.mark.parametrize("code", [400, 404, 500, 503])
async def test_answer_of_failure_is_kept_cut_and_printable(code: int) -> None:
    async with receiving() as receiver:
        receiver.answer = status(code, "no \x1b[31m way\n" + "x" * 100_000)
        outcome = await sender(timeout_s=10).send(letter(receiver.url))
    assert not outcome.accepted
    assert outcome.attempt.status == code
    error = outcome.attempt.error or ""
    assert error.startswith("no [31m way xxx")
    assert len(error) == ERROR_CHARACTERS
    assert error.isprintable()


@pytest.mark.parametrize("code", [301, 302, 307, 308])
async def test_redirect_is_not_followed(code: int) -> None:
    async with receiving() as other, receiving() as receiver:
        receiver.answer = status(code, headers={"Location": other.url})
        outcome = await sender(timeout_s=10).send(letter(receiver.url))
    assert (outcome.accepted, outcome.attempt.status) == (False, code)
    assert other.received == []


async def test_receiver_that_is_gone_is_known_as_such() -> None:
    async with receiving() as receiver:
        receiver.answer = status(410)
        outcome = await sender(timeout_s=10).send(letter(receiver.url))
    assert outcome.gone
    assert outcome.attempt.status == 410


@pytest.mark.parametrize(
    ("said", "wait_s"),
    [("120", 120.0), ("Fri, 02 Jan 2026 03:05:05 GMT", 60.0), ("later", None)],
)
async def test_receiver_that_asks_to_wait_is_heard(said: str, wait_s: float | None) -> None:
    async with receiving() as receiver:
        receiver.answer = status(429, headers={"Retry-After": said})
        outcome = await sender(timeout_s=10).send(letter(receiver.url))
    assert outcome.retry_after_s == wait_s


async def test_receiver_that_hangs_is_left_after_the_time() -> None:
    async with receiving() as receiver:

        async def hang(_: web.Request) -> web.StreamResponse:
            await asyncio.Event().wait()
            raise AssertionError

        receiver.answer = hang
        outcome = await sender().send(letter(receiver.url))
    assert outcome.attempt.error == f"no answer within {TIMEOUT_S:g} s"
    assert outcome.attempt.duration_ms >= TIMEOUT_S * 1000 * 0.9


@pytest.mark.parametrize(
    ("answer", "hold", "accepted"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nbegin", True, True),
        (b"HTTP/1.1 500 No\r\nContent-Length: 1000000\r\n\r\nbegin", True, False),
        (b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", False, False),
        (b"HTTP/1.1 500 No\r\nContent-Encoding: br\r\nContent-Length: 3\r\n\r\nrub", False, False),
        (b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 100_000 + b"\r\n\r\n", False, False),
        (b"what do you want?\r\n\r\n", False, False),
        (b"", False, False),
    ],
)  # fmt: skip
async def test_answer_of_any_kind_ends_as_an_outcome(
    answer: bytes, hold: bool, accepted: bool
) -> None:
    async with answering_raw(answer, hold=hold) as url:
        waits_s = TIMEOUT_S if hold and not accepted else 10.0
        outcome = await sender(timeout_s=waits_s).send(letter(f"{url}/S3CRET"))
    assert outcome.accepted is accepted
    assert accepted or outcome.attempt.error
    assert "S3CRET" not in (outcome.attempt.error or "")


async def test_nobody_listening_is_said() -> None:
    outcome = await sender().send(letter(f"http://127.0.0.1:{free_port()}/S3CRET"))
    assert (outcome.attempt.error or "").startswith("no connection")
    assert "S3CRET" not in (outcome.attempt.error or "")


async def test_certificate_of_an_unknown_authority_is_refused(tmp_path: Path) -> None:
    pair = Authority(tmp_path).issue("receiver")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pair.cert, pair.key)
    async with receiving(tls) as receiver:
        outcome = await sender(timeout_s=10).send(letter(receiver.url))
    assert (outcome.attempt.error or "").startswith("the certificate is refused")
    assert receiver.received == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_tenants_message_to_this_machine_is_not_connected(host: str) -> None:
    async with receiving() as receiver:
        url = receiver.url.replace("127.0.0.1", host)
        outcome = await sender(timeout_s=10).send(letter(url, "blue"))
    assert not outcome.accepted
    assert REFUSED in (outcome.attempt.error or "")
    assert receiver.received == []


async def test_tenants_message_to_an_allowed_network_arrives() -> None:
    reach = Reach((ip_network("127.0.0.0/8"),))
    async with receiving() as receiver:
        outcome = await sender(reach, timeout_s=10).send(letter(receiver.url, "blue"))
    assert outcome.accepted


@pytest.mark.parametrize(
    "url",
    [
        "http://", "https:///path", "http://host:99999/", "http://ho st/", "http://host/\n",
        "https://host/#part", "http://[::1", "https://", "http://host:port/",
    ],
)  # fmt: skip
async def test_url_that_is_none_is_refused(url: str) -> None:
    assert await sender().refusal(url, None)


async def test_tenants_url_to_a_private_address_is_refused() -> None:
    assert await sender().refusal("http://10.0.0.1/", "blue") == REFUSED
    assert await sender().refusal("http://10.0.0.1/", None) is None
