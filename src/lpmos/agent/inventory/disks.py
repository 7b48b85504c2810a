"""The disks that an operating system could be installed on, from `/sys/block`.

Left out is what is no disk of the machine: loop, RAM, optical, floppy, and what is built on other
disks (device mapper, md), whose members are listed themselves; and drives without a medium.
"""

import re
from collections.abc import Callable

from lpmos.agent.commands import Commands
from lpmos.agent.inventory.tree import Tree

SECTOR_BYTES = 512
"""The unit of `size` in sysfs, whatever the disk's own block size is."""
NOT_DISKS = re.compile(r"loop|ram|zram|sr\d|fd\d|dm-|md\d|nbd|mtd|mmcblk\d+(boot|rpmb)")
PROBE_TIMEOUT_S = 20.0
ENDS_BYTES = 4096
"""How much of each end of a device must be readable for it to count as blank."""

Probe = Callable[[str], dict[str, str] | None]
"""From a device path to what low-level probing names there; None where it cannot be read."""


def read_disks(
    tree: Tree, probe: Probe, not_disks: re.Pattern[str] = NOT_DISKS
) -> list[dict[str, object]]:
    """Every disk with its identity, size and contents."""
    names = [name for name in tree.names("sys/block") if not not_disks.match(name)]
    return [
        _disk(tree, name, probe)
        for name in names
        if tree.number(f"sys/block/{name}/size") and not tree.flag(f"sys/block/{name}/hidden")
    ]


def partitions(tree: Tree, disk: str) -> list[str]:
    """The kernel's names of a disk's partitions, by number: `sda1`, `nvme0n1p1`."""
    names = [
        name
        for name in tree.names(f"sys/block/{disk}")
        if tree.exists(f"sys/block/{disk}/{name}/partition")
    ]
    return sorted(names, key=lambda name: tree.number(f"sys/block/{disk}/{name}/partition") or 0)


def blkid_probe(commands: Commands, tree: Tree) -> Probe:
    """Probing by `blkid`, which looks at the device itself and at no cache (blkid(8), `-p`).

    Its exit code 2 is "nothing found" and also "cannot be opened", so a device counts as blank only
    where its two ends could be read: the table of partitions and its backup are there.
    """

    def probe(device: str) -> dict[str, str] | None:
        code, text = commands.ask(
            ["blkid", "-p", "-o", "export", device], timeout_s=PROBE_TIMEOUT_S
        )
        if code == 2:
            return {} if tree.ends_readable(device.lstrip("/"), ENDS_BYTES) else None
        if code:  # 8 is several answers at once; anything else is an error
            return {"TYPE": "ambiguous"} if code == 8 else None
        pairs = (line.partition("=") for line in text.splitlines())
        return {key: value for key, equals, value in pairs if equals}

    return probe


def _disk(tree: Tree, name: str, probe: Probe) -> dict[str, object]:
    block = f"sys/block/{name}"
    rotational = tree.flag(f"{block}/queue/rotational")
    nvme = name.startswith("nvme")
    return {
        "device": f"/dev/{name}",
        "size_bytes": (tree.number(f"{block}/size") or 0) * SECTOR_BYTES,
        "kind": "nvme" if nvme else "hdd" if rotational else "ssd",
        "rotational": rotational,
        "removable": tree.flag(f"{block}/removable"),
        "read_only": tree.flag(f"{block}/ro"),
        "model": _squeezed(tree.text(f"{block}/device/model")),
        "serial": _serial(tree, block),
        "wwn": _wwn(tree.text(f"{block}/wwid") or tree.text(f"{block}/device/wwid")),
        "firmware": _firmware(tree, block),
        "path": _path(name, tree.real(block)),
        "bus": _bus(name, tree.real(block)),
        "logical_block_bytes": tree.number(f"{block}/queue/logical_block_size") or SECTOR_BYTES,
        "physical_block_bytes": tree.number(f"{block}/queue/physical_block_size") or SECTOR_BYTES,
        "discard": _discards(tree, block),
        "contents": read_contents(tree, name, probe),
    }


