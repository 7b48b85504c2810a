"""Which port of which switch each card is plugged into: LLDP (IEEE 802.1AB-2016), only listened to.

Switches say it every 30 s, so nobody waits for it: a thread listens while the agent does its work,
and what it has heard goes with the next report. Whatever comes over the wire, parsing raises
nothing: a frame that is not whole says what it says up to there.
"""

import contextlib
import select
import socket
import struct
import threading
from collections.abc import Iterator, Sequence

ETHERTYPE = 0x88CC
GROUPS = (
    bytes.fromhex("0180c200000e"),
    bytes.fromhex("0180c2000003"),
    bytes.fromhex("0180c2000000"),
)
"""The nearest bridge, the nearest one that is not a two-port MAC relay, the nearest customer bridge
(table 7-1)."""
FRAME_BYTES = 1536
TEXT_CHARACTERS = 128
POLL_S = 0.5

_HEADER_BYTES = 14
_END, _CHASSIS, _PORT, _PORT_DESCRIPTION, _SYSTEM, _MANAGEMENT, _OWN = 0, 1, 2, 4, 5, 8, 127
_CHASSIS_MAC, _CHASSIS_NETWORK = 4, 5
_PORT_MAC, _PORT_NETWORK = 3, 4
_PORT_VLAN = bytes.fromhex("0080c201")  # the OUI of IEEE 802.1 and subtype 1 (802.1Q, D.2.1)
_MEMBERSHIP = struct.Struct("@iHH8s")  # struct packet_mreq, linux/if_packet.h
_SOL_PACKET, _ADD_MEMBERSHIP, _MULTICAST = 263, 1, 0

Neighbour = dict[str, object]


def parse(frame: bytes) -> Neighbour | None:
    """The neighbour that a whole Ethernet frame tells of; None where it is not LLDP."""
    if len(frame) < _HEADER_BYTES or int.from_bytes(frame[12:14], "big") != ETHERTYPE:
        return None
    found: Neighbour = dict.fromkeys(
        ("system", "chassis", "port", "port_description", "management_address", "vlan")
    )
    for kind, value in _parts(frame[_HEADER_BYTES:]):
        if kind == _CHASSIS:
            found["chassis"] = _identity(value, _CHASSIS_MAC, _CHASSIS_NETWORK)
        elif kind == _PORT:
            found["port"] = _identity(value, _PORT_MAC, _PORT_NETWORK)
        elif kind == _PORT_DESCRIPTION:
            found["port_description"] = _text(value)
        elif kind == _SYSTEM:
            found["system"] = _text(value)
        elif kind == _MANAGEMENT and found["management_address"] is None:
            found["management_address"] = _network(value[1 : 1 + value[0]] if value else b"")
        elif kind == _OWN and value.startswith(_PORT_VLAN) and len(value) == 6:
            found["vlan"] = int.from_bytes(value[4:6], "big") or None
    return found if found["chassis"] or found["port"] else None


class Listener:
    """Hears the neighbours of some interfaces until it is closed; it sends nothing."""

    def __init__(self, interfaces: Sequence[str]) -> None:
        self._interfaces = tuple(interfaces)
        self._heard: dict[str, Neighbour] = {}
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="lldp", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def close(self) -> None:
        """Stop; at once for who waits."""
        self._closing.set()

    def heard(self) -> dict[str, Neighbour]:
        """What was heard so far, by interface."""
        return dict(self._heard)

    def _listen(self) -> None:
        with contextlib.ExitStack() as stack:
            sockets = {}
            for name in self._interfaces:
                with contextlib.suppress(OSError):  # a card that went away, or no right to listen
                    sockets[stack.enter_context(_socket(name))] = name
            while sockets and not self._closing.is_set():
                ready, _, _ = select.select(list(sockets), [], [], POLL_S)
                for each in ready:
                    self._hear(each, sockets)

    def _hear(self, each: socket.socket, sockets: dict[socket.socket, str]) -> None:
        try:
            neighbour = parse(each.recv(FRAME_BYTES))
        except OSError:
            del sockets[each]
            return
        if neighbour is not None:
            self._heard[sockets[each]] = neighbour


def _socket(interface: str) -> socket.socket:
    """A socket that gets the LLDP frames of one interface (packet(7))."""
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETHERTYPE))
    try:
        made.bind((interface, ETHERTYPE))
        index = socket.if_nametoindex(interface)
        for group in GROUPS:
            wanted = _MEMBERSHIP.pack(index, _MULTICAST, len(group), group)
            made.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, wanted)
    except OSError:
        made.close()
        raise
    return made


def _parts(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and value of each TLV: 7 bits of type, 9 of length (section 8.4)."""
    at = 0
    while at + 2 <= len(data):
        head = int.from_bytes(data[at : at + 2], "big")
        kind, length = head >> 9, head & 0x1FF
        value = data[at + 2 : at + 2 + length]
        if kind == _END or len(value) < length:
            return
        yield kind, value
        at += 2 + length


def _identity(value: bytes, mac: int, network: int) -> str | None:
    """A chassis or port: one byte says what kind of name follows (sections 8.5.2 and 8.5.3)."""
    if len(value) < 2:
        return None
    kind, name = value[0], value[1:]
    if kind == mac and len(name) == 6:
        return ":".join(f"{octet:02x}" for octet in name)
    if kind == network:
        return _network(name)
    return _text(name)


def _network(value: bytes) -> str | None:
    """An address after its IANA family number: 1 is IPv4, 2 is IPv6; others stay untold."""
    families = {(1, 4): socket.AF_INET, (2, 16): socket.AF_INET6}
    family = families.get((value[0], len(value) - 1)) if value else None
    return None if family is None else socket.inet_ntop(family, value[1:])


def _text(value: bytes) -> str | None:
    """Printable text, bounded: a switch's administrator wrote it, or somebody in its place."""
    text = value.decode(errors="replace").replace("\0", "")
    text = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(text.split())[:TEXT_CHARACTERS] or None
