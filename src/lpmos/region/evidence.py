"""What the region sees of each machine's boot, layer by layer, kept where people look (O6).

The rule: signs are noted in memory at no cost to who is answered, and written to the store now and
then for machines that have an unfinished task; the newest of each layer counts. They help people
and decide nothing, so one that is lost with the region is not missed.
"""

import asyncio
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import msgspec
import structlog
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.typedefs import Handler, Middleware
from aiohttp.web_request import BaseRequest

from lpmos.core.clock import Clock
from lpmos.core.evidence import stored
from lpmos.core.fleet import Fleet
from lpmos.model import boot
from lpmos.model.errors import InvalidInput
from lpmos.model.evidence import ANOTHER_MACHINE, DETAIL_CHARACTERS, Evidence, Sign, Transfer
from lpmos.model.lifecycle import Status
from lpmos.model.machine import parse_mac
from lpmos.region.agent_gate import address_of
from lpmos.region.dhcp_events import DhcpEvent
from lpmos.region.neighbours import mac_of_neighbour
from lpmos.region.slaac import own_address
from lpmos.store import keys, records
from lpmos.store.api import Delete, Operation, Put, Store, StoreError

WRITE_EVERY_S = 3.0
WRITES_AT_ONCE = 50
MACHINES_LIMIT = 5_000
"""So many machines that boot at the same time are remembered; the one heard longest ago goes."""

TOLD = web.RequestKey("told", str)
"""What the machine was told to do, on the request that asked for it."""

_LAYERS: Mapping[str, tuple[str, str | None]] = {
    "dhcp discover": ("asked", boot.DHCP),
    "dhcp request": ("asked", None),
    "dhcp ack": ("given", boot.ADDRESS),
    "dhcp pxe": ("asked", boot.DHCP),
    "dhcp solicit": ("asked", boot.DHCP),
    "dhcp reply": ("given", boot.ADDRESS),
}
"""The layer of each word of dnsmasq, and the moment of a boot: who renews a lease boots nothing.

A proxy hears the firmware's and iPXE's requests only, by PXE; the address is another server's.
"""
_MOMENTS: Mapping[str, str] = {
    "loader": boot.LOADER,
    "entry": boot.IPXE,
    "script": boot.SCRIPT,
    "agent": boot.AGENT,
}
_TRANSFERS: Mapping[str, tuple[str, str, str]] = {
    "vmlinuz": ("kernel", boot.KERNEL_ASKED, boot.KERNEL),
    "initramfs": ("initramfs", boot.INITRAMFS_ASKED, boot.INITRAMFS),
}
_AGENT_FILE = re.compile(r"/boot/agent/[0-9a-f]{64}/(vmlinuz|initramfs)")
_FIRMWARE = ("PXEClient", "HTTPClient")
"""What the class of firmware that netboots begins with; iPXE has the first too, and says more."""
_IPXE = "iPXE"
_ONCE_A_BOOT = frozenset({"loader", "entry", "script"})
"""What is seen of these is the way of the boot under way until there."""
_REPORTS = frozenset({"/api/v1/agent/report", "/api/report"})
_CALLS_THAT_COUNT = _REPORTS | {"/api/v1/agent/identity"}
"""Of the others the task itself tells."""


