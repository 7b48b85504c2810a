"""DHCP of a region against Kea's DHCPv4 server: whole exchanges a second, and how many are lost.

    python -m bench.dhcp

A real `lpmos region` with its own dnsmasq, its real configuration, and its leases kept in a real
etcd; then Kea with the same range, options of a netboot and its leases in a file, on the same wire:
a bridge in a network namespace of its own, and a client's namespace joined to it by veth. Debian's
perfdhcp is the client. Each exchange is a new machine with UEFI's options that asks for a loader:
DISCOVER, OFFER, REQUEST, ACK. Servers and client share the processors.

- steady: so many machines a second as a row of racks that is powered on, for some seconds;
- flat out: as fast as perfdhcp can send, far beyond both; what was answered in a second;
- a rack at once: so many machines that ask in the same moment, and again with the back-off of RFC
  2131 until they have an address (perfdhcp's `avalanche`).

Needs root. Ends with status 1 where a limit is missed.
"""

import asyncio
import contextlib
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from bench import report

from lpmos.lab.processes import HostProcesses
from lpmos.lab.simulated_images import make_simulated_images
from lpmos.lab.site import tail
from tests.support.etcd import EtcdServer, free_port
from tests.support.wire import BRIDGE, CLIENT_INTERFACE, Wire, wire

LPMOS = Path(sys.executable).with_name("lpmos")
SERVER = "10.95.0.1"
FIRST, LAST = "10.95.1.0", "10.95.255.250"
LEASE_S = 3600
STEADY_PER_S = 100
RACK = 200
START_TIMEOUT_S = 40.0
PROBE_PAUSE_S = 0.2
EXIT_WAIT_US = 1_000_000
"""How long perfdhcp waits for late answers at its end."""

MOST_LOST_STEADY = 0.001

UEFI_OPTIONS = (
    ("-o", "93,0007"),
    ("-o", "60,505845436c69656e743a417263683a30303030373a554e44493a303033303136"),
    ("-o", "55,0102030c0f1c2b3c4243af"),
)
"""What x86-64 UEFI says: its architecture, PXEClient, and which options it wants (RFC 4578)."""


class Exchanges(NamedTuple):
    """What perfdhcp counted: whole exchanges a second, packets of both halves, milliseconds."""

    per_s: float
    sent: int
    lost: int
    mean_ms: float


class Client:
    """Machines that were never seen before, in the client's namespace."""

    def __init__(self, place: Wire, directory: Path) -> None:
        self._place = place
        self._file = directory / "perfdhcp"
        self._next = 0

    async def exchanges(self, seconds: float, per_s: int | None = None) -> Exchanges:
        """Ask for so long: at a rate, or flat out."""
        rate = ("-r", str(per_s)) if per_s else ()
        return parse(await self._run("-p", str(round(seconds)), *rate))

    async def rack_s(self, machines: int) -> float:
        """How long it takes until so many machines that ask at once have their addresses."""
        text = await self._run("--scenario", "avalanche", machines=machines)
        found = re.search(r"It took (\d+):(\d+):(\d+)\.(\d+) to provision", text)
        if found is None:
            raise SystemExit(f"perfdhcp did not finish a rack:\n{text}")
        hours, minutes, seconds, fraction = found.groups()
        return int(hours) * 3600 + int(minutes) * 60 + float(f"{seconds}.{fraction}")

    async def _run(self, *arguments: str, machines: int = 60_000) -> str:
        """The output of a run; its status only says that something was lost."""
        self._next += 1
        base = f"mac=02:{self._next:02x}:00:00:00:00"
        words = [word for option in UEFI_OPTIONS for word in option]
        command = ["perfdhcp", "-4", "-l", CLIENT_INTERFACE, "-b", base, "-R", str(machines)]
        command += ["-W", str(EXIT_WAIT_US), *words, *arguments]
        script = 'out=$1; shift; "$@" > "$out" 2>&1 || true'
        await self._place.run("sh", "-c", script, "sh", str(self._file), *command)
        return await asyncio.to_thread(self._file.read_text)


def parse(text: str) -> Exchanges:
    """The summary that perfdhcp prints at its end."""
    rate = re.search(r"Rate: ([\d.]+) 4-way exchanges/second", text)
    sent = re.findall(r"sent packets: (\d+)", text)
    drops = re.findall(r"drops: (\d+)", text)
    delay = re.findall(r"avg delay: ([\d.]+) ms", text)
    if rate is None or not sent or not drops:
        raise SystemExit(f"perfdhcp said nothing that can be read:\n{text}")
    lost = sum(map(int, drops))
    return Exchanges(float(rate[1]), int(sent[0]), lost, sum(map(float, delay)))


@asynccontextmanager
async def region(directory: Path) -> AsyncIterator[None]:
    """A region that gives addresses on the bridge."""
    make_simulated_images(directory / "images", 100_000)
    async with EtcdServer() as etcd, HostProcesses() as processes:
        argv = [
            *(str(LPMOS), "region", "--idc", "dc1", "--etcd-endpoints", etcd.endpoint),
            *("--region-addr", SERVER, "--api-port", str(free_port())),
            *("--dhcp-mode", "full", "--dhcp-interface", BRIDGE),
            *("--dhcp-range", f"{FIRST},{LAST}", "--dhcp-router", SERVER),
            *("--state-dir", str(directory / "state")),
            *("--images-dir", str(directory / "images")),
        ]
        await processes.spawn(argv, log=directory / "region.log")
        yield


