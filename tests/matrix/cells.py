"""The firmware matrix: what servers are made of, and which of all the combinations are played.

The rule: every cell begins with a server that is off and ends at the login prompt of its installed
system, or where it has to be refused. `SPREAD` has each firmware with each bus, each with either
card and each kind of disks at least once; `PRODUCT` is everything with everything. `LAID` has each
layout of disks once. `CI` is what `make test` has of the spread.
"""

from itertools import product
from typing import Final, Literal

import msgspec

from lpmos.lab.machine import GIB, BlankDisk, DiskBus, MachineSpec, Netboot, NicModel
from tests.matrix.layouts import LAYOUTS, Laid, Layout

Kind = Literal["bios", "uefi", "http", "secure", "ipv6", "ipv6only"]
Disks = Literal["one", "two", "named", "4k", "lvm", "lvm-kept"]

KINDS: Final[dict[Kind, str]] = {
    "bios": "SeaBIOS, PXE",
    "uefi": "OVMF, PXE",
    "http": "OVMF, HTTP boot",
    "secure": "OVMF, Secure Boot",
    "ipv6": "OVMF, PXE over IPv6",
    "ipv6only": "OVMF, no IPv4 at all",
}
DISKS: Final[dict[Disks, str]] = {
    "one": "one",
    "two": "two, the smaller taken, the other left blank",
    "named": "two, the larger taken, which the task names, the other left blank",
    "4k": "one of 4096-byte sectors",
    "lvm": "one with foreign LVM, given up by the task",
    "lvm-kept": "one with foreign LVM, not given up",
}
NICS: Final[tuple[NicModel, ...]] = ("virtio-net-pci", "e1000e")
BUSES: Final[tuple[DiskBus, ...]] = ("virtio", "sata", "nvme", "scsi")
MEMORY_MIB: Final = 512
MEMBER_BYTES: Final = 3 * GIB
_NETBOOT: Final[dict[Kind, Netboot]] = {"http": "http", "ipv6": "pxe6", "ipv6only": "pxe6"}


class Cell(msgspec.Struct, frozen=True):
    """One combination."""

    kind: Kind
    nic: NicModel
    bus: DiskBus
    disks: Disks | Laid = "one"

    @property
    def name(self) -> str:
        """How it is called on the command line and in host names."""
        return f"{self.kind}-{self.nic.partition('-')[0]}-{self.bus}-{self.disks}"

    @property
    def layout(self) -> Layout | None:
        """The layout that its task asks for; None: the one that tasks have by default."""
        return next((LAYOUTS[name] for name in LAYOUTS if name == self.disks), None)

    @property
    def refused(self) -> str | None:
        """The words of the refusal that this cell has to end with; None: a login prompt."""
        if self.disks == "lvm-kept":
            return "holds LVM2_member: name it by root_disk.serial or set root_disk.overwrite"
        if self.disks == "4k" and self.kind == "bios":
            return "has sectors of 4096 bytes, from which no BIOS starts"
        return None

    @property
    def possible(self) -> bool:
        """Whether the lab can make it.

        QEMU has no SATA disk of 4096-byte sectors, and OVMF drives no card but virtio: with others
        it is the card's own iPXE that boots, by PXE, and unsigned.
        """
        card = self.kind in {"bios", "uefi"} or self.nic == "virtio-net-pci"
        return card and (self.bus, self.disks) != ("sata", "4k")

    def spec(self) -> MachineSpec:
        """The server."""
        disks = [BlankDisk(serial="ROOT", bus=self.bus)]
        if self.disks == "4k":
            disks = [BlankDisk(serial="ROOT", bus=self.bus, sector_bytes=4096)]
        if self.disks == "two":
            disks.append(BlankDisk(serial="DATA", bus=self.bus, size_bytes=10 * GIB))
        if self.disks == "named":
            disks = [
                BlankDisk(serial="ROOT", bus=self.bus, size_bytes=10 * GIB),
                BlankDisk(serial="DATA", bus=self.bus),
            ]
        if self.layout is not None and self.layout.disks > 1:
            disks = [
                BlankDisk(serial=f"MEMBER-{number}", bus=self.bus, size_bytes=MEMBER_BYTES)
                for number in range(1, self.layout.disks + 1)
            ]
        return MachineSpec(
            name=self.name,
            sn=f"MATRIX-{self.name}".upper(),
            mac="52:54:00:78:03:01",
            firmware="bios" if self.kind == "bios" else "uefi",
            netboot=_NETBOOT.get(self.kind, "pxe"),
            secure_boot=self.kind == "secure",
            nic=self.nic,
            memory_mib=MEMORY_MIB,
            cpus=1,  # a translated guest with two takes a third more of the host
            disks=tuple(disks),
        )


def _cell(kind: Kind, nic: Literal["v", "e"], bus: DiskBus, disks: Disks | Laid) -> Cell:
    return Cell(kind, NICS["ve".index(nic)], bus, disks)


SPREAD: Final = (
    _cell("bios", "e", "sata", "one"),
    _cell("bios", "v", "nvme", "two"),
    _cell("bios", "e", "virtio", "lvm-kept"),
    _cell("bios", "e", "virtio", "lvm"),
    _cell("bios", "v", "scsi", "4k"),
    _cell("bios", "v", "scsi", "one"),
    _cell("uefi", "v", "virtio", "4k"),
    _cell("uefi", "e", "sata", "two"),
    _cell("uefi", "e", "nvme", "one"),
    _cell("uefi", "e", "scsi", "lvm"),
    _cell("http", "v", "virtio", "two"),
    _cell("http", "v", "sata", "lvm"),
    _cell("http", "v", "nvme", "4k"),
    _cell("http", "v", "scsi", "one"),
    _cell("ipv6", "v", "nvme", "one"),
    _cell("ipv6only", "v", "virtio", "one"),
    _cell("secure", "v", "virtio", "one"),
    _cell("secure", "v", "sata", "lvm"),
    _cell("secure", "v", "nvme", "two"),
    _cell("secure", "v", "nvme", "named"),
    _cell("secure", "v", "scsi", "4k"),
)
CI_BIOS: Final = _cell("bios", "e", "sata", "one")
CI_UEFI: Final = _cell("http", "v", "nvme", "4k")
CI_PLAYED: Final = (
    _cell("bios", "e", "virtio", "lvm-kept"),
    _cell("secure", "v", "nvme", "named"),
)
CI: Final = (CI_BIOS, CI_UEFI, *CI_PLAYED)
"""What `make test` has of the spread (`tests/e2e`), its first two with more asked of them."""
LAID: Final = (
    _cell("uefi", "v", "virtio", "raid10"),
    _cell("bios", "v", "sata", "raid5"),
    _cell("uefi", "v", "scsi", "raid1-lvm"),
    _cell("bios", "v", "virtio", "luks"),
    _cell("bios", "v", "nvme", "format"),
)
PRODUCT: Final = tuple(
    cell
    for cell in (
        Cell(kind, nic, bus, disks) for kind, nic, bus, disks in product(KINDS, NICS, BUSES, DISKS)
    )
    if cell.possible
)
