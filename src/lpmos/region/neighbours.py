"""Whose an IPv4 address is that another server gave: the kernel's ARP table knows it.

The rule: it is asked only of who talks to the region at this moment, so its entry is fresh. Of a
machine behind a router there is none.
"""

from pathlib import Path

_TABLE = Path("/proc/thread-self/net/arp")
_COMPLETE = 0x02
"""The entry has its MAC (ATF_COM of linux/if_arp.h)."""
_COLUMNS = 6


def neighbours(table: str) -> dict[str, str]:
    """MACs by address, of the text of `/proc/net/arp` (proc(5)); its first line names the columns.

    Entries without a MAC, and lines of another shape, are left out.
    """
    found = {}
    for line in table.splitlines()[1:]:
        columns = line.split()
        if len(columns) == _COLUMNS and _is_complete(columns[2]):
            found[columns[0]] = columns[3].lower()
    return found


def mac_of_neighbour(address: str) -> str | None:
    """The MAC that the kernel has for this address now; None where it has none."""
    try:
        return neighbours(_TABLE.read_text()).get(address)
    except OSError:  # not Linux' /proc; it only helps people
        return None


def _is_complete(flags: str) -> bool:
    try:
        return bool(int(flags, 16) & _COMPLETE)
    except ValueError:
        return False
