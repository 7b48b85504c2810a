"""A machine's way from its first packet to its own system stands in its task."""

import hashlib
import io
import json
import sys
from datetime import datetime
from pathlib import Path

from lpmos.control.views.timeline import timeline
from lpmos.core.evidence import so_far
from lpmos.model.boot import ADDRESS as GIVEN
from lpmos.model.boot import AGENT, DHCP, IPXE, LOADER, MOMENTS, SCRIPT
from lpmos.model.durations import BOOT_PARTS, FIRST_BOOT, RESTART_PARTS, durations
from lpmos.model.task import Task
from lpmos.region.dhcp_networks import DhcpNetwork, DhcpSettings
from lpmos.store import keys
from tests.support.builders import MAC, actor
from tests.support.dhcp_peers import neighbour
from tests.support.region import AGENT_ID, RunningRegion, fill, running, until
from tests.support.wire import ADDRESS, BRIDGE, CLIENT_INTERFACE, Wire, wire

DHCP6_CLIENT = Path(__file__).parents[2] / "support" / "dhcp6_client.py"
NETWORK = DhcpNetwork(interface=BRIDGE, range=("10.92.0.100", "10.92.0.199"))
PROXY = DhcpNetwork(interface=BRIDGE, mode="proxy", subnet="10.92.0.0/24")
OVER_IPV6 = DhcpNetwork(interface=BRIDGE, range6=("fd92::1000", "fd92::1fff"), address6="fd92::1")
IPXE_OPTIONS = {"o93": "0000", "o175": "b1050200010001"}
TOKEN = "0123456789abcdef" * 4
FETCH = ("curl", "-sSg", "--max-time", "20")


async def netboot(region: RunningRegion, network: Wire) -> str:
    """As a BIOS and iPXE do it; the script of the machine."""
    firmware = await network.lease(MAC, o93="0000")
    await network.run(*FETCH, f"tftp://{ADDRESS}/{firmware['file']}")
    ipxe = await network.lease(MAC, **IPXE_OPTIONS)
    await network.run(*FETCH, ipxe["file"])
    return (await network.run(*FETCH, f"{region.url}/boot/ipxe?mac={MAC}")).decode()


async def card_of(network: Wire) -> str:
    """The MAC of the client's card: what an address alone tells is of that."""
    (link,) = json.loads(await network.run("ip", "-json", "link", "show", CLIENT_INTERFACE))
    return str(link["address"])


async def shown(region: RunningRegion, task: Task, last: str) -> dict[str, datetime]:
    """The moments of the task as it is shown, once this one is among them."""

    def moments() -> dict[str, datetime]:
        now = region.fleet.task(task.task_id)
        assert now is not None
        return so_far(region.fleet, now).boot

    await until(lambda: last in moments(), f"{last} to be shown")
    return moments()


async def restart(region: RunningRegion, task: Task) -> None:
    """The agent's last word."""
    token_sha256 = hashlib.sha256(TOKEN.encode()).hexdigest()
    said = {"status": "restarting", "progress": 99, "first_boot_sha256": token_sha256}
    whose = {"mac_address": MAC, "task_id": task.task_id, "agent_id": AGENT_ID}
    status, _ = await region.post("/api/v1/agent/status", whose | said)
    assert status == 200


async def come_up(region: RunningRegion, task: Task) -> None:
    """The installed system's word."""
    said = {"task_id": task.task_id, "mac_address": MAC, "token": TOKEN}
    body = io.BytesIO(json.dumps(said).encode())
    async with region.http.post(f"{region.url}/api/v1/installed", data=body) as answer:
        assert answer.status == 200


async def test_task_has_every_moment_from_the_first_packet_to_the_word_of_its_system(
    tmp_path: Path,
) -> None:
    dhcp = DhcpSettings(networks=(NETWORK,))
    with wire() as network:
        async with running(tmp_path, dhcp=dhcp, address=ADDRESS) as region:
            fill(region.catalog, tmp_path, first_boot=True)
            task = await region.create_task()
            script = await netboot(region, network)
            for url in [word for word in script.split() if "/boot/agent/" in word]:
                await network.run(*FETCH, "-o", "/dev/null", url)
            await network.lease(MAC)
            booting = await shown(region, task, "boot.network")
            assert (await region.report())[0] == 200
            reported = await region.task_in(task.task_id, "pending_approval")
            assert {**booting, AGENT: reported.boot[AGENT]} == reported.boot
            assert [*reported.boot] == [name for name in MOMENTS if name.startswith("boot.")]
            await region.tasks.approve(task.task_id, by=actor("admin"), notes=None)
            approved = await region.task_in(task.task_id, "approved")
            assert (await region.claim(approved))[0] == 200
            await restart(region, task)
            await netboot(region, network)
            await network.lease(MAC)
            restarting = await shown(region, task, "restart.network")
            await come_up(region, task)
            done = await region.task_in(task.task_id, "completed")
    assert restarting == done.boot
    assert [*done.boot] == [*MOMENTS]
    assert [*done.boot.values()] == sorted(done.boot.values())
    found = durations(done)
    assert found.keys() >= {*BOOT_PARTS, *RESTART_PARTS}
    parts = sum(found[part] for part in RESTART_PARTS)
    assert abs(parts - found[FIRST_BOOT]) < 0.01
    entries = timeline(done)
    assert {*MOMENTS} < {entry.event for entry in entries}
    assert [entry.timestamp for entry in entries if entry.event in MOMENTS] == sorted(
        done.boot.values()
    )


