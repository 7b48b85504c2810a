"""A DHCPv6 client that is not ours: `dhcp6_client.py INTERFACE ARCHITECTURE [CLASS]`.

It goes through SOLICIT, ADVERTISE, REQUEST and REPLY (RFC 8415) and prints as JSON the `address`
that it is given, and the boot file's `url` (RFC 5970). CLASS is a user class, as iPXE sends it.
"""

import json
import os
import socket
import struct
import sys
import time

TIMEOUT_S = 15.0
SOLICIT, ADVERTISE, REQUEST, REPLY = 1, 2, 3, 7
CLIENT_ID, SERVER_ID, IA_NA, IA_ADDRESS, ORO, ELAPSED, USER_CLASS = 1, 2, 3, 5, 6, 8, 15
BOOT_FILE_URL, CLIENT_ARCH = 59, 61


def option(number: int, value: bytes) -> bytes:
    """One option."""
    return struct.pack("!HH", number, len(value)) + value


def options_of(text: bytes) -> dict[int, bytes]:
    """Options by number, the last of each."""
    found: dict[int, bytes] = {}
    while len(text) >= 4:
        number, length = struct.unpack("!HH", text[:4])
        found[number] = text[4 : 4 + length]
        text = text[4 + length :]
    return found


def ask(sock: socket.socket, index: int, request: bytes, kind: int) -> dict[int, bytes]:
    """The options of the answer of this kind; the request is repeated until it comes."""
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            sock.sendto(request, ("ff02::1:2", 547, 0, index))
            answer = sock.recv(4096)
        except OSError:  # no link-local address yet, or no answer
            time.sleep(0.1)
            continue
        if answer[:4] == bytes([kind]) + request[1:4]:
            return options_of(answer[4:])
    raise SystemExit(f"no answer in {TIMEOUT_S} s")


def main(interface: str, architecture: str, *classes: str) -> None:
    """Ask, and print what is given."""
    asked = option(CLIENT_ID, b"\0\3\0\1" + bytes.fromhex("525400000006"))
    asked += option(ELAPSED, b"\0\0") + option(ORO, struct.pack("!H", BOOT_FILE_URL))
    asked += option(CLIENT_ARCH, struct.pack("!H", int(architecture)))
    for each in classes:
        asked += option(USER_CLASS, struct.pack("!H", len(each)) + each.encode())
    index = socket.if_nametoindex(interface)
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        sock.bind(("::", 546))
        sock.settimeout(1)
        solicit = bytes([SOLICIT]) + os.urandom(3) + asked
        solicit += option(IA_NA, b"\0\0\0\1" + bytes(8))
        offered = ask(sock, index, solicit, ADVERTISE)
        request = bytes([REQUEST]) + os.urandom(3) + asked
        request += option(SERVER_ID, offered[SERVER_ID]) + option(IA_NA, offered[IA_NA])
        given = ask(sock, index, request, REPLY)
    address = options_of(given[IA_NA][12:])[IA_ADDRESS][:16]
    document = {
        "address": socket.inet_ntop(socket.AF_INET6, address),
        "url": given.get(BOOT_FILE_URL, b"").decode(),
    }
    sys.stdout.write(json.dumps(document))


if __name__ == "__main__":
    main(*sys.argv[1:])
