"""The one disk that is written: found again by its identity, cleared, partitioned, formatted.

The rule that keeps data safe: `find` must name exactly the disk that was approved, and nothing of
it may be in use, before anything here writes. Device names may have moved since the report.
"""

import os
import re
from typing import NamedTuple

from lpmos.agent.commands import Commands
from lpmos.agent.errors import InstallError
from lpmos.agent.inventory.disks import (
    NOT_DISKS,
    Probe,
    partitions,
    read_contents,
    read_disks,
)
from lpmos.agent.inventory.tree import Tree
from lpmos.agent.plan import Disk, Partition
from lpmos.agent.stop import Stop

NODES_TIMEOUT_S = 15.0
NODES_POLL_S = 0.05
RESCAN_AFTER_S = 1.0

_TYPES = {
    "bios_boot": "21686148-6449-6E6F-744E-656564454649",
    "esp": "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",  # UEFI 2.10, table 5-7
    "root": "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709",  # Discoverable Partitions, x86-64 root
}
_MKFS_EXT4 = (
    *("mkfs.ext4", "-q", "-F", "-L", "root"),
    *("-E", "lazy_itable_init=1,lazy_journal_init=1"),
)
_NAMES = {"bios_boot": "bios", "esp": "esp", "root": "root"}


class Formatted(NamedTuple):
    """A laid-out disk: device paths, and the UUIDs that its file systems were given."""

    device: str
    root: str
    root_uuid: str
    esp: str | None
    esp_uuid: str | None
    esp_number: int | None


def find(tree: Tree, wanted: Disk, not_disks: re.Pattern[str] = NOT_DISKS) -> str:
    """The present kernel name (`sda`) of the approved disk.

    Its serial decides, else its WWN. Where neither does (a disk without them, a controller that
    gives all the same, two paths to one disk), it must be the only one of its size and model: the
    name alone decides nothing, because the kernel gives names anew at every boot.

    Raises:
        InstallError: it is not there, not certain, or is no longer what was approved.
    """
    same = read_disks(tree, lambda _: {}, not_disks)
    identified = False
    for key, value in (("serial", wanted.serial), ("wwn", wanted.wwn)):
        if value is None or identified:
            continue
        same = [disk for disk in same if disk[key] == value]
        if not same:
            raise _changed(wanted, f"no disk has the {key} {value}")
        identified = len(same) == 1
    fitting = [disk for disk in same if not _differences(disk, wanted)]
    if len(fitting) > 1:
        raise _uncertain(wanted, [str(disk["device"]) for disk in fitting])
    if not fitting:
        alike = same if identified else [d for d in same if d["device"] == wanted.device]
        raise _changed(
            wanted,
            ", ".join(_differences(alike[0], wanted))
            if alike
            else f"no disk has the device {wanted.device}, nor its size and model",
        )
    if fitting[0]["read_only"]:
        raise _changed(wanted, "it is read-only")
    return str(fitting[0]["device"]).removeprefix("/dev/")


def refuse_in_use(tree: Tree, name: str) -> None:
    """Go on only if neither the disk nor a partition of it is mounted, swapped on, or held.

    Raises:
        InstallError: it is; the text names what holds it.
    """
    blocks = {name: f"sys/block/{name}"}
    blocks |= {part: f"sys/block/{name}/{part}" for part in partitions(tree, name)}
    # Field 3 of mountinfo is the device's major:minor (proc_pid_mountinfo(5)).
    mounts = [line.split() for line in (tree.text("proc/self/mountinfo") or "").splitlines()]
    mounted = {fields[2]: fields[4] for fields in mounts if len(fields) > 4}
    swaps = [line.split()[0] for line in (tree.text("proc/swaps") or "").splitlines()[1:]]
    for block, path in blocks.items():
        where = mounted.get(tree.text(f"{path}/dev") or "")
        holders = tree.names(f"{path}/holders")
        use = (
            f"is mounted at {where}"
            if where
            else f"is held by {', '.join(holders)}"
            if holders
            else "is swap space in use"
            if f"/dev/{block}" in swaps
            else None
        )
        if use:
            raise InstallError(
                f"/dev/{block} {use}: nothing was written",
                hint="Release the disk (stop the RAID, LVM or mount on it), then create the task"
                " again.",
            )


def refuse_new_contents(tree: Tree, name: str, wanted: Disk, probe: Probe) -> None:
    """Go on only if nothing stands on the disk that was not seen when it was approved.

    Raises:
        InstallError: something was written to it since.
    """
    new = [kind for kind in read_contents(tree, name, probe) if kind not in wanted.overwrites]
    if new:
        raise _changed(wanted, f"it now holds {', '.join(new)}")


def partition_path(device: str, number: int) -> str:
    """`/dev/sda3`, but `/dev/nvme0n1p3`: a `p` where the disk's name ends with a digit."""
    return f"{device}{'p' if device[-1].isdigit() else ''}{number}"


