"""DHCP and TFTP by the real dnsmasq in a network of its own, asked by clients that are not ours."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from lpmos.model.errors import SettingsError
from lpmos.region.dhcp_networks import DhcpNetwork, DhcpSettings
from lpmos.region.probes import ProbeFailed, probe_http
from tests.support.dnsmasq_processes import dnsmasq_pids
from tests.support.etcd import free_port
from tests.support.region import RunningRegion, running, until
from tests.support.wire import ADDRESS, BRIDGE, Wire

NETWORK = DhcpNetwork(interface=BRIDGE, range=("10.92.0.100", "10.92.0.199"), dns=("10.92.0.53",))
DHCP = DhcpSettings(networks=(NETWORK,))
IPXE_DIR = Path("/usr/lib/ipxe")
IPXE_OPTIONS = "b1050200010001"
"""What an iPXE says of itself in option 175; any content matches."""

SUPERVISOR = """
import asyncio, sys
from pathlib import Path
from lpmos.region.supervisor import Dnsmasq
asyncio.run(Dnsmasq(Path(sys.argv[1]), idc="dc1").run())
"""


@pytest.fixture
async def region(network: Wire, tmp_path: Path) -> AsyncIterator[RunningRegion]:
    async with running(tmp_path, dhcp=DHCP, address=ADDRESS) as started:
        yield started


@pytest.mark.parametrize(
    ("architecture", "file"),
    [("0000", "undionly.kpxe"), ("0007", "snponly.efi"), ("0009", "snponly.efi"), ("0006", "")],
)
async def test_firmware_gets_its_loader_by_architecture(
    region: RunningRegion, network: Wire, architecture: str, file: str
) -> None:
    lease = await network.lease("52:54:00:00:00:01", o93=architecture)
    assert lease["yiaddr"].startswith("10.92.0.1")
    assert lease["file"] == file
    assert lease["options"]["6"] == bytes((10, 92, 0, 53)).hex()
    assert "3" not in lease["options"]
    if file:
        assert lease["siaddr"] == ADDRESS
        loaded = await network.run("curl", "-sS", "--max-time", "20", f"tftp://{ADDRESS}/{file}")
        assert loaded == (IPXE_DIR / file).read_bytes()


async def test_ipxe_gets_the_script_and_no_wait_for_a_proxy(
    region: RunningRegion, network: Wire
) -> None:
    lease = await network.lease("52:54:00:00:00:01", o93="0000", o175=IPXE_OPTIONS)
    assert lease["file"] == f"{region.region.base_url}/boot/boot.ipxe"
    assert "b00101" in lease["options"]["175"]
    script = await network.run("curl", "-sS", "--max-time", "20", lease["file"])
    assert script.startswith(b"#!ipxe\n")


async def test_http_boot_firmware_gets_a_url_that_is_there(
    region: RunningRegion, network: Wire
) -> None:
    lease = await network.lease("52:54:00:00:00:01", o93="0010", o60=b"HTTPClient:Arch:00016".hex())
    assert bytes.fromhex(lease["options"]["60"]) == b"HTTPClient"
    loaded = await network.run("curl", "-sS", "--max-time", "20", lease["file"])
    assert loaded == (IPXE_DIR / "snponly.efi").read_bytes()


async def test_router_advertisement_comes_and_makes_no_default_route(
    region: RunningRegion, network: Wire
) -> None:
    async def has_address() -> bool:
        return b"fd92:" in await network.run("ip", "-6", "address", "show", "dev", "c0")

    await until(has_address, "an IPv6 address by router advertisement")
    assert not await network.run("ip", "-6", "route", "show", "default")


async def test_dnsmasq_killed_is_seen_and_started_again(
    region: RunningRegion, network: Wire
) -> None:
    config = region.state_dir / "dnsmasq.conf"
    status, health = await region.get("/health")
    assert (status, health["status"]) == (200, "healthy")
    assert health["services"] == {"dhcp": "ok", "tftp": "ok", "http": "ok"}
    (first,) = dnsmasq_pids(config)
    os.kill(first, signal.SIGSTOP)
    status, health = await region.fresh_health()
    assert (status, health["status"]) == (503, "unhealthy")
    assert health["services"]["http"] == "ok"
    for service in ("dhcp", "tftp"):
        assert health["services"][service].startswith("failed: ")
    os.kill(first, signal.SIGKILL)

    async def healthy() -> bool:
        return (await region.get("/health"))[0] == 200

    await until(healthy, "dnsmasq to be back")
    (second,) = dnsmasq_pids(config)
    assert second != first
    assert (await network.lease("52:54:00:00:00:02", o93="0007"))["file"] == "snponly.efi"


async def test_dnsmasq_has_only_the_rights_it_needs(region: RunningRegion) -> None:
    (pid,) = dnsmasq_pids(region.state_dir / "dnsmasq.conf")
    status = await asyncio.to_thread(Path(f"/proc/{pid}/status").read_text)
    rights = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    setgid, net_bind_service, net_admin, net_raw = 6, 10, 12, 13
    allowed = 1 << setgid | 1 << net_bind_service | 1 << net_admin | 1 << net_raw
    assert int(rights["CapBnd"], 16) == allowed
    assert int(rights["CapEff"], 16) & ~allowed == 0
    assert rights["NoNewPrivs"] == "1"


async def test_region_stopped_leaves_no_dnsmasq(network: Wire, tmp_path: Path) -> None:
    async with running(tmp_path, dhcp=DHCP, address=ADDRESS) as region:
        config = region.state_dir / "dnsmasq.conf"
        assert dnsmasq_pids(config)
    assert not dnsmasq_pids(config)


async def test_region_killed_leaves_no_dnsmasq(network: Wire, tmp_path: Path) -> None:
    async with running(tmp_path, dhcp=DHCP, address=ADDRESS) as region:
        config = region.state_dir / "dnsmasq.conf"
    argv = (sys.executable, "-c", SUPERVISOR, str(config))
    supervisor = await asyncio.create_subprocess_exec(*argv)
    try:
        await until(lambda: bool(dnsmasq_pids(config)), "dnsmasq to start")
    finally:
        supervisor.kill()
        await supervisor.wait()
    await until(lambda: not dnsmasq_pids(config), "the kernel to end dnsmasq")


async def test_disk_that_takes_no_lease_file_keeps_dhcp_away_and_nothing_else(
    network: Wire, tmp_path: Path
) -> None:
    state_dir, port = tmp_path / "state", free_port()
    taken = state_dir / "dhcp.new"  # what the lease file is written through
    taken.mkdir(parents=True)

    async def is_answered() -> bool:
        with contextlib.suppress(ProbeFailed):
            await probe_http(ADDRESS, port, "/boot/boot.ipxe")
            return True
        return False

    async def make_room() -> None:
        await until(is_answered, "machines to be answered")
        assert not dnsmasq_pids(state_dir / "dnsmasq.conf")
        taken.rmdir()

    making = asyncio.create_task(make_room())
    async with running(tmp_path, dhcp=DHCP, address=ADDRESS, port=port):
        await making
        lease = await network.lease("52:54:00:00:00:01", o93="0007")
        assert lease["file"] == "snponly.efi"


async def test_region_with_an_unknown_interface_says_which_there_are(
    network: Wire, tmp_path: Path
) -> None:
    dhcp = DhcpSettings(networks=(msgspec.structs.replace(NETWORK, interface="br9"),))
    with pytest.raises(ExceptionGroup) as caught:
        async with running(tmp_path, dhcp=dhcp, address=ADDRESS):
            pass
    (error,) = caught.value.exceptions
    assert isinstance(error, SettingsError)
    assert "br9" in str(error)
    assert BRIDGE in str(error)
