"""Whose an address is: by dnsmasq's lease file, which it writes before a machine has its address,
and of IPv6 by the address itself, where it was made of a MAC.

The rule: the file is read again whenever it changed, so nobody is refused, or let in, for a lease
of before.
"""

import re
import time
from pathlib import Path

from lpmos.region.leases import DhcpLease, parse_leases
from lpmos.region.slaac import mac_of

_MAC = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}")


class LeaseHolders:
    """The living leases of one file; a file that is not there has none."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._read_at: tuple[int, int, int] | None = None
        self._leases: dict[str, DhcpLease] = {}

    def holder(self, ip: str) -> str | None:
        """The MAC whose lease of this address lives; None where there is none, or no Ethernet's."""
        if ":" in ip:
            return mac_of(ip)
        self._read()
        lease = self._leases.get(ip)
        if lease is None or 0 < lease.expires <= time.time() or not _MAC.fullmatch(lease.mac):
            return None
        return lease.mac.lower()

    def _read(self) -> None:
        try:
            found = self._file.stat()
        except FileNotFoundError:
            self._leases, self._read_at = {}, None
            return
        state = (found.st_mtime_ns, found.st_size, found.st_ino)
        if state != self._read_at:
            self._leases = parse_leases(self._file.read_text(errors="replace"))
            self._read_at = state
