"""What dnsmasq prints, as events: who asked, who was offered what, which loader was sent.

The lines are those of dnsmasq's `src/rfc2131.c` (log_packet), `src/rfc3315.c` (log6_packet) and
`src/tftp.c`; a line of no known shape is an event of its own, so that nothing it says is lost.

By DHCPv6 a machine is known by its DUID, which firmware makes of its UUID. Before what it says of a
packet, dnsmasq says of which MAC the packet is, as the kernel's neighbours have it: the event
`dhcpv6 client`, with the same `transaction`. Of what a client says that it is (RFC 2132 option 60,
RFC 3004) dnsmasq tells just before its packet: the event `client class`, with the same
`transaction` too, for the packet is not always told of.
"""

import re
from typing import Literal, NamedTuple

PROBE_TRANSACTION = 0x6C706D6F
"""The transaction id of the region's own DHCP probe: dnsmasq's lines about it say nothing."""

_LINE = re.compile(r"(?P<program>dnsmasq(?:-dhcp|-tftp)?)(?:\[\d+\])?: (?P<text>.*)")
_PACKET = re.compile(
    r"(?:(?P<transaction>\d+) )?(?P<kind>DHCP[A-Z]+|BOOTP|PXE)\((?P<interface>[^)]+)\)"
    r"(?: (?P<ip>\d+\.\d+\.\d+\.\d+))?(?: (?P<mac>(?:[0-9a-f]{2}:){5}[0-9a-f]{2}))?"
    r"(?: (?P<extra>.*))?"
)
_PACKET6 = re.compile(
    r"(?P<transaction>\d+) (?P<kind>DHCP[A-Z-]+)\((?P<interface>[^)]+)\)"
    r"(?: (?P<ip>[0-9a-f]*:[0-9a-f:.]*))? (?P<duid>(?:[0-9a-f]{2}:){6,}[0-9a-f]{2})"
    r"(?: (?P<extra>.*))?"
)
"""A DUID is longer than a MAC: it has a type of two octets and more (RFC 8415 section 11.1)."""
_CLIENT6 = re.compile(
    r"(?P<transaction>\d+) client MAC address: (?P<mac>(?:[0-9a-f]{2}:){5}[0-9a-f]{2})"
)
_CLASS = re.compile(r"(?P<transaction>\d+) (?:vendor|user) class: (?P<name>.+)")
_SENT = re.compile(r"sent (?P<file>.+) to (?P<ip>[0-9a-fA-F.:]+)")
_ABORTED = re.compile(r"error \d+ .*abort", re.IGNORECASE)
"""UEFI firmware asks for a file's size and breaks off, before it asks for the file."""
_GONE = re.compile(r"cannot read \S+/dhcp\.hosts/added/\d+: No such file or directory")
"""It is told of a file that was deleted as of a new one."""
_ALARM = (
    *("fail", "error", "illegal", "bad", "cannot"),
    *("not found", "no address", "refus", "denied"),
)
"""Looked for one by one: as one pattern they cost much more, for each of 28 lines a machine."""

Level = Literal["debug", "info", "warning"]


_ABOUT_CLIENTS: tuple[tuple[Level, str, re.Pattern[str]], ...] = (
    ("info", "dhcpv6 client", _CLIENT6),
    ("debug", "client class", _CLASS),
)


class DhcpEvent(NamedTuple):
    """One line: `event` names it, `fields` are its parts that have a name."""

    level: Level
    event: str
    fields: dict[str, str]


def parse_line(line: str) -> DhcpEvent | None:
    """The event of one line; None for what the region's own probes caused."""
    match = _LINE.fullmatch(line.strip())
    program, text = (match["program"], match["text"]) if match else ("dnsmasq", line.strip())
    if text.startswith(f"{PROBE_TRANSACTION} "):
        return None
    if packet := _PACKET6.fullmatch(text) or _PACKET.fullmatch(text):
        return _packet_event(packet)
    for level, event, shape in _ABOUT_CLIENTS:
        if client := shape.fullmatch(text):
            return DhcpEvent(level, event, client.groupdict())
    if program == "dnsmasq-tftp" and (sent := _SENT.fullmatch(text)):
        if sent["file"].endswith("/health"):
            return None
        file = sent["file"].rpartition("/")[2]
        return DhcpEvent("info", "tftp sent", {"file": file, "ip": sent["ip"]})
    alarming = _alarms(text) and not (_ABORTED.match(text) or _GONE.fullmatch(text))
    return DhcpEvent("warning" if alarming else "debug", f"{program}: {text}", {})


def _alarms(text: str) -> bool:
    lowered = text.lower()
    return any(word in lowered for word in _ALARM)


def _packet_event(packet: re.Match[str]) -> DhcpEvent:
    said = packet.groupdict()
    named = ("interface", "ip", "mac", "duid", "extra", "transaction")
    fields = {name: value.strip() for name in named if (value := said.get(name))}
    kind = packet["kind"].removeprefix("DHCP").lower()
    level: Level = "warning" if kind in ("nak", "decline") else "info"
    return DhcpEvent(level, f"dhcp {kind}", fields)