@asynccontextmanager
async def kea(directory: Path) -> AsyncIterator[None]:
    """Kea on the bridge."""
    config = directory / "kea.json"
    config.write_text(json.dumps(kea_config(directory)))
    async with HostProcesses() as processes:
        await processes.spawn(
            ["kea-dhcp4", "-c", str(config)],
            log=directory / "kea.log",
            env={
                "KEA_PIDFILE_DIR": str(directory),
                "KEA_LOCKFILE_DIR": str(directory),
                "KEA_DHCP_DATA_DIR": str(directory),
            },
        )
        yield


def kea_config(directory: Path) -> dict[str, Any]:
    """The same network, loaders and router as the region's."""
    uefi = {"name": "uefi", "test": "option[93].hex == 0x0007", "boot-file-name": "snponly.efi"}
    subnet = {
        "subnet": "10.95.0.0/16",
        "interface": BRIDGE,
        "pools": [{"pool": f"{FIRST} - {LAST}"}],
        "option-data": [{"name": "routers", "data": SERVER}],
        "next-server": SERVER,
    }
    leases = {"type": "memfile", "persist": True, "name": str(directory / "kea-leases.csv")}
    loggers = [{"name": "kea-dhcp4", "severity": "WARN", "output_options": [{"output": "stdout"}]}]
    return {
        "Dhcp4": {
            "interfaces-config": {"interfaces": [BRIDGE], "dhcp-socket-type": "raw"},
            "lease-database": leases,
            "valid-lifetime": LEASE_S,
            "authoritative": True,
            "client-classes": [uefi],
            "subnet4": [subnet],
            "loggers": loggers,
        }
    }


class Served(NamedTuple):
    """What one server did."""

    steady: Exchanges
    flat_out: list[Exchanges]
    rack_s: float


async def served(
    name: str, client: Client, place: Wire, directory: Path, seconds: float, rounds: int
) -> Served:
    """Start one of the two, and have it asked."""
    server = region(directory) if name == "region" else kea(directory)
    async with server:
        await _until_it_gives(place, directory / f"{name}.log")
        steady = await client.exchanges(seconds, STEADY_PER_S)
        rack_s = await client.rack_s(RACK)
        flat_out = [await client.exchanges(seconds) for _ in range(rounds)]
    return Served(steady, flat_out, rack_s)


async def _until_it_gives(place: Wire, log: Path) -> None:
    """Wait until a first machine gets an address."""
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            while True:
                with contextlib.suppress(AssertionError):
                    await place.lease("02:ff:00:00:00:01", o93="0007")
                    return
                await asyncio.sleep(PROBE_PAUSE_S)
    except TimeoutError:
        raise SystemExit(f"no address in {START_TIMEOUT_S:.0f} s:\n{tail(log)}") from None


async def measure(seconds: float, rounds: int) -> list[report.Row]:
    """Both, one after the other: they would answer each other's machines."""
    found = {}
    with tempfile.TemporaryDirectory(prefix="lpmos-bench-") as name, wire() as place:
        directory = Path(name)
        _readdress()
        client = Client(place, directory)
        for server in ("region", "kea"):
            found[server] = await served(server, client, place, directory, seconds, rounds)
    return _rows(found["region"], found["kea"])


def _readdress() -> None:
    """Give the bridge a network with room; Kea takes the first address for that of its subnet."""
    for change in (("flush",), ("add", f"{SERVER}/16")):
        subprocess.run(["ip", "-4", "address", *change, "dev", BRIDGE], check=True, timeout=30)


def _rows(ours: Served, its: Served) -> list[report.Row]:
    rates = [statistics.median(each.per_s for each in which.flat_out) for which in (ours, its)]
    lost = [sum(each.lost for each in which.flat_out) for which in (ours, its)]
    lost_steady = ours.steady.lost / ours.steady.sent
    return [
        report.limited(
            f"lost at {STEADY_PER_S} machines/s, part", lost_steady, at_most=MOST_LOST_STEADY,
            note=f"of {ours.steady.sent}; Kea {its.steady.lost / its.steady.sent:.3g}",
        ),
        report.compared(
            f"delay of both answers at {STEADY_PER_S} machines/s", ours.steady.mean_ms, "ms",
            ("Kea", its.steady.mean_ms), less_is_better=True,
        ),
        report.compared(
            f"{RACK} machines at once, all have an address", ours.rack_s, "s",
            ("Kea", its.rack_s), less_is_better=True,
        ),
        report.compared(
            "exchanges, flat out", rates[0], "/s", ("Kea", rates[1]),
            note=f"lost on the way {lost[0]}, Kea {lost[1]}",
        ),
    ]  # fmt: skip


def main() -> int:
    """Measure and report."""
    parser = report.parser(__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each part")
    parser.add_argument("--rounds", type=int, default=3, help="flat out")
    chosen = report.chosen(parser, {"seconds": 2.0, "rounds": 1})
    for program, package in (("perfdhcp", "kea-admin"), ("kea-dhcp4", "kea-dhcp4-server")):
        if shutil.which(program) is None:
            raise SystemExit(f"{program} is not installed: apt-get install {package}")
    return report.end(asyncio.run(measure(chosen.seconds, chosen.rounds)), chosen)


if __name__ == "__main__":
    sys.exit(main())
