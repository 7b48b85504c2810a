import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.region.health import overall
from lpmos.region.probes import inform, message_type


def test_inform_is_a_bootp_packet_with_our_address_and_no_wish_for_a_lease() -> None:
    packet = inform("192.0.2.1")
    assert len(packet) == 300
    assert packet[12:16] == bytes((192, 0, 2, 1))
    assert packet[236:240] == bytes.fromhex("63825363")
    assert message_type(packet) == 8


@given(st.binary(max_size=400))
def test_message_type_any_bytes_is_a_number_or_none(packet: bytes) -> None:
    found = message_type(packet)
    assert found is None or 0 <= found < 256


@pytest.mark.parametrize(
    ("services", "connected", "status"),
    [
        ({"dhcp": "ok", "http": "ok"}, True, "healthy"),
        ({"dhcp": "off", "http": "ok"}, True, "healthy"),
        ({"dhcp": "ok", "http": "ok"}, False, "degraded"),
        ({"dhcp": "failed: no answer", "http": "ok"}, True, "unhealthy"),
        ({"dhcp": "failed: no answer", "http": "ok"}, False, "unhealthy"),
    ],
)
def test_overall_is_the_worst_of_all(
    services: dict[str, str], connected: bool, status: str
) -> None:
    assert overall(services, connected) == status
