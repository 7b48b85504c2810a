"""What a simulated server does with its boot script, and what it is installed from."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.lab.simulated_images import stored_zstd
from lpmos.lab.simulated_server import Boot, boot_of, simulated_mac
from lpmos.model.machine import parse_mac
from lpmos.region import scripts

URL = "http://192.0.2.1:8081"
CALL = scripts.AgentCall(url=URL, nonce="n")
FILES = scripts.AgentFiles(kernel="/boot/agent/k", initramfs="/boot/agent/i")


@pytest.mark.parametrize(
    ("script", "boot"),
    [
        (scripts.agent_script(URL, FILES, CALL, "kernel exit 1"), "agent"),
        (scripts.local_disk_script("kernel panic"), "disk"),
        (scripts.wait_script(URL, "exit 1", 5), "wait"),
        ("<html>busy</html>", "wait"),
    ],
)
def test_boot_script_of_each_kind_is_obeyed(script: str, boot: Boot) -> None:
    assert boot_of(script) == boot


@given(st.integers(0, 65535), st.integers(0, 65535))
def test_simulated_mac_of_each_number_is_its_own(one: int, two: int) -> None:
    assert parse_mac(simulated_mac(one)) == simulated_mac(one)
    assert (simulated_mac(one) == simulated_mac(two)) == (one == two)


@pytest.mark.parametrize("size", [0, 1, 131072, 131073, 400000])
def test_stored_frame_of_any_size_has_the_format_of_zstandard(size: int) -> None:
    data = bytes(index % 251 for index in range(size))
    frame = stored_zstd(data)
    assert frame[:4] == bytes.fromhex("28b52ffd")
    assert int.from_bytes(frame[5:13], "little") == size
    body, taken = frame[13:], b""
    while body:
        header = int.from_bytes(body[:3], "little")
        last, kind, length = header & 1, header >> 1 & 3, header >> 3
        assert kind == 0
        taken += body[3 : 3 + length]
        body = body[3 + length :]
        assert bool(last) == (not body)
    assert taken == data
