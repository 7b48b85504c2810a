"""What dnsmasq prints, as events: who asked, who was offered what, which loader was sent.

The lines are those of dnsmasq's `src/rfc2131.c` (log_packet) and `src/tftp.c`; a line of no known
shape is an event of its own, so that nothing it says is lost.
"""

import re
from typing import Literal, NamedTuple

PROBE_TRANSACTION = 0x6C706D6F
"""The transaction id of the region's own DHCP probe: dnsmasq's lines about it say nothing."""

_LINE = re.compile(r"(?P<program>dnsmasq(?:-dhcp|-tftp)?)(?:\[\d+\])?: (?P<text>.*)")
_PACKET = re.compile(
    r"(?:(?P<transaction>\d+) )?(?P<kind>DHCP[A-Z]+|BOOTP)\((?P<interface>[^)]+)\)"
    r"(?: (?P<ip>\d+\.\d+\.\d+\.\d+))?(?: (?P<mac>(?:[0-9a-f]{2}:){5}[0-9a-f]{2}))?"
    r"(?: (?P<extra>.*))?"
)
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
    if packet := _PACKET.fullmatch(text):
        return _packet_event(packet)
    if program == "dnsmasq-tftp" and (sent := _SENT.fullmatch(text)):
        if sent["file"].endswith("/health"):
            return None
        file = sent["file"].rpartition("/")[2]
        return DhcpEvent("info", "tftp sent", {"file": file, "ip": sent["ip"]})
    alarming = _alarms(text) and not (_ABORTED.match(text) or _GONE.fullmatch(text))
    level: Level = "warning" if alarming else "debug"
    return DhcpEvent(level, f"{program}: {text}", {})


def _alarms(text: str) -> bool:
    lowered = text.lower()
    return any(word in lowered for word in _ALARM)


def _packet_event(packet: re.Match[str]) -> DhcpEvent:
    named = ("interface", "ip", "mac", "extra")
    fields = {name: packet[name].strip() for name in named if packet[name]}
    kind = packet["kind"].removeprefix("DHCP").lower()
    level: Level = "warning" if kind in ("nak", "decline") else "info"
    return DhcpEvent(level, f"dhcp {kind}", fields)
