"""The announcement of an address, byte by byte."""

from lpmos.region.service_address import announcement


def test_announcement_is_an_arp_request_for_the_address_by_itself() -> None:
    mac = bytes.fromhex("525400000001")
    frame = announcement(mac, "10.93.0.10")
    ip = bytes((10, 93, 0, 10))
    assert frame[:14] == b"\xff" * 6 + mac + b"\x08\x06"
    assert frame[14:22] == bytes.fromhex("0001080006040001")
    assert frame[22:42] == mac + ip + bytes(6) + ip
    assert len(frame) == 60
