"""A DHCP client that shares no code with the region: `dhcp_client.py INTERFACE MAC [OPTION=HEX…]`.

It goes through DISCOVER, OFFER, REQUEST and ACK (RFC 2131) on an interface without an address, and
prints the ACK as JSON: `yiaddr`, `siaddr`, `file` and the options, each in hex by its number.

`dhcp_client.py --pxe INTERFACE MAC [OPTION=HEX…]` does as firmware beside a proxy does (PXE 2.1
section 2.2): it takes its address from one server and the loader from the other, which it asks on
port 4011 where the proxy's offer names no file. `dhcp_client.py --crowd INTERFACE COUNT GAP_MS` is
as many machines at once, each of which begins so long after the one before.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

TIMEOUT_S = 30.0
SOON_S = 3.0
CROWD_TIMEOUT_S = 20.0
DISCOVER, OFFER, REQUEST, ACK = 1, 2, 3, 5
PXE_PORT = 4011
SO_RCVBUFFORCE = 33
"""socket(7): root may go beyond the system's limit; the module does not name it."""
Options = dict[int, bytes]


def packet(
    kind: int, transaction: bytes, mac: bytes, options: Options, ciaddr: bytes = bytes(4)
) -> bytes:
    """A BOOTP request with the broadcast flag."""
    head = b"\x01\x01\x06\x00" + transaction + b"\x00\x00\x80\x00" + ciaddr + bytes(12)
    head += mac.ljust(16, b"\0") + bytes(64 + 128) + bytes.fromhex("63825363")
    wanted = {53: bytes([kind]), 55: bytes([1, 3, 6, 43, 60, 66, 67, 175]), **options}
    body = b"".join(bytes([number, len(value)]) + value for number, value in wanted.items())
    return (head + body + b"\xff").ljust(300, b"\0")


def options_of(answer: bytes) -> Options:
    """The options after the magic cookie; parts of the same option are joined."""
    found: Options = {}
    at = 240
    while at < len(answer) and answer[at] != 255:
        if answer[at] == 0:
            at += 1
            continue
        length = answer[at + 1]
        found[answer[at]] = found.get(answer[at], b"") + answer[at + 2 : at + 2 + length]
        at += 2 + length
    return found


def ask(
    sock: socket.socket,
    request: bytes,
    kind: int,
    to: tuple[str, int] = ("255.255.255.255", 67),
    fits: Callable[[bytes], bool] = lambda answer: True,
    timeout_s: float = TIMEOUT_S,
) -> tuple[bytes, Options]:
    """Send, and wait for the answer of this kind that fits; sent again every second."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        sock.sendto(request, to)
        try:
            while True:
                answer = sock.recv(2048)
                options = options_of(answer)
                known = answer[4:8] == request[4:8] and options.get(53) == bytes([kind])
                if known and fits(answer):
                    return answer, options
        except TimeoutError:
            continue
    raise SystemExit(f"no answer in {timeout_s} s")


def document(answer: bytes, options: Options) -> dict[str, Any]:
    """An answer as it is printed."""
    return {
        "yiaddr": socket.inet_ntoa(answer[16:20]),
        "siaddr": socket.inet_ntoa(answer[20:24]),
        "file": (options.get(67) or answer[108:236]).split(b"\0")[0].decode(),
        "options": {number: value.hex() for number, value in options.items()},
    }


def listening(interface: str, timeout_s: float) -> socket.socket:
    """A socket of a DHCP client."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
    sock.bind(("", 68))
    sock.settimeout(timeout_s)
    return sock


def one(interface: str, mac_text: str, *extra: str) -> dict[str, Any]:
    """Get an address, and what came with it."""
    mac, options = _given(mac_text, extra)
    transaction = os.urandom(4)
    with listening(interface, 1) as sock:
        offer, offered = ask(sock, packet(DISCOVER, transaction, mac, options), OFFER)
        chosen = {50: offer[16:20], 54: offered[54], **options}
        ack, given = ask(sock, packet(REQUEST, transaction, mac, chosen), ACK)
    return document(ack, given)


