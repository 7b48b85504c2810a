"""Firmware that is not ours boots beside another DHCP server: SeaBIOS with iPXE, and EDK2's PXE."""

import asyncio
import contextlib
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from lpmos.lab.acceleration import choose_acceleration
from lpmos.lab.machine import OVMF_CODE, OVMF_VARS
from lpmos.region.dhcp_networks import DhcpNetwork, DhcpSettings
from tests.support.dhcp_peers import neighbour
from tests.support.region import RunningRegion, running, until
from tests.support.wire import ADDRESS, BRIDGE, Wire, wire

PROXY = DhcpSettings(networks=(DhcpNetwork(interface=BRIDGE, mode="proxy", subnet="10.92.0.0/24"),))
MAC = "52:54:00:00:00:77"
TAP = "vm0"
BOOT_TIMEOUT_S = 180.0


@pytest.fixture
def network() -> Iterator[Wire]:
    with wire() as made:
        _ip("tuntap", "add", TAP, "mode", "tap")
        _ip("link", "set", TAP, "master", BRIDGE, "up")
        yield made


def _ip(*words: str) -> None:
    subprocess.run(("ip", *words), check=True, timeout=30)


async def test_bios_beside_another_server_asks_the_region_for_its_script(
    network: Wire, tmp_path: Path
) -> None:
    with neighbour("10.92.0.20", "10.92.0.30"):
        async with (
            running(tmp_path, dhcp=PROXY, address=ADDRESS) as region,
            _machine(tmp_path, "-device", f"e1000,netdev=n,mac={MAC}"),
        ):
            await _script_asked(region)


async def test_uefi_beside_another_server_loads_ipxe_and_asks_for_its_script(
    network: Wire, tmp_path: Path
) -> None:
    variables = tmp_path / "variables.fd"
    await asyncio.to_thread(shutil.copyfile, OVMF_VARS, variables)
    flash = (
        *("-drive", f"if=pflash,format=raw,readonly=on,file={OVMF_CODE}"),
        *("-drive", f"if=pflash,format=raw,file={variables}"),
    )
    card = ("-device", f"virtio-net-pci,netdev=n,mac={MAC},romfile=")
    with neighbour("10.92.0.20", "10.92.0.30"):
        async with (
            running(tmp_path, dhcp=PROXY, address=ADDRESS) as region,
            _machine(tmp_path, *flash, *card),
        ):
            await _script_asked(region)


async def _script_asked(region: RunningRegion) -> None:
    async def asked() -> bool:
        _, text = await region.text("/metrics")
        return 'lpmos_region_requests_total{route="/boot/ipxe"' in text

    await until(asked, "the machine to ask for its script", BOOT_TIMEOUT_S)


@contextlib.asynccontextmanager
async def _machine(directory: Path, *devices: str) -> AsyncIterator[None]:
    """A virtual machine without a disk, whose firmware has only the network to boot from."""
    acceleration = await choose_acceleration()
    console = os.open(directory / "console", os.O_WRONLY | os.O_CREAT)
    process = await asyncio.create_subprocess_exec(
        *("qemu-system-x86_64", "-nodefaults", *acceleration.arguments, "-m", "512"),
        *("-machine", "q35,graphics=off", "-display", "none", "-serial", "stdio"),
        *("-device", "virtio-rng-pci"),
        *("-netdev", f"tap,id=n,ifname={TAP},script=no,downscript=no", *devices),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=console,
        stderr=console,
    )
    try:
        yield
    finally:
        os.close(console)
        process.kill()
        await process.wait()