def _discards(tree: Tree, block: str) -> bool | None:
    """Whether the disk can be told which blocks are unused."""
    most_bytes = tree.number(f"{block}/queue/discard_max_bytes")
    return None if most_bytes is None else most_bytes > 0


def _serial(tree: Tree, block: str) -> str | None:
    """virtio has it at the block device, NVMe at the controller, SCSI and SATA in page 80h."""
    text = tree.text(f"{block}/serial") or tree.text(f"{block}/device/serial")
    if text is None:
        # SPC-4 7.8.15: four bytes of header, the last two of them the length.
        page = tree.data(f"{block}/device/vpd_pg80") or b""
        length = int.from_bytes(page[2:4], "big")
        text = page[4 : 4 + length].decode("latin-1").replace("\0", "")
    return _squeezed(text)


def _wwn(wwid: str | None) -> str | None:
    """The world-wide name as udev writes it: `naa.` becomes `0x`; NVMe's `eui.` stays."""
    if wwid is None:
        return None
    kind, _, digits = wwid.partition(".")
    if not digits.strip("0-"):
        return None  # nobody gave it one
    if kind == "naa":
        return f"0x{digits.lower()}"
    return wwid if kind in ("eui", "uuid", "nvme") else None


def _firmware(tree: Tree, block: str) -> str | None:
    """NVMe says it at the controller, SCSI and SATA in four letters of the inquiry."""
    text = tree.text(f"{block}/device/firmware_rev") or tree.text(f"{block}/device/rev")
    return _squeezed(text)


def _path(name: str, path: str) -> str | None:
    """The place as udev's `path_id` builtin names it; None for what it would need more to name."""
    pci = re.findall(r"/([0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}[.][0-7])(?=/)", path)
    if not pci or re.search(r"/(end_device-|rport-|session\d)", path):  # SAS, FC and iSCSI
        return None
    place = f"pci-{pci[-1]}"
    if name.startswith("nvme"):
        namespace = re.fullmatch(r"nvme\d+n(\d+)", name)
        return f"{place}-nvme-{namespace[1]}" if namespace else None
    if usb := re.findall(r"/(\d+)-([\d.]+):([\d.]+)/", path):
        place += f"-usb-0:{usb[-1][1]}:{usb[-1][2]}"
    if ata := re.search(r"/ata(\d+)/", path):
        return f"{place}-ata-{ata[1]}"
    if scsi := re.search(r"/target[\d:]+/(\d+):(\d+):(\d+):(\d+)/", path):
        return f"{place}-scsi-0:{scsi[2]}:{scsi[3]}:{scsi[4]}"
    return place


def _bus(name: str, path: str) -> str | None:
    """How the disk is attached, read from its place in the device tree."""
    if name.startswith("nvme"):
        return "nvme"
    if name.startswith("mmcblk"):
        return "mmc"
    for pattern, bus in (
        (r"/usb\d", "usb"),
        (r"/ata\d", "sata"),
        (r"/end_device-|/sas_", "sas"),
        (r"/host\d", "scsi"),
        (r"/virtio\d", "virtio"),
    ):
        if re.search(pattern, path):
            return bus
    return None


def read_contents(tree: Tree, disk: str, probe: Probe) -> list[str]:
    """What stands on the disk and in its partitions, each once; empty only where all is blank."""
    found: list[str] = []
    parts = partitions(tree, disk)
    for name in (disk, *parts):
        signature = probe(f"/dev/{name}")
        if signature is None:
            found.append("unreadable")
        else:
            found += [signature[key] for key in ("PTTYPE", "TYPE") if key in signature]
    if parts and not found:
        found.append("partitions")
    return list(dict.fromkeys(found))


def _squeezed(text: str | None) -> str | None:
    return " ".join((text or "").split()) or None