def soon(interface: str, mac_text: str, *extra: str) -> dict[str, Any]:
    """What is offered, for those who expect that nothing is."""
    mac, options = _given(mac_text, extra)
    with listening(interface, 1) as sock:
        discover = packet(DISCOVER, os.urandom(4), mac, options)
        return document(*ask(sock, discover, OFFER, timeout_s=SOON_S))


def pxe(interface: str, mac_text: str, *extra: str) -> dict[str, Any]:
    """An address of one server, and a loader of the other: `lease`, `proxy` and `boot`."""
    mac, options = _given(mac_text, extra)
    discover = packet(DISCOVER, os.urandom(4), mac, options)
    nobody = bytes(4)
    with listening(interface, 1) as sock:
        proxy, proxied = ask(sock, discover, OFFER, fits=lambda each: each[16:20] == nobody)
        offer, offered = ask(sock, discover, OFFER, fits=lambda each: each[16:20] != nobody)
        chosen = {50: offer[16:20], 54: offered[54], **options}
        ack, given = ask(sock, packet(REQUEST, discover[4:8], mac, chosen), ACK)
        lease = document(ack, given)
        place = ("dev", interface)
        own = ("ip", "address", "replace", f"{lease['yiaddr']}/24", *place)
        subprocess.run(own, check=True, timeout=TIMEOUT_S)
        boot = document(proxy, proxied)
        if not boot["file"]:
            asked = packet(REQUEST, os.urandom(4), mac, options, ciaddr=ack[16:20])
            server = (socket.inet_ntoa(proxied[54]), PXE_PORT)
            boot = document(*ask(sock, asked, ACK, server))
    return {"lease": lease, "proxy": document(proxy, proxied), "boot": boot}


def crowd(interface: str, count_text: str, gap_text: str) -> dict[str, Any]:
    """Addresses of many machines that ask at once, and how many had to ask again.

    A second round is for those who were not answered within RFC 2131's first four seconds.
    """
    gap_s = float(gap_text) / 1000
    macs = [bytes.fromhex(f"5254{number:08x}") for number in range(int(count_text))]
    began = time.monotonic()
    with listening(interface, 4) as sock:
        offers, again = _all(
            sock, {mac: packet(DISCOVER, mac[2:], mac, {}) for mac in macs}, OFFER, gap_s
        )
        requests = {
            mac: packet(REQUEST, mac[2:], mac, {50: offer[16:20], 54: options_of(offer)[54]})
            for mac, offer in offers.items()
        }
        acks, later = _all(sock, requests, ACK, gap_s)
    took_s = time.monotonic() - began
    given = [socket.inet_ntoa(ack[16:20]) for ack in acks.values()]
    return {"addresses": given, "asked_again": again + later, "took_s": round(took_s, 3)}


def _all(
    sock: socket.socket, requests: dict[bytes, bytes], kind: int, gap_s: float
) -> tuple[dict[bytes, bytes], int]:
    answers: dict[bytes, bytes] = {}
    again, deadline = -len(requests), time.monotonic() + CROWD_TIMEOUT_S
    while len(answers) < len(requests) and time.monotonic() < deadline:
        for mac, request in requests.items():
            if mac not in answers:
                again += 1
                sock.sendto(request, ("255.255.255.255", 67))
                time.sleep(gap_s)
        try:
            while len(answers) < len(requests):
                answer = sock.recv(2048)
                mac = answer[28:34]
                if mac in requests and options_of(answer).get(53) == bytes([kind]):
                    answers[mac] = answer
        except TimeoutError:
            continue
    return answers, again


def _given(mac_text: str, extra: tuple[str, ...]) -> tuple[bytes, Options]:
    options = {int(n): bytes.fromhex(v) for n, v in (text.split("=") for text in extra)}
    return bytes.fromhex(mac_text.replace(":", "")), options


if __name__ == "__main__":
    modes: dict[str, Callable[..., dict[str, Any]]] = {
        "--pxe": pxe,
        "--crowd": crowd,
        "--soon": soon,
    }
    mode = modes.get(sys.argv[1])
    found = mode(*sys.argv[2:]) if mode else one(*sys.argv[1:])
    sys.stdout.write(json.dumps(found))
