"""Which machines dnsmasq knows, and their reserved addresses: files it reads while it serves.

A machine that came is one more line in a file of its own, which dnsmasq reads by itself
(`dhcp-hostsdir`). One that went or changed needs all anew: the file of all is written, the small
ones are deleted, and dnsmasq reads again at a SIGHUP, which keeps its leases and the transfers
under way. Changes within `TOGETHER_S` are one. The rule: whatever fails, the files are at worst
older than the fleet, never half written.

No line has a tag: dnsmasq 2.90 chains a host's tag into the packet that it answers, and ends with
SIGABRT when it frees the host at the next SIGHUP (`dhcp_netid_free` in `option.c`).

The lines: `--dhcp-host` of dnsmasq(8); reading: `inotify_check` and `reread_dhcp` of its source.
"""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
import structlog

from lpmos.core.fleet import Fleet
from lpmos.core.machineindex import MachineRow
from lpmos.core.taskchange import TaskChange
from lpmos.region.dhcp_networks import DhcpSettings
from lpmos.region.dnsmasq import ADDED_DIR, BASE_FILE
from lpmos.region.probes import PROBE_MAC

TOGETHER_S = 0.2
RETRY_S = 5.0
ADDED_LIMIT = 100
"""So many small files are made one: dnsmasq reads each at every start."""


def hosts_of(rows: Iterable[tuple[MachineRow, str | None]]) -> dict[str, str]:
    """The line of each MAC of machines with the MAC of their present task.

    A reserved address is for one card: the task's, else the first that was reported. A MAC that
    two machines have is known once, with an address where one of them has one for it: what a
    machine says of its cards takes no other's. An address that two machines have is the first
    one's. The region's own probe is known too.
    """
    known = [
        (row, list(dict.fromkeys((*((boots_from,) if boots_from else ()), *row.macs))))
        for row, boots_from in rows
    ]
    found = {PROBE_MAC: PROBE_MAC}
    given: set[str] = set()
    for row, macs in known:
        if row.address and macs and row.address not in given and macs[0] not in found:
            found[macs[0]] = f"{macs[0]},{row.address}"
            given.add(row.address)
    for _, macs in known:
        for mac in macs:
            found.setdefault(mac, mac)
    return found


class DhcpHosts:
    """The files of one region's machines, kept like its fleet."""

    def __init__(self, fleet: Fleet, directory: Path, dhcp: DhcpSettings, *, idc: str) -> None:
        self._fleet = fleet
        self._directory = directory
        self._dhcp = dhcp
        self._idc = idc
        self._written: dict[str, str] | None = None
        self._files = 0
        self._changed = asyncio.Event()
        self._outside: frozenset[str] = frozenset()
        self._log = structlog.get_logger().bind(idc=idc)

    async def prepare(self) -> None:
        """Write all that is known now, for a dnsmasq that is to be started.

        A fleet that is not known yet leaves what is there from before.
        """
        added = self._directory / ADDED_DIR
        await asyncio.to_thread(added.mkdir, parents=True, exist_ok=True)
        base = self._directory / BASE_FILE
        if self._fleet.listed or not await asyncio.to_thread(base.exists):
            await asyncio.to_thread(self._write_all, self._hosts())

    async def run(self, reread: Callable[[], None]) -> None:
        """Keep the files like the fleet until cancelled; `reread` has dnsmasq read all anew."""
        unsubscribe = (
            self._fleet.subscribe(self._note_task),
            self._fleet.subscribe_others(
                lambda name, _: self._changed.set() if name.kind == "meta" else None
            ),
        )
        self._changed.set()
        try:
            while True:
                await self._changed.wait()
                await asyncio.sleep(TOGETHER_S)
                self._changed.clear()
                if self._fleet.listed:
                    await self._bring_up_to_date(reread)
        finally:
            for each in unsubscribe:
                each()

    def _note_task(self, change: TaskChange) -> None:
        """A task's MAC is all that counts: its progress changes nothing here."""
        before, now = change.row_before, change.row
        if (before and before.mac) != (now and now.mac):
            self._changed.set()

    async def _bring_up_to_date(self, reread: Callable[[], None]) -> None:
        wanted = self._hosts()
        try:
            if await asyncio.to_thread(self._write, wanted):
                reread()
        except OSError as error:
            self._log.warning("DHCP does not know the newest machines yet", error=str(error))
            await asyncio.sleep(RETRY_S)
            self._changed.set()

    def _hosts(self) -> dict[str, str]:
        rows = list(self._fleet.machine_rows(self._idc))
        tasks = (self._fleet.current_row(row.place) for row in rows)
        self._say_outside(rows)
        return hosts_of(
            (_servable(row, self._outside), task.mac if task else None)
            for row, task in zip(rows, tasks, strict=True)
        )

    def _say_outside(self, rows: Iterable[MachineRow]) -> None:
        """Warn once of addresses that no network here has."""
        reserved = {row.address: row.sn for row in rows if row.address}
        outside = {
            ip: sn
            for ip, sn in reserved.items()
            if not any(network.reserves(ip) for network in self._dhcp.networks)
        }
        for ip in outside.keys() - self._outside:
            self._log.warning(
                "a reserved address is in no network of this region; it is not given",
                sn=outside[ip],
                address=ip,
                networks=[network.name for network in self._dhcp.networks],
            )
        self._outside = frozenset(outside)

    def _write(self, wanted: dict[str, str]) -> bool:
        """Write what changed; whether dnsmasq has to read all anew."""
        if self._written is None:
            self._write_all(wanted)
            return True
        new = {mac: line for mac, line in wanted.items() if mac not in self._written}
        same = len(wanted) - len(new) == len(self._written)
        if (
            not same
            or self._files >= ADDED_LIMIT
            or any(wanted[mac] != line for mac, line in self._written.items())
        ):
            self._write_all(wanted)
            return True
        if new:
            self._files += 1
            _put(self._directory / ADDED_DIR / f"{self._files:04}", new.values())
            self._written = wanted
        return False

    def _write_all(self, wanted: dict[str, str]) -> None:
        _put(self._directory / BASE_FILE, wanted.values())
        added = self._directory / ADDED_DIR
        for file in added.iterdir():
            file.unlink()
        self._files = 0
        self._written = wanted


def _servable(row: MachineRow, outside: frozenset[str]) -> MachineRow:
    return msgspec.structs.replace(row, address=None) if row.address in outside else row


def _put(file: Path, lines: Iterable[str]) -> None:
    """Replace a file as a whole; dnsmasq leaves names with a dot alone."""
    partial = file.with_name(f".{file.name}.partial")
    partial.write_text("".join(f"{line}\n" for line in lines))
    partial.replace(file)
