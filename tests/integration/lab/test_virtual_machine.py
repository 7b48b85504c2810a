"""Real QEMU with real firmware, without any operating system."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lpmos.lab.acceleration import guest_run_s, translator
from lpmos.lab.errors import MachinePowerError, ProcessFailed
from lpmos.lab.machine import BlankDisk, Firmware, MachineSpec, VirtualMachine
from lpmos.lab.rack import Rack

pytestmark = pytest.mark.qemu

FIRMWARE_TIMEOUT_S = 60.0


@pytest.fixture
async def rack() -> AsyncIterator[Rack]:
    async with Rack() as rack:
        yield rack


async def machine(rack: Rack, directory: Path, firmware: Firmware) -> VirtualMachine:
    spec = MachineSpec(
        name="node",
        sn="SN-7",
        mac="52:54:00:78:00:07",
        firmware=firmware,
        disks=(BlankDisk(serial="D1", size_bytes=1 << 20),),
        memory_mib=256,
    )
    return await VirtualMachine.create(
        rack, spec, directory=directory, accel=translator("the same everywhere")
    )


async def test_probe_guest_with_the_translator_runs() -> None:
    assert await guest_run_s(translator("test").arguments, timeout_s=30) is not None


async def test_probe_guest_with_a_broken_accelerator_does_not_run() -> None:
    assert await guest_run_s(("-accel", "nosuch")) is None


async def test_bios_machine_on_a_silent_network_tries_network_then_disk(
    rack: Rack, tmp_path: Path
) -> None:
    node = await machine(rack, tmp_path, "bios")
    await node.power_on()
    await node.console.wait_for("SeaBIOS", FIRMWARE_TIMEOUT_S)
    await node.console.wait_for("iPXE.*52:54:00:78:00:07|net0: 52:54:00", FIRMWARE_TIMEOUT_S)
    await node.reset()
    await node.console.wait_for("SeaBIOS", FIRMWARE_TIMEOUT_S)
    await node.power_off()
    assert not node.powered


async def test_uefi_machine_with_a_blank_disk_tries_its_network(rack: Rack, tmp_path: Path) -> None:
    node = await machine(rack, tmp_path, "uefi")
    await node.power_on()
    await node.console.wait_for("Start PXE over IPv4", FIRMWARE_TIMEOUT_S)
    await node.power_off()


async def test_machine_that_is_off_refuses_reset_and_ends_waits(rack: Rack, tmp_path: Path) -> None:
    node = await machine(rack, tmp_path, "bios")
    with pytest.raises(MachinePowerError, match="node is off"):
        await node.reset()
    with pytest.raises(MachinePowerError, match="node is off"):
        node.type("nobody reads this")
    await node.power_on()
    with pytest.raises(MachinePowerError, match="on already"):
        await node.power_on()
    await node.power_off()
    with pytest.raises(ProcessFailed, match="node went off"):
        await node.console.wait_for("never written", FIRMWARE_TIMEOUT_S)


async def test_machine_powered_on_again_keeps_its_console_log(rack: Rack, tmp_path: Path) -> None:
    node = await machine(rack, tmp_path, "bios")
    for _ in range(2):
        await node.power_on()
        await node.console.wait_for("SeaBIOS", FIRMWARE_TIMEOUT_S)
        await node.power_off()
    assert (tmp_path / "node-console.log").read_text().count("SeaBIOS") >= 2


async def test_qemu_that_cannot_start_says_so(rack: Rack, tmp_path: Path) -> None:
    node = await machine(rack, tmp_path, "bios")
    node.disk().unlink()
    with pytest.raises(ProcessFailed, match="control channel"):
        await node.power_on()
    assert "disk0.raw" in node.qemu_log.read_text()
