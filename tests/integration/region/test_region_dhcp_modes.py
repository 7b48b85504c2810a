"""DHCP beside another server, behind a relay, on several networks, for many machines at once."""

import asyncio
import json
import sys
from pathlib import Path

import msgspec
import pytest

from lpmos.region.dhcp_networks import DhcpNetwork, DhcpSettings
from tests.support.dhcp_peers import (
    RELAYED_ADDRESS,
    RELAYED_INTERFACE,
    neighbour,
    relay,
    second_network,
)
from tests.support.region import running, until
from tests.support.wire import ADDRESS, BRIDGE, CLIENT_INTERFACE, Wire

IPXE_DIR = Path("/usr/lib/ipxe")
DHCP6_CLIENT = Path(__file__).parents[2] / "support" / "dhcp6_client.py"
IPXE_OPTIONS = "b1050200010001"
PXE = b"PXEClient".hex()
MAC = "52:54:00:00:00:01"
OTHER_MAC = "52:54:00:00:00:02"

HOME = DhcpNetwork(interface=BRIDGE, range=("10.92.0.100", "10.92.0.199"))
MANY = DhcpNetwork(interface=BRIDGE, range=("10.92.0.10", "10.92.0.249"))
PROXY = DhcpSettings(networks=(DhcpNetwork(interface=BRIDGE, mode="proxy", subnet="10.92.0.0/24"),))
RELAYED = DhcpNetwork(
    interface=BRIDGE,
    mode="relayed",
    subnet="10.93.0.0/24",
    range=("10.93.0.100", "10.93.0.199"),
    router=RELAYED_ADDRESS,
)


@pytest.mark.parametrize(
    ("architecture", "file"),
    [("0000", "undionly.kpxe"), ("0007", "snponly.efi"), ("0009", "snponly.efi")],
)
async def test_proxy_gives_the_loader_and_the_neighbour_the_address(
    network: Wire, tmp_path: Path, architecture: str, file: str
) -> None:
    with neighbour("10.92.0.20", "10.92.0.30"):
        async with running(tmp_path, dhcp=PROXY, address=ADDRESS):
            found = await network.ask("--pxe", CLIENT_INTERFACE, MAC, o93=architecture, o60=PXE)
            assert found["lease"]["yiaddr"].startswith("10.92.0.2")
            assert bytes.fromhex(found["lease"]["options"]["54"]) == bytes((10, 92, 0, 2))
            assert found["proxy"]["yiaddr"] == "0.0.0.0"
            assert bytes.fromhex(found["proxy"]["options"]["60"]) == b"PXEClient"
            assert (found["boot"]["file"], found["boot"]["siaddr"]) == (file, ADDRESS)
            url = f"tftp://{ADDRESS}/{file}"
            assert (
                await network.run("curl", "-sS", "--max-time", "20", url)
                == (IPXE_DIR / file).read_bytes()
            )


@pytest.mark.parametrize("architecture", ["0000", "0007"])
async def test_proxy_gives_ipxe_the_script_in_its_first_answer(
    network: Wire, tmp_path: Path, architecture: str
) -> None:
    with neighbour("10.92.0.20", "10.92.0.30"):
        async with running(tmp_path, dhcp=PROXY, address=ADDRESS) as region:
            found = await network.ask(
                "--pxe", CLIENT_INTERFACE, MAC, o93=architecture, o60=PXE, o175=IPXE_OPTIONS
            )
            assert found["proxy"]["file"] == f"{region.url}/boot/boot.ipxe"


async def test_proxy_gives_http_boot_firmware_a_url(network: Wire, tmp_path: Path) -> None:
    with neighbour("10.92.0.20", "10.92.0.30"):
        async with running(tmp_path, dhcp=PROXY, address=ADDRESS) as region:
            vendor = b"HTTPClient:Arch:00016".hex()
            found = await network.ask("--pxe", CLIENT_INTERFACE, MAC, o93="0010", o60=vendor)
            assert found["proxy"]["file"] == f"{region.url}/boot/loader/snponly.efi"
            assert bytes.fromhex(found["proxy"]["options"]["60"]) == b"HTTPClient"


async def test_proxy_is_healthy_and_seen_when_it_is_not(network: Wire, tmp_path: Path) -> None:
    async with running(tmp_path, dhcp=PROXY, address=ADDRESS) as region:
        status, health = await region.get("/health")
        assert (status, health["services"]["dhcp"]) == (200, "ok")


async def test_relayed_machine_gets_an_address_of_its_subnet(network: Wire, tmp_path: Path) -> None:
    dhcp = DhcpSettings(networks=(HOME, RELAYED))
    with relay(network, ADDRESS):
        async with running(tmp_path, dhcp=dhcp, address=ADDRESS) as region:
            far = await network.lease(MAC, RELAYED_INTERFACE, o93="0007")
            assert far["yiaddr"].startswith("10.93.0.1")
            assert bytes.fromhex(far["options"]["3"]) == bytes((10, 93, 0, 1))
            assert (far["file"], far["siaddr"]) == ("snponly.efi", ADDRESS)
            near = await network.lease(OTHER_MAC, o93="0007")
            assert near["yiaddr"].startswith("10.92.0.1")
            await network.run("ip", "route", "replace", f"{ADDRESS}/32", "via", RELAYED_ADDRESS)
            url = f"tftp://{ADDRESS}/{far['file']}"
            loaded = await network.run("curl", "-sS", "--max-time", "20", url)
            assert loaded == (IPXE_DIR / "snponly.efi").read_bytes()

            def shown() -> bool:
                beat = region.fleet.region("dc1").heartbeat
                return beat is not None and [each.leases for each in beat.dhcp] == [1, 1]

            await until(shown, "both networks' leases in the heartbeat")
            _, metrics = await region.text("/metrics")
            assert 'lpmos_region_dhcp_leases{network="br0 10.93.0.0/24"} 1.0' in metrics


