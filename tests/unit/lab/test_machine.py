"""QEMU's command line for each kind of machine."""

from pathlib import Path
from typing import Any

import pytest

from lpmos.lab.acceleration import translator
from lpmos.lab.machine import (
    SECURE_CODE,
    BlankDisk,
    DirectBoot,
    DiskBus,
    Firmware,
    MachineSpec,
    Netboot,
    NicModel,
    VirtualMachine,
    qemu_command,
)
from lpmos.lab.rack import Rack

DIRECTORY = Path("/lab")


def command(
    firmware: Firmware = "bios",
    nic: NicModel = "virtio-net-pci",
    disks: tuple[BlankDisk, ...] = (),
    direct: DirectBoot | None = None,
) -> list[str]:
    spec = MachineSpec(
        name="web", sn="SN-1", mac="52:54:00:78:00:01", firmware=firmware, nic=nic, disks=disks
    )
    return qemu_command(
        spec,
        directory=DIRECTORY,
        tap="tap3",
        acceleration=translator("test"),
        control_fd=7,
        direct=direct,
    )


def test_bios_machine_boots_the_network_first_then_its_disks() -> None:
    line = command(disks=(BlankDisk(serial="A"), BlankDisk(serial="B")))
    assert "virtio-net-pci,netdev=net0,mac=52:54:00:78:00:01,bootindex=1" in line
    assert "virtio-blk-pci,drive=disk0,serial=A,bootindex=2" in line
    assert "virtio-blk-pci,drive=disk1,serial=B,bootindex=3" in line


def test_uefi_machine_leaves_the_boot_order_to_its_nvram() -> None:
    line = command("uefi", disks=(BlankDisk(serial="A"),))
    assert "bootindex" not in " ".join(line)
    assert "if=pflash,format=raw,file=/lab/web-nvram.fd" in line


@pytest.mark.parametrize(
    ("nic", "device"),
    [
        ("virtio-net-pci", "virtio-net-pci,netdev=net0,mac=52:54:00:78:00:01,romfile="),
        ("e1000e", "e1000e,netdev=net0,mac=52:54:00:78:00:01"),
    ],
)
def test_uefi_machine_has_an_option_rom_only_where_firmware_has_no_driver(
    nic: NicModel, device: str
) -> None:
    assert device in command("uefi", nic)


@pytest.mark.parametrize(
    ("bus", "device"),
    [
        ("sata", "ide-hd,drive=disk0,serial=A,bus=ide.0,bootindex=2"),
        ("nvme", "nvme,drive=disk0,serial=A,bootindex=2"),
        ("scsi", "scsi-hd,drive=disk0,serial=A,bus=scsi.0,bootindex=2"),
    ],
)
def test_disk_of_each_bus_has_its_serial_number(bus: DiskBus, device: str) -> None:
    line = command(disks=(BlankDisk(serial="A", bus=bus),))
    assert device in line
    assert ("virtio-scsi-pci,id=scsi" in line) == (bus == "scsi")


def test_disk_of_4096_byte_sectors_says_so_to_the_guest() -> None:
    line = command("uefi", disks=(BlankDisk(serial="A", bus="nvme", sector_bytes=4096),))
    wanted = "nvme,drive=disk0,serial=A,logical_block_size=4096,physical_block_size=4096"
    assert wanted in line


def spec_line(**fields: Any) -> list[str]:
    spec = MachineSpec(name="web", sn="S", mac="52:54:00:78:00:01", firmware="uefi", **fields)
    return qemu_command(
        spec, directory=DIRECTORY, tap="t", acceleration=translator("test"), control_fd=7
    )


def test_machine_with_secure_boot_has_the_makers_keys_and_guarded_flash() -> None:
    line = spec_line(secure_boot=True)
    assert "q35,graphics=off,smm=on" in line
    assert f"if=pflash,format=raw,readonly=on,file={SECURE_CODE}" in line
    assert "driver=cfi.pflash01,property=secure,value=on" in line


@pytest.mark.parametrize(
    ("netboot", "left_out"),
    [("pxe", []), ("pxe6", ["IPv4PXESupport"]), ("http", ["IPv4PXESupport", "IPv6PXESupport"])],
)
def test_uefi_machine_leaves_out_what_stands_before_its_way_of_netboot(
    netboot: Netboot, left_out: list[str]
) -> None:
    line = spec_line(netboot=netboot)
    said = [word for word in line if word.startswith("name=opt/org.tianocore/")]
    assert said == [f"name=opt/org.tianocore/{name},string=n" for name in left_out]


def test_machine_has_its_serial_number_tap_and_control_channel() -> None:
    line = command()
    assert any(word.startswith("type=1,") and word.endswith(",serial=SN-1") for word in line)
    assert "tap,id=net0,ifname=tap3,script=no,downscript=no" in line
    assert "socket,id=control,fd=7" in line


def test_machine_with_a_kernel_of_ours_gets_it_from_qemu() -> None:
    kernel = DirectBoot(kernel=Path("/k"), initramfs=Path("/i"), arguments="console=ttyS0 a=b")
    line = command(direct=kernel)
    begin = line.index("-kernel")
    ours = ["-kernel", "/k", "-initrd", "/i", "-append", "console=ttyS0 a=b"]
    assert line[begin : begin + len(ours)] == ours
    assert "-kernel" not in command()


def test_first_disk_that_is_pulled_leaves_its_place_to_the_next(tmp_path: Path) -> None:
    disks = tuple(BlankDisk(serial=serial) for serial in "ABC")
    spec = MachineSpec(name="web", sn="SN-1", mac="52:54:00:78:00:01", firmware="bios", disks=disks)
    accel = translator("test")
    machine = VirtualMachine(spec, rack=Rack(), tap="t", directory=tmp_path, accel=accel)
    for number, disk in enumerate(disks):
        machine.disk(number).write_text(disk.serial)
    machine.pull_first_disk()
    assert machine.spec.disks == disks[1:]
    assert [machine.disk(number).read_text() for number in (0, 1)] == ["B", "C"]
