"""LLDP frames of switches, whole and not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.agent.inventory.lldp import parse
from tests.support.lldp import lldp_frame, part

CHASSIS = part(1, b"\x04" + bytes.fromhex("001122334455"))
PORT = part(2, b"\x05Ethernet1/7")


def test_frame_of_a_switch_names_system_port_address_and_vlan() -> None:
    frame = lldp_frame(
        CHASSIS,
        PORT,
        part(3, b"\x00\x78"),
        part(4, b"rack 12, server 7"),
        part(5, b"leaf-12a"),
        part(6, b"a description that nobody asked for"),
        part(8, b"\x05\x01\xc0\x00\x02\x05\x02\x00\x00\x00\x01\x00"),
        part(127, bytes.fromhex("0080c2010064")),
    )
    assert parse(frame) == {
        "system": "leaf-12a",
        "chassis": "00:11:22:33:44:55",
        "port": "Ethernet1/7",
        "port_description": "rack 12, server 7",
        "management_address": "192.0.2.5",
        "vlan": 100,
    }


@pytest.mark.parametrize(
    ("port", "found"),
    [
        (b"\x03" + bytes.fromhex("0011223344ff"), "00:11:22:33:44:ff"),
        (b"\x07port 7\n\x1b[31m", "port 7 [31m"),
        (b"\x04\x02" + bytes(15) + b"\x01", "::1"),
        (b"\x05", None),
    ],
)
def test_port_is_read_in_each_of_its_forms(port: bytes, found: str | None) -> None:
    neighbour = parse(lldp_frame(CHASSIS, part(2, port)))
    assert neighbour is not None
    assert neighbour["port"] == found


def test_frame_that_is_cut_off_says_what_came_before() -> None:
    neighbour = parse(lldp_frame(CHASSIS, PORT, part(5, b"leaf-12a"))[:-8])
    assert neighbour is not None
    assert (neighbour["port"], neighbour["system"]) == ("Ethernet1/7", None)


def test_frame_of_another_protocol_is_no_neighbour() -> None:
    assert parse(bytes(12) + b"\x08\x00" + CHASSIS) is None
    assert parse(lldp_frame()) is None


@given(data=st.binary(max_size=600))
def test_any_frame_is_bounded_text_or_no_neighbour(data: bytes) -> None:
    neighbour = parse(bytes(12) + b"\x88\xcc" + data)
    for value in (neighbour or {}).values():
        assert value is None or isinstance(value, int) or 0 < len(str(value)) <= 128
