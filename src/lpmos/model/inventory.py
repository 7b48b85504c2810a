"""A machine's hardware as its agent reports it: plain numbers with the unit in the name.

The agent builds the same shape as JSON from the standard library alone; a contract test holds the
two together. What the hardware does not say is `None`, never a guess. Unknown fields are ignored,
so that a newer agent can report to an older region.
"""

from datetime import datetime
from typing import Literal

import msgspec

DOCUMENT_LIMIT_BYTES = 40_960
"""The share of a task document (S13: 64 KiB) that an inventory may take."""


class Product(msgspec.Struct, frozen=True, kw_only=True):
    """A system, board or chassis of the DMI tables (SMBIOS types 1 and 2)."""

    vendor: str | None = None
    name: str | None = None
    version: str | None = None
    serial: str | None = None
    uuid: str | None = None


class Bios(msgspec.Struct, frozen=True, kw_only=True):
    """The firmware (SMBIOS type 0)."""

    vendor: str | None = None
    version: str | None = None
    date: str | None = None


class Chassis(msgspec.Struct, frozen=True, kw_only=True):
    """The enclosure (SMBIOS type 3); `type` is its word for the shape, as `Rack Mount Chassis`."""

    vendor: str | None = None
    type: str | None = None
    version: str | None = None
    serial: str | None = None
    asset_tag: str | None = None


class NumaNode(msgspec.Struct, frozen=True, kw_only=True):
    """One node of the memory: its processors as the kernel lists them (`0-15,32-47`)."""

    node: int
    cpus: str
    memory_bytes: int


class Cpu(msgspec.Struct, frozen=True, kw_only=True):
    """The processors: counts are of the whole machine; no NUMA nodes where there is one only."""

    model: str | None = None
    vendor: str | None = None
    sockets: int = 1
    cores: int = 1
    threads: int = 1
    flags: tuple[str, ...] = ()
    numa_nodes: tuple[NumaNode, ...] = ()


class Dimm(msgspec.Struct, frozen=True, kw_only=True):
    """One memory module (SMBIOS type 17); an empty slot has `size_bytes` 0."""

    slot: str | None = None
    size_bytes: int = 0
    type: str | None = None
    speed_mts: int | None = None
    manufacturer: str | None = None
    part_number: str | None = None
    serial: str | None = None


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """The memory: `total_bytes` is what the kernel has, the DIMMs what is plugged in."""

    total_bytes: int
    dimms: tuple[Dimm, ...] = ()


class Disk(msgspec.Struct, frozen=True, kw_only=True):
    """One disk. `contents` names what stands on it now (`gpt`, `ext4`, ...); empty is blank.

    `path` is the place that it is plugged into, as udev's `/dev/disk/by-path` names it. `discard`
    is whether it can forget blocks (TRIM, UNMAP); None where that is not known.
    """

    device: str
    size_bytes: int
    kind: Literal["ssd", "hdd", "nvme"]
    rotational: bool = False
    removable: bool = False
    read_only: bool = False
    model: str | None = None
    serial: str | None = None
    wwn: str | None = None
    firmware: str | None = None
    path: str | None = None
    bus: str | None = None
    logical_block_bytes: int = 512
    physical_block_bytes: int = 512
    contents: tuple[str, ...] = ()
    discard: bool | None = None


class Neighbour(msgspec.Struct, frozen=True, kw_only=True):
    """What a switch says of the port that a card is plugged into (LLDP); `vlan` is the untagged."""

    system: str | None = None
    chassis: str | None = None
    port: str | None = None
    port_description: str | None = None
    management_address: str | None = None
    vlan: int | None = None


class Nic(msgspec.Struct, frozen=True, kw_only=True):
    """One network interface; `booted` marks the one that the firmware booted from."""

    interface: str
    mac: str
    speed_mbps: int | None = None
    driver: str | None = None
    carrier: bool | None = None
    booted: bool = False
    pci_address: str | None = None
    numa_node: int | None = None
    neighbour: Neighbour | None = None


class PciDevice(msgspec.Struct, frozen=True, kw_only=True):
    """One PCI function: address `0000:00:1f.2`, ids and class as four and six hex digits.

    `vendor` and `device` are their names in the PCI ID list, where it has them.
    """

    address: str
    vendor_id: str
    device_id: str
    class_id: str
    driver: str | None = None
    vendor: str | None = None
    device: str | None = None


class Inventory(msgspec.Struct, frozen=True, kw_only=True):
    """All that one agent run found.

    `boot_mode` is `unknown` in what agents before v3 reported, and nowhere else.
    """

    collected_at: datetime
    boot_mode: Literal["bios", "uefi", "unknown"]
    product: Product = Product()
    board: Product = Product()
    chassis: Chassis = Chassis()
    bios: Bios = Bios()
    cpu: Cpu = Cpu()
    memory: Memory
    disks: tuple[Disk, ...] = ()
    nics: tuple[Nic, ...] = ()
    bmc_address: str | None = None
    tpm_version: str | None = None
    secure_boot: bool | None = None
    pci: tuple[PciDevice, ...] = ()
    agent_version: str | None = None

    def bounded(self) -> "Inventory":
        """This inventory within `DOCUMENT_LIMIT_BYTES`, for keeping; decisions take the whole one.

        Left out are, as far as it needs: PCI devices, CPU flags, the last of the disks.
        """
        if self.document_bytes() <= DOCUMENT_LIMIT_BYTES:
            return self
        smaller = msgspec.structs.replace(self, pci=())
        if smaller.document_bytes() > DOCUMENT_LIMIT_BYTES:
            cpu = msgspec.structs.replace(smaller.cpu, flags=())
            smaller = msgspec.structs.replace(smaller, cpu=cpu)
        while smaller.disks and smaller.document_bytes() > DOCUMENT_LIMIT_BYTES:
            fewer = smaller.disks[: len(smaller.disks) * 3 // 4]
            smaller = msgspec.structs.replace(smaller, disks=fewer)
        return smaller

    def document_bytes(self) -> int:
        """How much of a document this inventory takes."""
        return len(msgspec.json.encode(self))