class EvidenceBook:
    """The newest signs of one region's machines; `run` writes them."""

    def __init__(
        self,
        store: Store,
        fleet: Fleet,
        clock: Clock,
        *,
        idc: str,
        neighbour: Callable[[str], str | None] = mac_of_neighbour,
    ) -> None:
        """`store` is the one with the fence; `neighbour` has the MAC of an address of the link."""
        self._store = store
        self._fleet = fleet
        self._clock = clock
        self._idc = idc
        self._neighbour = neighbour
        self._client6 = "", ""
        """The newest DHCPv6 transaction, and the MAC of who is in it."""
        self._got_to = "", ""
        """The newest transaction of who netboots, and the layer that it has got to."""
        self._seen: OrderedDict[str, Evidence] = OrderedDict()
        self._macs: OrderedDict[str, str] = OrderedDict()
        self._changed: set[str] = set()
        self._written: set[tuple[str, str]] = set()
        self._log = structlog.get_logger().bind(idc=idc)

    def of(self, mac: str) -> Evidence:
        """What was seen of the machine with this MAC, by this client or by the one before."""
        return self._seen.get(mac) or self._before(mac) or Evidence(mac=mac)

    def _before(self, mac: str) -> Evidence | None:
        place = self._fleet.place_of_mac(self._idc, mac)
        kept = stored(self._fleet, *place) if place else None
        return kept if kept and kept.mac == mac else None

    def hear(self, event: DhcpEvent) -> None:
        """Take what dnsmasq said."""
        if event.event == "dhcpv6 client":
            self._client6 = event.fields["transaction"], event.fields["mac"]
        elif event.event == "client class":
            if event.fields["name"] == _IPXE:
                self._got_to = event.fields["transaction"], "loader"
            elif event.fields["name"].startswith(_FIRMWARE):
                self._got_to = event.fields["transaction"], "asked"
        elif event.event == "tftp sent":
            if (known := self._owner(event.fields["ip"])) is not None:
                self._note(known, "loader", f"{event.fields['file']} by TFTP")
        elif event.event.startswith("dhcp "):
            if known_as := _LAYERS.get(event.event):
                self._hear_packet(event, *known_as)
            self._got_to = "", ""

    def _hear_packet(self, event: DhcpEvent, layer: str, moment: str | None) -> None:
        fields = event.fields
        transaction, client = self._client6
        mac = fields.get("mac") or (client if fields.get("transaction") == transaction else None)
        detail = fields.get("ip" if layer == "given" else "interface")
        if mac is None or detail is None:
            return
        if layer == "given":
            self._learn(detail, mac)
        said_of, got_to = self._got_to
        way = got_to if fields.get("transaction") == said_of else None
        sign = Sign(self._clock(), detail, _by(event, way))
        self._put(mac, layer, sign, moment, way if moment == boot.DHCP else None)

    def told_by_tftp(self, mac: str, ip: str, told: str) -> None:
        """Take that a machine asked for its script by GRUB, and what it was told."""
        try:
            known = parse_mac(mac)
        except InvalidInput:
            return  # it is answered so
        self._learn(ip, known)
        self._note(known, "script", told)

    def sent_by_tftp(self, name: str, ip: str, size_bytes: int, done: bool) -> None:
        """Take that a file goes to GRUB, or went to its end."""
        if (mac := self._macs.get(ip)) is not None:
            self._transfer(mac, f"/{name}", size_bytes, done)

    def middleware(self) -> Middleware:
        """Notes what machines ask for by HTTP; answers are what they are."""

        @web.middleware
        async def note(request: web.Request, handler: Handler) -> web.StreamResponse:
            path = request.path
            if path == "/boot/ipxe":
                self._learn_asker(request)
            response = await handler(request)
            address = address_of(request)
            begins = path == "/boot/boot.ipxe" or path.startswith("/boot/loader/")
            mac = self._owner(address) if begins else self._macs.get(address)
            if mac is not None:
                self._note_answer(mac, path, request, response)
            return response

        return note

    async def run(self) -> None:
        """Write what is new, until cancelled; what was seen before is of another time.

        Since then another client may have answered the machines, and the store has what it saw.
        """
        self._seen.clear()
        self._macs.clear()
        self._changed.clear()
        while True:
            await asyncio.sleep(WRITE_EVERY_S)
            changed, self._changed = self._changed, set()
            try:
                await self._write(changed)
            except (StoreError, OSError) as error:
                self._changed = (self._changed | changed) & self._seen.keys()
                self._log.debug("signs of machines wait to be written", why=str(error))

    def _note_answer(
        self, mac: str, path: str, request: web.Request, response: web.StreamResponse
    ) -> None:
        if path == "/boot/boot.ipxe":
            self._note(mac, "entry", "")
        elif path == "/boot/ipxe":
            self._note(mac, "script", str(request.get(TOLD) or f"HTTP {response.status}"))
        elif path.startswith("/boot/loader/"):
            self._note(mac, "loader", f"{path.rpartition('/')[2]} by HTTP")
        elif path.startswith("/boot/agent/"):
            if response.status in (200, 206) and isinstance(response, SentFile):
                response.tell = partial(self._transfer, mac, path)
        elif path.startswith("/api/"):
            self._note_call(mac, path, response.status)

    def _note_call(self, mac: str, path: str, status: int) -> None:
        said = f"{path.rpartition('/')[2]}: HTTP {status}"
        if status in (401, 403):
            self._note(mac, "refused", said)
        elif status == 409 and path in _REPORTS:
            self._note(mac, "refused", ANOTHER_MACHINE)
        elif path in _CALLS_THAT_COUNT:
            self._note(mac, "agent", said)

    def _transfer(self, mac: str, path: str, size_bytes: int, done: bool) -> None:
        if (match := _AGENT_FILE.fullmatch(path)) is None:
            return
        layer, asked, sent = _TRANSFERS[match[1]]
        before = getattr(self.of(mac), layer)
        now = self._clock()
        if not done or before is None:
            self._put(mac, layer, Transfer(now, size_bytes), asked)
        else:
            self._put(mac, layer, msgspec.structs.replace(before, done_at=now), sent)

    def _learn_asker(self, request: web.Request) -> None:
        try:
            mac = parse_mac(request.query.get("mac", ""))
        except InvalidInput:
            return  # it is answered so
        self._learn(address_of(request), mac)

    def _learn(self, ip: str, mac: str) -> None:
        """Know from now on whose this address is, and over IPv6 the one that its agent makes."""
        for each in {ip, own_address(mac, ip)}:
            self._macs[each] = mac
            self._macs.move_to_end(each)
            if len(self._macs) > MACHINES_LIMIT:
                self._macs.popitem(last=False)

    def _owner(self, ip: str) -> str | None:
        """The MAC of who has this address and begins a boot; the kernel knows those that another
        server gave.
        """
        return self._macs.get(ip) or self._neighbour(ip)

    def _note(self, mac: str, layer: str, detail: str, moment: str | None = None) -> None:
        sign = Sign(self._clock(), detail[:DETAIL_CHARACTERS])
        self._put(mac, layer, sign, moment or _MOMENTS.get(layer))

    def _put(
        self,
        mac: str,
        layer: str,
        sign: Sign | Transfer,
        moment: str | None,
        got_to: str | None = None,
    ) -> None:
        """Take a sign; `got_to` is the layer that the boot has got to where the sign's says less.

        What comes after that on the way was seen of the boot before.
        """
        seen = self.of(mac)
        at = getattr(sign, "done_at", None) or sign.at
        if layer in _ONCE_A_BOOT or got_to:
            seen = seen.until(got_to or layer, at)
        newest = seen.boot.after(moment, at) if moment else seen.boot
        self._seen[mac] = msgspec.structs.replace(seen, boot=newest, **{layer: sign})
        self._seen.move_to_end(mac)
        self._changed.add(mac)
        if len(self._seen) > MACHINES_LIMIT:
            self._seen.popitem(last=False)

    async def _write(self, macs: set[str]) -> None:
        puts: list[Operation] = []
        for mac in sorted(macs & self._seen.keys()):
            place = self._fleet.place_of_mac(self._idc, mac)
            row = self._fleet.current_row(place) if place else None
            if place is None or row is None or row.mac != mac or row.finished:
                continue
            puts.append(Put(keys.evidence(*place), records.encode(self.of(mac))))
            self._written.add(place)
        await self._in_parts([*puts, *self._old()])

    def _old(self) -> list[Operation]:
        """Deletes of what was written of machines that have their system now."""
        over = [place for place in self._written if self._is_over(place)]
        self._written.difference_update(over)
        return [Delete(keys.evidence(*place)) for place in over]

    def _is_over(self, place: tuple[str, str]) -> bool:
        row = self._fleet.current_row(place)
        return row is None or row.status is Status.COMPLETED

    async def _in_parts(self, operations: Sequence[Operation]) -> None:
        for first in range(0, len(operations), WRITES_AT_ONCE):
            await self._store.txn([], operations[first : first + WRITES_AT_ONCE])


def _by(event: DhcpEvent, got_to: str | None) -> Literal["netboot", "proxy"] | None:
    if event.event == "dhcp pxe":
        return "proxy"
    return "netboot" if got_to else None


class SentFile(web.FileResponse):
    """A file by `sendfile`, with ranges; it tells when it begins to go out, and when all has gone.

    Its name is its digest, so it may be kept for ever.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, headers={"Content-Type": "application/octet-stream"})
        self._size_bytes = path.stat().st_size
        self.tell: Callable[[int, bool], None] | None = None

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:
        """See aiohttp: it returns when the whole file was sent, and raises where it was not."""
        tell = self.tell if request.method == "GET" else None
        if tell is not None:
            tell(self._size_bytes, False)
        writer = await super().prepare(request)
        if tell is not None:
            tell(self._size_bytes, True)
        return writer
