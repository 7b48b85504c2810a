"""The boot agent's image in a virtual machine with 384 MB: drivers, network, agent, ends."""

import base64
from pathlib import Path

import pytest

from lpmos.images.agent_image import BuiltAgent
from tests.support.agent_images import build_quickly, build_with_inspector
from tests.support.bmc import bmc
from tests.support.boot_image import BOOT_MAC, booted

pytestmark = [pytest.mark.slow, pytest.mark.qemu]

BOOT_TIMEOUT_S = 240.0
"""Twelve seconds on an idle machine; the bound is for one that is not."""
BOOTIF = f"BOOTIF=01-{BOOT_MAC.replace(':', '-')}"
HANGS = """
import os, subprocess
from lpmos.agent.console import Console
from lpmos.agent.hanging import HangWatch, own_restart
from lpmos.agent.inventory.tree import Tree
from lpmos.agent.stop import Stop

os.environ["DM_DISABLE_UDEV"] = "1"
subprocess.run(["modprobe", "dm_mod"], check=True)
subprocess.run(["dmsetup", "create", "hangs", "--table", "0 2048 error"], check=True)
subprocess.run(["dmsetup", "suspend", "hangs"], check=True)
stop = Stop()
with HangWatch(stop, Console(), Tree(), own_restart(os.getppid()), patience_s=10):
    disk = os.open("/dev/mapper/hangs", os.O_WRONLY)
    os.write(disk, bytes(4096))
    stop.set("cancelled")
    print("it hangs", flush=True)
    os.fsync(disk)
"""
"""A run that was told to end and waits for a disk that never answers, in the agent's place."""
NOBODY = "http://10.0.2.2:9"
"""An address where nothing listens: the "discard" port of the machine that runs the test."""


@pytest.fixture(scope="module")
def inspector(tmp_path_factory: pytest.TempPathFactory) -> BuiltAgent:
    return build_with_inspector(tmp_path_factory.mktemp("inspector"), firmware=True)


async def test_boot_reaches_the_agents_first_report() -> None:
    built = build_quickly()
    told = f"{BOOTIF} lpmos_client={NOBODY} lpmos_nonce=a.secret.nonce loglevel=4"
    async with booted(built.image, told) as machine:
        await machine.until("[1/4] Collecting hardware information", BOOT_TIMEOUT_S)
        await machine.until("[2/4]", BOOT_TIMEOUT_S)
    assert f"boot agent {built.manifest.version}" in machine.said
    assert f"asking for an address on eth0 ({BOOT_MAC})" in machine.said
    assert "address 10.0.2.15/24 on eth0" in machine.said
    assert "secret" not in machine.said


async def test_boot_reads_the_address_of_the_bmc(tmp_path: Path) -> None:
    built = build_quickly()
    async with (
        bmc(tmp_path / "bmc", "192.0.2.9") as devices,
        booted(built.image, f"{BOOTIF} lpmos_client={NOBODY}", devices=devices) as machine,
    ):
        await machine.until("[2/4]", BOOT_TIMEOUT_S)
    assert "BMC 192.0.2.9" in machine.said, machine.said


async def test_agent_whose_disk_hangs_restarts_the_machine() -> None:
    built = build_quickly()
    coded = base64.b64encode(HANGS.encode()).decode()
    async with booted(built.image, f"{BOOTIF} lpmos_client=none lpmos_shell") as machine:
        await machine.until("this is a shell", BOOT_TIMEOUT_S)
        await machine.type(f"echo {coded} | base64 -d >/tmp/hangs.py; exec python3 /tmp/hangs.py")
        await machine.power_off(BOOT_TIMEOUT_S)
    assert "it hangs" in machine.said, machine.said
    assert "no disk has done anything: a disk hangs. Restarting the machine." in machine.said
    assert "sysrq: Resetting" in machine.said


async def test_boot_finds_nics_and_disks_of_servers(inspector: BuiltAgent) -> None:
    controllers = (
        ("nvme,serial=N,", ()),
        ("ide-hd,bus=ide.0,", ()),
        ("scsi-hd,bus=raid.0,", ("-device", "megasas,id=raid")),
        ("scsi-hd,bus=pv.0,", ("-device", "pvscsi,id=pv")),
        ("scsi-hd,bus=vs.0,", ("-device", "virtio-scsi-pci,id=vs")),
    )
    disks: list[str] = []
    for gib, (device, controller) in enumerate(controllers, start=1):
        blank = f"null-co,node-name=d{gib},size={gib * 2**30},read-zeroes=on"
        disks += [*controller, "-blockdev", blank, "-device", f"{device}drive=d{gib}"]
    nics = tuple(
        part for model in ("e1000e", "vmxnet3") for part in ("-device", f"{model},romfile=")
    )
    async with booted(inspector.image, f"{BOOTIF} test_exit=0", devices=(*disks, *nics)) as machine:
        await machine.power_off(BOOT_TIMEOUT_S)
    for driver in ("e1000e", "vmxnet3", "virtio_net"):
        assert f"found NIC {driver}" in machine.said
    for gib in range(1, len(controllers) + 1):
        assert f" {gib * 2**21}\n" in machine.said, f"no disk of {gib} GiB in:\n{machine.said}"


async def test_driver_loads_its_firmware_from_the_image(inspector: BuiltAgent) -> None:
    """No device of QEMU's has a driver with firmware; isci asks for its file before it looks."""
    told = f"{BOOTIF} test_exit=0 test_bind=isci:1234:11e8"
    async with booted(inspector.image, told, devices=("-device", "edu")) as machine:
        await machine.power_off(BOOT_TIMEOUT_S)
    assert "OEM SAS parameters" in machine.said, machine.said
    assert "loaded (firmware)" in machine.said, machine.said


async def test_agent_ending_well_restarts_the_machine(inspector: BuiltAgent) -> None:
    async with booted(inspector.image, f"{BOOTIF} test_exit=0") as machine:
        assert await machine.power_off(BOOT_TIMEOUT_S) == 0
    assert "lpmos: restarting" in machine.said


async def test_agent_failing_with_lpmos_shell_gives_a_shell_then_waits(
    inspector: BuiltAgent,
) -> None:
    async with booted(inspector.image, f"{BOOTIF} test_exit=3 lpmos_shell") as machine:
        await machine.until("ended with status 3; this is a shell", BOOT_TIMEOUT_S)
        await machine.type("echo shell-$((6 * 7))")
        await machine.until("shell-42", BOOT_TIMEOUT_S)
        await machine.type("exit")
        await machine.until("ended with status 3; restarting in 60 s", BOOT_TIMEOUT_S)


async def test_boot_without_the_boot_nic_says_what_there_is(inspector: BuiltAgent) -> None:
    async with booted(inspector.image, "BOOTIF=01-52-54-00-00-00-99 test_exit=0") as machine:
        await machine.until(
            "no NIC with address 52:54:00:00:00:99 (BOOTIF); found: eth0", BOOT_TIMEOUT_S
        )


async def test_boot_without_dhcp_keeps_asking_and_says_so(inspector: BuiltAgent) -> None:
    hub = "hubport,id=n0,hubid=0"
    async with booted(inspector.image, f"{BOOTIF} test_exit=0", network=hub) as machine:
        await machine.until("no DHCP answer on eth0, which has a link", BOOT_TIMEOUT_S)
