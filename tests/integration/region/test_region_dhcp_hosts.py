"""Which machines DHCP knows: they come, change and go while dnsmasq serves on."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from lpmos.core.clock import utc_now
from lpmos.core.machines import Machines
from lpmos.model.machine import Machine
from lpmos.region.dhcp_networks import DhcpNetwork, DhcpSettings
from lpmos.store import keys, records
from tests.support.builders import MAC, actor
from tests.support.dnsmasq_processes import dnsmasq_pids
from tests.support.region import RunningRegion, running, until
from tests.support.wire import ADDRESS, BRIDGE, CLIENT_INTERFACE, Wire

NETWORK = DhcpNetwork(interface=BRIDGE, range=("10.92.0.100", "10.92.0.199"))
KNOWN_ONLY = DhcpSettings(networks=(NETWORK,), known_only=True)
RESERVED = "10.92.0.42"
OTHER_RESERVED = "10.92.0.43"
LOADER = "snponly.efi"
LOADER_PATH = Path("/usr/lib/ipxe") / LOADER
SLOW_TFTP = Path(__file__).parents[2] / "support" / "slow_tftp.py"
PAUSE_MS = "12"
"""So that a transfer of the loader takes some seconds."""


@pytest.fixture
async def region(network: Wire, tmp_path: Path) -> AsyncIterator[RunningRegion]:
    async with running(tmp_path, dhcp=KNOWN_ONLY, address=ADDRESS) as started:
        yield started


def dnsmasq_pid(region: RunningRegion) -> int:
    """The one dnsmasq with the region's configuration."""
    (pid,) = dnsmasq_pids(region.state_dir / "dnsmasq.conf")
    return pid


def hosts(region: RunningRegion) -> str:
    """All lines that dnsmasq is given."""
    files = (each for each in region.state_dir.glob("dhcp.hosts/**/*") if each.is_file())
    return "".join(each.read_text() for each in files)


async def is_known(network: Wire, mac: str) -> bool:
    """Whether DHCP offers this machine an address."""
    try:
        await network.ask("--soon", CLIENT_INTERFACE, mac, o93="0007")
    except AssertionError:
        return False
    return True


async def reserve(region: RunningRegion, sn: str, address: str | None) -> None:
    """What `PATCH /machines/dc1/SN` does."""
    machines = Machines(region.store, region.fleet, utc_now)
    await machines.change("dc1", sn, by=actor("admin"), address=address)


async def test_known_only_answers_a_machine_as_soon_as_it_has_a_task(
    region: RunningRegion, network: Wire
) -> None:
    assert not await is_known(network, MAC)
    pid = dnsmasq_pid(region)
    await region.create_task()
    await until(lambda: MAC in hosts(region), "the machine's line")
    assert (await network.lease(MAC, o93="0007"))["yiaddr"].startswith("10.92.0.1")
    assert dnsmasq_pid(region) == pid
    assert (await region.get("/health"))[1]["services"]["dhcp"] == "ok"


async def test_machine_that_is_forgotten_is_known_no_more(
    region: RunningRegion, network: Wire
) -> None:
    task = await region.create_task()
    assert (await region.report())[0] == 200
    await until(lambda: MAC in hosts(region), "the machine's line")
    assert await is_known(network, MAC)
    await region.tasks.cancel(task.task_id, by=actor("admin"))
    machines = Machines(region.store, region.fleet, utc_now)
    await machines.forget("dc1", task.sn, by=actor("admin"))
    await until(lambda: MAC not in hosts(region), "the machine's line to go")

    async def gone() -> bool:
        return not await is_known(network, MAC)

    await until(gone, "DHCP to know it no more", 30)


async def test_reserved_address_is_given_changed_and_taken_away(
    region: RunningRegion, network: Wire
) -> None:
    task = await region.create_task()
    assert (await region.report())[0] == 200
    pid = dnsmasq_pid(region)
    for address in (RESERVED, OTHER_RESERVED):
        await reserve(region, task.sn, address)
        line = f"{MAC},{address}"
        await until(lambda line=line: line in hosts(region), "the line")  # type: ignore[misc]

        async def given(address: str = address) -> bool:
            return bool((await network.lease(MAC, o93="0007"))["yiaddr"] == address)

        await until(given, f"{address} to be given", 30)
    await reserve(region, task.sn, None)
    await until(lambda: OTHER_RESERVED not in hosts(region), "the reservation to go")
    assert dnsmasq_pid(region) == pid


async def test_transfer_under_way_and_leases_outlive_machines_that_come_and_go(
    region: RunningRegion, network: Wire
) -> None:
    await region.create_task()
    assert (await region.report())[0] == 200
    await until(lambda: MAC in hosts(region), "the machine's line")
    lease = await network.lease(MAC, o93="0007")
    pid = dnsmasq_pid(region)
    slow = (sys.executable, str(SLOW_TFTP), ADDRESS, LOADER, PAUSE_MS)
    loading = asyncio.create_task(network.run(*slow))
    kv = await region.store.get(keys.meta("dc1", "SN-1"))
    assert kv is not None
    model = records.decode(kv, Machine)
    rounds = 0
    while not loading.done():
        rounds += 1
        sn, mac = f"COMES-{rounds}", f"52:54:00:99:00:{rounds:02x}"
        other = msgspec.structs.replace(model, sn=sn, macs=(mac,))
        await region.store.put(keys.meta("dc1", sn), records.encode(other))
        await until(lambda mac=mac: mac in hosts(region), "it to come")  # type: ignore[misc]
        await region.store.delete(keys.meta("dc1", sn))
        await until(lambda mac=mac: mac not in hosts(region), "it to go")  # type: ignore[misc]
    assert rounds >= 3
    assert await loading == LOADER_PATH.read_bytes()
    assert dnsmasq_pid(region) == pid
    again = await network.ask(CLIENT_INTERFACE, MAC, o93="0007")
    assert again["yiaddr"] == lease["yiaddr"]


async def test_reserved_address_outside_every_network_is_said_and_not_given(
    region: RunningRegion, network: Wire, capsys: pytest.CaptureFixture[str]
) -> None:
    task = await region.create_task()
    assert (await region.report())[0] == 200
    kv = await region.store.get(keys.meta("dc1", task.sn))
    assert kv is not None
    outside = msgspec.structs.replace(records.decode(kv, Machine), address="198.51.100.7")
    await region.store.put(kv.key, records.encode(outside))  # of before its networks changed
    said = ""

    def warned() -> bool:
        nonlocal said
        said += capsys.readouterr().out
        return "a reserved address is in no network of this region" in said

    await until(warned, "a warning")
    assert (await network.lease(MAC, o93="0007"))["yiaddr"].startswith("10.92.0.1")
