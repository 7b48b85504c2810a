"""Packets of TFTP that machines send, well-formed or not."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lpmos.region.tftp_server import (
    LEAST_BLOCK_BYTES,
    MOST_BLOCK_BYTES,
    Malformed,
    agreed,
    error_packet,
    parse_request,
)

WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


@given(WORDS, st.dictionaries(WORDS.map(str.lower), WORDS, max_size=4))
def test_read_request_gives_its_name_and_options(name: str, options: dict[str, str]) -> None:
    words = [name, "OCTET", *(word for pair in options.items() for word in pair)]
    packet = b"\0\x01" + "".join(f"{word}\0" for word in words).encode()
    request = parse_request(packet)
    assert request.name == name.lstrip("/")
    assert request.options == options


@given(st.binary(max_size=600))
def test_any_packet_is_a_request_or_malformed(packet: bytes) -> None:
    try:
        request = parse_request(packet)
    except Malformed:
        return
    assert packet.startswith(b"\0\x01") and "\0" not in request.name


@pytest.mark.parametrize(
    "packet", [b"", b"\0\x02a\0octet\0", b"\0\x01a\0netascii\0", b"\0\x01a\0octet\0blksize\0"]
)
def test_write_requests_text_and_halves_of_options_are_malformed(packet: bytes) -> None:
    with pytest.raises(Malformed):
        parse_request(packet)


@given(
    st.text(max_size=12) | st.integers(1, 6000).map(lambda digits: "9" * digits),
    st.integers(0, 2**40),
)
@example("9" * 5000, 0)
def test_size_of_blocks_is_always_within_its_bounds(asked: str, size_bytes: int) -> None:
    block_bytes, said = agreed({"blksize": asked, "tsize": "0"}, size_bytes)
    assert LEAST_BLOCK_BYTES <= block_bytes <= MOST_BLOCK_BYTES
    assert b"tsize\0%d\0" % size_bytes in said


def test_without_options_nothing_is_agreed() -> None:
    assert agreed({}, 10) == (512, b"")


def test_error_packet_is_bounded() -> None:
    assert len(error_packet(1, "x" * 1000)) == 4 + 200 + 1