def table_script(wanted: tuple[Partition, ...]) -> str:
    """The GPT in the words of `sfdisk` (sfdisk(8), input format)."""
    lines = ["label: gpt", ""]
    for part in sorted(wanted, key=lambda part: part.number):
        size = "" if part.size_bytes is None else f"size={part.size_bytes // 1024}KiB, "
        lines.append(f"{part.number} : {size}type={_TYPES[part.role]}, name={_NAMES[part.role]}")
    return "\n".join(lines) + "\n"


class DiskWriter:
    """Writes to one disk; each method is a step of the stage `partitioning`."""

    def __init__(self, commands: Commands, tree: Tree, stop: Stop, name: str) -> None:
        self._commands = commands
        self._tree = tree
        self._stop = stop
        self._name = name
        self.device = f"/dev/{name}"

    def partition(self, wanted: tuple[Partition, ...]) -> None:
        """Clear the disk and write the table, then wait for the partitions' nodes.

        Raises:
            InstallError: a program failed, or the kernel does not show the partitions.
        """
        for part in reversed(partitions(self._tree, self._name)):
            self._commands.run(["wipefs", "--all", "--quiet", f"/dev/{part}"])
        self._commands.run(["wipefs", "--all", "--quiet", self.device])
        self._commands.run(
            ["sfdisk", "--quiet", "--wipe", "always", "--wipe-partitions", "always", self.device],
            stdin=table_script(wanted),
        )
        self._await_nodes([part.number for part in wanted])

    def format(self, wanted: Disk) -> Formatted:
        """Make the file systems.

        Raises:
            CommandFailed: a `mkfs` failed.
        """
        root, esp = wanted.partition("root"), wanted.partition("esp")
        assert root is not None  # noqa: S101  # parse_plan refuses a plan without one
        root_path, root_uuid = partition_path(self.device, root.number), new_uuid()
        esp_path = esp_uuid = None
        if esp is not None:
            volume_id = os.urandom(4).hex().upper()
            esp_path = partition_path(self.device, esp.number)
            esp_uuid = f"{volume_id[:4]}-{volume_id[4:]}"
            self._commands.run(["mkfs.vfat", "-F", "32", "-n", "ESP", "-i", volume_id, esp_path])
        self._commands.run(
            # Lazily: the kernel zeroes the inode tables later, beside its other work.
            [*_MKFS_EXT4, "-U", root_uuid, root_path]
        )
        return Formatted(
            device=self.device,
            root=root_path,
            root_uuid=root_uuid,
            esp=esp_path,
            esp_uuid=esp_uuid,
            esp_number=esp.number if esp is not None else None,
        )

    def blank(self) -> None:
        """After a failed install: leave a disk that boots nothing and counts as blank."""
        for name in (*reversed(partitions(self._tree, self._name)), self._name):
            self._commands.clean_up(["wipefs", "--all", "--quiet", f"/dev/{name}"])

    def _await_nodes(self, numbers: list[int]) -> None:
        nodes = [partition_path(self.device, number).lstrip("/") for number in numbers]
        waited_s = 0.0
        rescanned = False
        while missing := [node for node in nodes if not self._tree.exists(node)]:
            if waited_s >= NODES_TIMEOUT_S:
                raise InstallError(
                    f"the kernel shows no /{missing[0]} after partitioning",
                    command=f"sfdisk {self.device}",
                    hint="Look for messages on this disk on the console; try another disk.",
                )
            if waited_s >= RESCAN_AFTER_S and not rescanned:
                self._commands.run(["partx", "--update", self.device])
                rescanned = True
            self._stop.wait(NODES_POLL_S)
            waited_s += NODES_POLL_S


def new_uuid() -> str:
    """A random UUID (RFC 9562, version 4)."""
    octets = bytearray(os.urandom(16))
    octets[6] = octets[6] & 0x0F | 0x40
    octets[8] = octets[8] & 0x3F | 0x80
    digits = octets.hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _differences(disk: dict[str, object], wanted: Disk) -> list[str]:
    """In what a disk is not the approved one, in words."""
    return [
        f"its {key} is now {disk[key]}, approved was {approved}"
        for key, approved in (("size_bytes", wanted.size_bytes), ("model", wanted.model))
        if approved is not None and disk[key] != approved
    ]


def _uncertain(wanted: Disk, devices: list[str]) -> InstallError:
    return InstallError(
        f"{wanted.device} is not certain to be the disk that was approved: {', '.join(devices)}"
        " have its size and model, and no serial or WWN tells them apart; nothing was written",
        hint="Create the task again and name in root_disk a disk that has a serial or WWN of its"
        " own; or remove the other disks of this size and model, or give the disks serials.",
    )


def _changed(wanted: Disk, what: str) -> InstallError:
    return InstallError(
        f"{wanted.device} is not the disk that was approved: {what}; nothing was written",
        hint="The hardware changed since its report. Create a new task and approve what it shows.",
    )
