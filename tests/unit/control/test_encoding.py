"""Content codings: what callers ask for, what is compressed, and what is told of it."""

import gzip
from typing import Any

import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st
from litestar.types import Message, Receive, Scope, Send

from lpmos.control.http.encoding import LEAST_BYTES, encoding, preferred

LONG = b'{"text":"' + b"word " * LEAST_BYTES + b'"}'


@pytest.mark.parametrize(
    ("accept_encoding", "coding"),
    [
        ("zstd", "zstd"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip, deflate, br", "gzip"),
        ("GZIP;q=0.5", "gzip"),
        ("zstd;q=0, gzip", "gzip"),
        ("zstd; q=0.000 , gzip;q=0", None),
        ("*", "zstd"),
        ("*, zstd;q=0", "gzip"),
        ("*;q=0", None),
        ("gzip, *;q=0", "gzip"),
        ("identity", None),
        ("br", None),
        ("", None),
        (";;,,;q", None),
    ],
)
def test_coding_is_one_that_the_caller_takes(accept_encoding: str, coding: str | None) -> None:
    assert preferred(accept_encoding) == coding


@given(st.text(st.characters(max_codepoint=255), max_size=256))
def test_any_header_has_a_coding_or_none(accept_encoding: str) -> None:
    assert preferred(accept_encoding) in ("zstd", "gzip", None)


async def _answer(
    body: bytes, accept: str | None, *headers: tuple[bytes, bytes], status: int = 200
) -> tuple[dict[bytes, bytes], bytes]:
    """An answer's headers and body after the middleware."""
    sent: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        given = [*headers, (b"content-length", b"%d" % len(body))]
        start: Any = {"type": "http.response.start", "status": status, "headers": given}
        await send(start)
        await send({"type": "http.response.body", "body": body, "more_body": False})

    async def send(message: Message) -> None:
        sent.append(message)

    accepts = [] if accept is None else [(b"accept-encoding", accept.encode())]
    scope: Any = {"type": "http", "headers": accepts}
    await encoding(app)(scope, None, send)  # type: ignore[arg-type]
    start, content = sent
    assert len({name for name, _ in start["headers"]}) == len(start["headers"])
    return dict(start["headers"]), content["body"]


JSON = (b"content-type", b"application/json")


async def test_long_answer_is_sent_in_the_coding_and_says_so() -> None:
    for accept, decode in (("zstd", zstd.decompress), ("gzip", gzip.decompress)):
        headers, body = await _answer(LONG, accept, JSON)
        assert headers[b"content-encoding"] == accept.encode()
        assert headers[b"vary"] == b"Accept-Encoding"
        assert int(headers[b"content-length"]) == len(body) < len(LONG) / 10
        assert decode(body) == LONG


async def test_long_answer_that_stays_plain_says_that_others_get_another() -> None:
    for accept in (None, "identity", "x" * 1000 + ", gzip"):
        headers, body = await _answer(LONG, accept, JSON)
        assert body == LONG
        assert b"content-encoding" not in headers
        assert headers[b"vary"] == b"Accept-Encoding"


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (LONG[: LEAST_BYTES - 1], [JSON]),
        (LONG, [(b"content-type", b"image/png")]),
        (LONG, [JSON, (b"content-encoding", b"br")]),
        (b"", []),
    ],
)
async def test_what_gains_nothing_is_sent_as_it_is(
    body: bytes, headers: list[tuple[bytes, bytes]]
) -> None:
    expected = {**dict(headers), b"content-length": b"%d" % len(body)}
    assert await _answer(body, "zstd, gzip", *headers) == (expected, body)
