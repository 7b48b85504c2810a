"""Names of machines: parsed from anything, refused with the field named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.model.errors import InvalidInput
from lpmos.model.machine import (
    RESERVED_IDCS,
    hostname_from_sn,
    parse_hostname,
    parse_idc,
    parse_mac,
    parse_sn,
    sn_from_mac,
)

UNICAST = st.binary(min_size=6, max_size=6).filter(lambda b: not b[0] & 1 and any(b))


@given(UNICAST, st.sampled_from([":", "-", "", "cisco"]), st.booleans())
def test_parse_mac_any_notation_gives_the_same_address(
    octets: bytes, separator: str, upper: bool
) -> None:
    digits = octets.hex()
    text = (
        ".".join(digits[i : i + 4] for i in (0, 4, 8))
        if separator == "cisco"
        else separator.join(digits[i : i + 2] for i in range(0, 12, 2))
    )
    assert parse_mac(text.upper() if upper else text) == octets.hex(":")


@given(st.text(max_size=30))
def test_parse_mac_any_text_is_an_address_or_refused_by_field(text: str) -> None:
    try:
        mac = parse_mac(text, "target_mac")
    except InvalidInput as error:
        assert error.problems[0].field == "target_mac"
    else:
        assert parse_mac(mac) == mac


@pytest.mark.parametrize(
    "text",
    ["", "52:54:00:12:34", "52:54:00:12:34:5g", "52:54-00:12:34:56", "00:00:00:00:00:00",
     "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "52:54:00:12:34:56 ", "52:54:00:12:34:56\n"],
)  # fmt: skip
def test_parse_mac_of_no_single_nic_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_mac(text)


@given(st.text(max_size=80))
def test_parse_sn_accepts_only_what_can_stand_in_a_key(text: str) -> None:
    try:
        sn = parse_sn(text)
    except InvalidInput:
        return
    assert "/" not in sn and sn.isascii() and 0 < len(sn) <= 64


@pytest.mark.parametrize("name", [*sorted(RESERVED_IDCS), "", "DC1", "dc/1", "a" * 33, "-dc"])
def test_parse_idc_reserved_or_malformed_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        parse_idc(name)


def test_sn_from_mac_is_a_serial_number() -> None:
    assert parse_sn(sn_from_mac(parse_mac("52-54-00-AB-CD-EF"))) == "mac-525400abcdef"


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True))
def test_hostname_from_sn_is_always_a_host_name(sn: str) -> None:
    assert parse_hostname(hostname_from_sn(sn)) == hostname_from_sn(sn)


@pytest.mark.parametrize("name", ["", "-a", "a-", "a..b", "a b", "a_b", "x" * 64, "ä"])
def test_parse_hostname_malformed_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        parse_hostname(name)
