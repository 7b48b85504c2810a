"""DHCP leases over a failover: the active client keeps dnsmasq's in the store, the next begins so.

dnsmasq writes its lease file before it sends the answer, and reads it when it starts. So the file
is the whole interface: what changes in it is written to the store, one key for each address, and
before dnsmasq starts the file is made from the store and from what was here. dnsmasq itself bounds
how many there are (`dhcp-lease-max`).

The file's lines: `lease_update_file` in dnsmasq's `src/lease.c`.
"""

import asyncio
import contextlib
import re
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec
import structlog

from lpmos.store import keys
from lpmos.store.api import Delete, Operation, Put, Store, StoreError

LOOK_S = 0.5
"""How often the file is looked at; a lease that dnsmasq tells of is looked for at once."""
TOGETHER_S = 0.05
"""Leases that are given so soon after another go into one write."""
RETRY_S = 2.0
LIST_TIMEOUT_S = 3.0
WRITES_AT_ONCE = 100

_LINE = re.compile(
    r"(?P<expires>\d{1,12}) (?P<mac>[0-9A-Fa-f:-]{1,64}) (?P<ip>\d{1,3}(?:\.\d{1,3}){3})"
    r" (?P<name>\S{1,255}) (?P<client>\S{1,1024})"
)


class DhcpLease(msgspec.Struct, frozen=True):
    """One address of a machine. `expires` is in seconds since 1970, 0 for never.

    `mac`, `name` and `client` are as dnsmasq writes them: a hardware type other than Ethernet
    stands before the MAC, `*` for a name or client id that is not there.
    """

    ip: str
    mac: str
    expires: int
    name: str = "*"
    client: str = "*"


def parse_leases(text: str) -> dict[str, DhcpLease]:
    """The IPv4 leases of a lease file by address; every other line is left out."""
    found = {}
    for line in text.splitlines():
        if match := _LINE.fullmatch(line):
            expires, mac, ip, name, client = match.groups()
            found[ip] = DhcpLease(ip, mac, int(expires), name, client)
    return found


def render_leases(leases: Iterable[DhcpLease]) -> str:
    """The text of a lease file."""
    lines = (f"{each.expires} {each.mac} {each.ip} {each.name} {each.client}" for each in leases)
    return "".join(f"{line}\n" for line in lines)


def merged(
    stored: Mapping[str, DhcpLease], here: Mapping[str, DhcpLease], now: float
) -> dict[str, DhcpLease]:
    """What DHCP begins with: each address's lease that ends last; none that has ended."""
    found: dict[str, DhcpLease] = {}
    for lease in (*here.values(), *stored.values()):
        known = found.get(lease.ip)
        if _lives(lease, now) and (known is None or _end(lease) >= _end(known)):
            found[lease.ip] = lease
    return found


class Leases:
    """The leases of one data center: a file here, and keys of the store."""

    def __init__(
        self,
        store: Store,
        file: Path,
        *,
        idc: str,
        on_change: Callable[[Iterable[str]], None] = lambda _: None,
    ) -> None:
        """`store` is the fenced one; `on_change` is told which addresses have leases."""
        self._on_change = on_change
        self._store = store
        self._file = file
        self._idc = idc
        self._stored: dict[str, DhcpLease] = {}
        self._given = asyncio.Event()
        self._log = structlog.get_logger().bind(idc=idc)

    def given(self) -> None:
        """A lease was given or returned: look at the file now."""
        self._given.set()

    async def prepare(self) -> None:
        """Make the file for a dnsmasq that is to be started; from what is here, if need be."""
        try:
            async with asyncio.timeout(LIST_TIMEOUT_S):
                self._stored = await self._list()
        except (StoreError, TimeoutError) as error:
            self._stored = {}
            self._log.warning("DHCP begins with the leases known here", reason=str(error))
        leases = merged(self._stored, parse_leases(self._read()), time.time())
        new = self._file.with_suffix(".new")
        new.write_text(render_leases(leases.values()))
        new.replace(self._file)

    async def run(self) -> None:
        """Keep the store like the file until cancelled."""
        seen: tuple[int, int] | None = None
        while True:
            self._given.clear()
            if (now := self._state()) != seen:
                leases = parse_leases(await asyncio.to_thread(self._read))
                self._on_change(leases)
                if not await self._put(leases):
                    await asyncio.sleep(RETRY_S)
                    continue
                seen = now
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._given.wait()
                    await asyncio.sleep(TOGETHER_S)

    async def _list(self) -> dict[str, DhcpLease]:
        found = {}
        async for page in self._store.list(keys.dhcp_lease(self._idc, "")):
            for kv in page.kvs:
                try:
                    lease = msgspec.json.decode(kv.value, type=DhcpLease)
                except msgspec.DecodeError as error:
                    self._log.warning("a DHCP lease cannot be read", key=kv.key, error=str(error))
                    continue
                found[lease.ip] = lease
        return found

    async def _put(self, leases: dict[str, DhcpLease]) -> bool:
        """Write the difference; False where the rest is left for later."""
        changes = [lease for ip, lease in leases.items() if self._stored.get(ip) != lease]
        gone = [ip for ip in self._stored if ip not in leases]
        operations: list[Operation] = [
            Put(keys.dhcp_lease(self._idc, each.ip), msgspec.json.encode(each)) for each in changes
        ]
        operations += [Delete(keys.dhcp_lease(self._idc, ip)) for ip in gone]
        try:
            for at in range(0, len(operations), WRITES_AT_ONCE):
                await self._store.txn([], operations[at : at + WRITES_AT_ONCE])
        except (StoreError, OSError) as error:
            self._log.warning(
                "DHCP leases wait to be stored", count=len(operations), why=str(error)
            )
            return False
        self._stored = dict(leases)
        return True

    def _state(self) -> tuple[int, int]:
        try:
            found = self._file.stat()
        except FileNotFoundError:
            return 0, 0
        return found.st_mtime_ns, found.st_size

    def _read(self) -> str:
        try:
            return self._file.read_text(errors="replace")
        except FileNotFoundError:
            return ""


def _end(lease: DhcpLease) -> float:
    return lease.expires or float("inf")


def _lives(lease: DhcpLease, now: float) -> bool:
    return _end(lease) > now