async def test_relayed_network_alone_is_healthy(network: Wire, tmp_path: Path) -> None:
    dhcp = DhcpSettings(networks=(RELAYED,))
    with relay(network, ADDRESS):
        async with running(tmp_path, dhcp=dhcp, address=ADDRESS) as region:
            assert (await region.get("/health"))[0] == 200
            far = await network.lease(MAC, RELAYED_INTERFACE, o93="0007")
            assert far["yiaddr"].startswith("10.93.0.1")


async def test_machines_of_a_second_network_reach_the_region_at_its_address_there(
    network: Wire, tmp_path: Path
) -> None:
    ours, theirs = second_network(network, "trunk.10", "10.94.0.1")
    tagged = DhcpNetwork(interface=ours, range=("10.94.0.100", "10.94.0.199"), address="10.94.0.1")
    dhcp = DhcpSettings(networks=(HOME, tagged))
    async with running(tmp_path, dhcp=dhcp, address=ADDRESS, host="0.0.0.0") as region:
        port = region.region.port
        lease = await network.lease(MAC, theirs, o93="0000", o175=IPXE_OPTIONS)
        assert lease["yiaddr"].startswith("10.94.0.1")
        assert lease["file"] == f"http://10.94.0.1:{port}/boot/boot.ipxe"
        script = await network.run("curl", "-sS", "--max-time", "20", lease["file"])
        assert f"http://10.94.0.1:{port}/boot/ipxe?mac=" in script.decode()
        assert ADDRESS not in script.decode()


async def test_200_machines_within_a_second_are_all_answered_at_once(
    network: Wire, tmp_path: Path
) -> None:
    async with running(tmp_path, dhcp=DhcpSettings(networks=(MANY,)), address=ADDRESS):
        found = await network.ask("--crowd", CLIENT_INTERFACE, "200", "5")
    assert len(set(found["addresses"])) == len(found["addresses"]) == 200
    assert found["asked_again"] == 0, found


async def test_200_machines_in_one_burst_each_get_an_address_of_their_own(
    network: Wire, tmp_path: Path
) -> None:
    async with running(tmp_path, dhcp=DhcpSettings(networks=(MANY,)), address=ADDRESS):
        found = await network.ask("--crowd", CLIENT_INTERFACE, "200", "0")
    assert len(set(found["addresses"])) == len(found["addresses"]) == 200


@pytest.mark.parametrize(
    ("words", "path"),
    [
        (("7",), "tftp://[fd92::1]/snponly.efi"),
        (("16",), ""),
        (("7", "iPXE"), "/boot/boot.ipxe"),
    ],
)
async def test_ipv6_machine_is_offered_an_address_and_its_url(
    network: Wire, tmp_path: Path, words: tuple[str, ...], path: str
) -> None:
    both = msgspec.structs.replace(HOME, range6=("fd92::1000", "fd92::1fff"), address6="fd92::1")
    dhcp = DhcpSettings(networks=(both,))
    async with running(tmp_path, dhcp=dhcp, address=ADDRESS) as region:
        client = (sys.executable, str(DHCP6_CLIENT), CLIENT_INTERFACE, *words)
        offered = json.loads(await network.run(*client))
        assert offered["address"].startswith("fd92::1")
        url = f"http://[fd92::1]:{region.region.port}{path}" if path.startswith("/") else path
        assert offered["url"] == url
        if not path:
            return
        address = f"{offered['address']}/64"
        await network.run("ip", "address", "add", address, "dev", CLIENT_INTERFACE, "nodad")
        loaded = await network.run("curl", "-sSg", "--max-time", "20", offered["url"])
        if path.endswith("boot.ipxe"):
            assert f"http://[fd92::1]:{region.region.port}/boot/ipxe?mac=".encode() in loaded
        else:
            assert loaded == (IPXE_DIR / "snponly.efi").read_bytes()


async def test_a_network_without_a_loader_of_an_architecture_says_so(
    network: Wire, tmp_path: Path
) -> None:
    dhcp = DhcpSettings(networks=(HOME,))
    async with running(tmp_path, dhcp=dhcp, address=ADDRESS):
        assert (await network.lease(MAC, o93="000b"))["file"] == ""


async def test_arm64_machine_gets_the_operators_loader(network: Wire, tmp_path: Path) -> None:
    loaders = tmp_path / "state" / "loaders"
    loaders.mkdir(parents=True)
    await asyncio.to_thread((loaders / "snponly-arm64.efi").write_bytes, b"a loader for arm64")
    dhcp = DhcpSettings(networks=(HOME,))
    async with running(tmp_path, dhcp=dhcp, address=ADDRESS) as region:
        lease = await network.lease(MAC, o93="000b")
        assert lease["file"] == "snponly-arm64.efi"
        url = f"tftp://{ADDRESS}/{lease['file']}"
        loaded = await network.run("curl", "-sS", "--max-time", "20", url)
        assert loaded == b"a loader for arm64"
        vendor = b"HTTPClient:Arch:00019".hex()
        lease = await network.lease(OTHER_MAC, o93="0013", o60=vendor)
        assert lease["file"] == f"{region.url}/boot/loader/snponly-arm64.efi"
