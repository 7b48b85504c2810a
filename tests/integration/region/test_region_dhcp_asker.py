"""Who asks for an address, by the real dnsmasq: firmware, iPXE, or a system; and beside whom."""

from pathlib import Path

import pytest

from lpmos.model.evidence import Evidence
from lpmos.region.dhcp_networks import DhcpNetwork, DhcpSettings
from lpmos.store import keys, records
from tests.support.builders import MAC
from tests.support.dhcp_peers import neighbour
from tests.support.region import RunningRegion, running, until
from tests.support.wire import ADDRESS, BRIDGE, CLIENT_INTERFACE, Wire

SERVED = DhcpSettings(
    networks=(DhcpNetwork(interface=BRIDGE, range=("10.92.0.100", "10.92.0.199")),)
)
PROXY = DhcpSettings(networks=(DhcpNetwork(interface=BRIDGE, mode="proxy", subnet="10.92.0.0/24"),))
PXE = b"PXEClient:Arch:00007:UNDI:003016".hex()
IPXE = b"iPXE".hex()


async def asked(region: RunningRegion, by: str | None) -> Evidence:
    """The evidence, once the newest request in it is of this kind."""
    found: list[Evidence] = []

    async def is_written() -> bool:
        kv = await region.store.get(keys.evidence("dc1", "SN-1"))
        found[:] = [records.decode(kv, Evidence)] if kv else []
        return bool(found and found[0].asked and found[0].asked.by == by)

    await until(is_written, f"a request by {by}")
    return found[0]


@pytest.mark.parametrize(
    ("options", "by"),
    [
        ({"o60": PXE, "o93": "0007"}, "netboot"),
        ({"o60": PXE, "o93": "0007", "o77": IPXE}, "netboot"),
        ({"o60": b"udhcp 1.36.1".hex()}, None),
    ],
)
async def test_request_says_whether_firmware_or_ipxe_made_it(
    network: Wire, tmp_path: Path, options: dict[str, str], by: str | None
) -> None:
    async with running(tmp_path, dhcp=SERVED, address=ADDRESS) as region:
        await region.create_task()
        await network.lease(MAC, **options)
        seen = await asked(region, by)
        assert seen.given and seen.given.detail.startswith("10.92.0.1")


async def test_request_beside_another_server_says_that_the_region_is_a_proxy(
    network: Wire, tmp_path: Path
) -> None:
    with neighbour("10.92.0.20", "10.92.0.30"):
        async with running(tmp_path, dhcp=PROXY, address=ADDRESS) as region:
            await region.create_task()
            await network.ask("--pxe", CLIENT_INTERFACE, MAC, o93="0007", o60=PXE)
            assert (await asked(region, "proxy")).given is None