async def test_boot_over_ipv6_is_seen_from_its_first_packet(tmp_path: Path) -> None:
    dhcp = DhcpSettings(networks=(OVER_IPV6,))
    client = (sys.executable, str(DHCP6_CLIENT), CLIENT_INTERFACE, "7")
    with wire() as network:
        async with running(tmp_path, dhcp=dhcp, address=ADDRESS) as region:
            mac = await card_of(network)
            task = await region.create_task(mac=mac)
            firmware = json.loads(await network.run(*client))
            place = (f"{firmware['address']}/64", "dev", CLIENT_INTERFACE, "nodad")
            await network.run("ip", "address", "add", *place)
            fetch = (*FETCH, "--interface", firmware["address"], "-o", "/dev/null")
            await network.run(*fetch, firmware["url"])
            ipxe = json.loads(await network.run(*client, "iPXE"))
            await network.run(*fetch, ipxe["url"])
            base = ipxe["url"].removesuffix("/boot/boot.ipxe")
            await network.run(*fetch, f"{base}/boot/ipxe?mac={mac}")
            found = await shown(region, task, SCRIPT)
    assert [*found] == [DHCP, GIVEN, LOADER, IPXE, SCRIPT]
    assert [*found.values()] == sorted(found.values())


async def test_boot_beside_another_dhcp_server_is_seen_but_for_its_address(tmp_path: Path) -> None:
    dhcp = DhcpSettings(networks=(PROXY,))
    vendor = {"o60": b"PXEClient".hex()}
    with wire() as network, neighbour("10.92.0.20", "10.92.0.30"):
        async with running(tmp_path, dhcp=dhcp, address=ADDRESS) as region:
            mac = await card_of(network)
            task = await region.create_task(mac=mac)
            pxe = ("--pxe", CLIENT_INTERFACE, mac)
            firmware = await network.ask(*pxe, o93="0007", **vendor)
            loader = f"tftp://{ADDRESS}/{firmware['boot']['file']}"
            await network.run(*FETCH, "-o", "/dev/null", loader)
            ipxe = await network.ask(*pxe, **IPXE_OPTIONS, **vendor)
            await network.run(*FETCH, ipxe["proxy"]["file"])
            await network.run(*FETCH, f"{region.url}/boot/ipxe?mac={mac}")
            found = await shown(region, task, SCRIPT)
    assert [*found] == [DHCP, LOADER, IPXE, SCRIPT]
    assert [*found.values()] == sorted(found.values())


async def test_boot_by_foreign_dhcp_alone_begins_with_the_first_moment_that_is_known(
    tmp_path: Path,
) -> None:
    with wire() as network:
        async with running(tmp_path, address=ADDRESS) as region:
            mac = await card_of(network)
            task = await region.create_task(mac=mac)
            await network.run("ip", "address", "add", "10.92.0.9/24", "dev", CLIENT_INTERFACE)
            await network.run(*FETCH, f"{region.url}/boot/boot.ipxe")
            await network.run(*FETCH, f"{region.url}/boot/ipxe?mac={mac}")
            found = await shown(region, task, SCRIPT)
    assert [*found] == [IPXE, SCRIPT]


async def test_region_that_is_restarted_knows_the_boot_that_it_saw(tmp_path: Path) -> None:
    async with running(tmp_path) as region:
        task = await region.create_task()
        await region.text(f"/boot/ipxe?mac={MAC}")

        def is_written() -> bool:
            return region.fleet.stored(keys.evidence("dc1", task.sn)) is not None

        await until(is_written, "what was seen to be written")
    async with running(tmp_path) as region:
        assert (await region.report())[0] == 200
        assert [*(await region.stored_task(task)).boot] == ["boot.script", "boot.agent"]
