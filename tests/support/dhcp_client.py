"""A DHCP client that shares no code with the region: `dhcp_client.py INTERFACE MAC [OPTION=HEX…]`.

It goes through DISCOVER, OFFER, REQUEST and ACK (RFC 2131) on an interface without an address, and
prints the ACK as JSON: `yiaddr`, `siaddr`, `file` and the options, each in hex by its number.
"""

import json
import os
import socket
import sys
import time

TIMEOUT_S = 5.0
DISCOVER, OFFER, REQUEST, ACK = 1, 2, 3, 5


def packet(kind: int, transaction: bytes, mac: bytes, options: dict[int, bytes]) -> bytes:
    """A BOOTP request with the broadcast flag."""
    head = b"\x01\x01\x06\x00" + transaction + b"\x00\x00\x80\x00" + bytes(16)
    head += mac.ljust(16, b"\0") + bytes(64 + 128) + bytes.fromhex("63825363")
    wanted = {53: bytes([kind]), 55: bytes([1, 3, 6, 43, 60, 66, 67, 175]), **options}
    body = b"".join(bytes([number, len(value)]) + value for number, value in wanted.items())
    return (head + body + b"\xff").ljust(300, b"\0")


def options_of(answer: bytes) -> dict[int, bytes]:
    """The options after the magic cookie; parts of the same option are joined."""
    found: dict[int, bytes] = {}
    at = 240
    while at < len(answer) and answer[at] != 255:
        if answer[at] == 0:
            at += 1
            continue
        length = answer[at + 1]
        found[answer[at]] = found.get(answer[at], b"") + answer[at + 2 : at + 2 + length]
        at += 2 + length
    return found


def ask(sock: socket.socket, request: bytes, kind: int) -> tuple[bytes, dict[int, bytes]]:
    """Send, and wait for the answer of this kind; sent again every second."""
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        sock.sendto(request, ("255.255.255.255", 67))
        try:
            answer = sock.recv(2048)
        except TimeoutError:
            continue
        options = options_of(answer)
        if answer[4:8] == request[4:8] and options.get(53) == bytes([kind]):
            return answer, options
    raise SystemExit(f"no answer in {TIMEOUT_S} s")


def main(interface: str, mac_text: str, *extra: str) -> None:
    """Get an address and print what came with it."""
    mac = bytes.fromhex(mac_text.replace(":", ""))
    options = {int(n): bytes.fromhex(v) for n, v in (text.split("=") for text in extra)}
    transaction = os.urandom(4)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.bind(("", 68))
        sock.settimeout(1)
        offer, offered = ask(sock, packet(DISCOVER, transaction, mac, options), OFFER)
        chosen = {50: offer[16:20], 54: offered[54], **options}
        ack, given = ask(sock, packet(REQUEST, transaction, mac, chosen), ACK)
    document = {
        "yiaddr": socket.inet_ntoa(ack[16:20]),
        "siaddr": socket.inet_ntoa(ack[20:24]),
        "file": (given.get(67) or ack[108:236]).split(b"\0")[0].decode(),
        "options": {number: value.hex() for number, value in given.items()},
    }
    sys.stdout.write(json.dumps(document))


if __name__ == "__main__":
    main(*sys.argv[1:])
