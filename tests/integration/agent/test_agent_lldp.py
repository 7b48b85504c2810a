"""Neighbours that are really heard, over a pair of interfaces."""

import os
import socket
import subprocess
from collections.abc import Iterator

import pytest

from lpmos.agent.inventory.lldp import ETHERTYPE, Listener
from tests.support.lldp import lldp_frame, part
from tests.support.polling import until


@pytest.fixture
def pair() -> Iterator[tuple[str, str]]:
    """Two interfaces with a cable between them."""
    ends = f"lldp{os.getpid() % 10_000}a", f"lldp{os.getpid() % 10_000}b"
    run = ["ip", "link", "add", ends[0], "type", "veth", "peer", "name", ends[1]]
    subprocess.run(run, check=True)
    try:
        for end in ends:
            subprocess.run(["ip", "link", "set", end, "up"], check=True)
        yield ends
    finally:
        subprocess.run(["ip", "link", "del", ends[0]], check=True)


async def test_listener_hears_the_switch_on_the_other_end(pair: tuple[str, str]) -> None:
    frame = lldp_frame(part(1, b"\x07leaf"), part(2, b"\x05swp7"), part(5, b"leaf-12a"))
    listener = Listener([pair[0], "not-there"])
    listener.start()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETHERTYPE)) as sender:
        sender.bind((pair[1], ETHERTYPE))

        async def heard() -> bool:
            sender.send(frame)
            return bool(listener.heard())

        await until(heard)
    listener.close()
    assert listener.heard()[pair[0]]["system"] == "leaf-12a"
