"""The root file system of a disk image: found among its partitions, and mounted with what belongs
to it.

The rule: it is the partition that holds a system, not one that is only called so. A partition of
the root's type is looked at first, then the others from the largest on.
"""

import struct
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from lpmos.agent.commands import Commands
from lpmos.agent.disktable import ESP_TYPES, ROOT_TYPES, Entry, Table
from lpmos.agent.errors import CommandFailed, InstallError
from lpmos.agent.inventory.disks import Probe
from lpmos.agent.mounts import Mounts
from lpmos.agent.plan import File
from lpmos.agent.rootfiles import RootFiles

MOUNTABLE = ("ext2", "ext3", "ext4", "xfs", "btrfs")
SUBVOLUMES = ("", "subvol=root", "subvol=@", "subvol=@rootfs")
"""Where btrfs keeps a root: where the image says itself, or by the names of distributions."""
RELEASES = ("/etc/os-release", "/usr/lib/os-release")
ARCHITECTURE = (62, "x86_64")
"""`e_machine` of the System V ABI, AMD64 supplement: EM_X86_64."""
ELF_HEAD_BYTES = 20
_SPECS = {"UUID": "UUID", "LABEL": "LABEL", "PARTUUID": "PART_ENTRY_UUID"}
_SPECS["PARTLABEL"] = "PART_ENTRY_NAME"
_PROGRAMS = ("/usr/bin/sh", "/bin/sh", "/usr/bin/env", "/usr/sbin/init", "/sbin/init")
_LINKS = 10


class Place(NamedTuple):
    """A line of fstab(5) that is mounted: `options` as `mount -o` takes them, or empty."""

    spec: str
    where: str
    kind: str
    options: str


class ImageRoot:
    """Finds and mounts the root at `target`."""

    def __init__(self, mounts: Mounts, probe: Probe, target: Path, image: str) -> None:
        self._mounts = mounts
        self._probe = probe
        self._target = target
        self._image = image

    def mount(self, table: Table) -> Entry:
        """Mount the root and what its fstab puts below it; the root's partition.

        Raises:
            InstallError: no partition holds a system for this machine, or a mount failed.
        """
        facts = {entry.number: self._probe(entry.device) or {} for entry in table.entries}
        for entry in _candidates(table, facts):
            kind = facts[entry.number]["TYPE"]
            for options in SUBVOLUMES if kind == "btrfs" else ("",):
                if self._holds_system(entry, kind, options):
                    check_architecture(self._target, self._image)
                    self._mount_rest(table, facts, entry)
                    return entry
        raise InstallError(
            f"no partition of image {self._image} holds a Linux system that can be made this"
            " machine's own",
            command="blkid",
            output=describe(table, facts),
            hint="The root must be a partition with ext4, xfs or btrfs; a root on LVM, RAID or LUKS"
            " cannot be used: make the image without, or upload a root archive.",
        )

    def _holds_system(self, entry: Entry, kind: str, options: str) -> bool:
        given = ("-o", options) if options else ()
        try:
            self._mounts.mount(entry.device, self._target, "-t", kind, *given)
        except CommandFailed:
            if options:
                return False  # there is no subvolume of this name
            raise
        if any(self._lexists(name) for name in RELEASES):
            return True
        self._mounts.unmount_all()
        return False

    def _mount_rest(
        self, table: Table, facts: Mapping[int, Mapping[str, str]], root: Entry
    ) -> None:
        """What the system has in other partitions of the image: /boot, /var and their like."""
        text = _read(RootFiles(self._target, {}).inside("/etc/fstab"))
        for place in parse_fstab(text):
            entry = _meant(place, table, facts)
            if entry is None or (entry == root and not place.options):
                continue
            given = ("-o", place.options) if place.options else ()
            self._mounts.mount(
                entry.device,
                RootFiles(self._target, {}).inside(place.where),
                *("-t", place.kind, *given),
            )

    def _lexists(self, name: str) -> bool:
        place = RootFiles(self._target, {}).inside(name)
        return place.is_symlink() or place.is_file()


def check_architecture(root: Path, image: str) -> None:
    """Go on only if the programs of the system in `root` are for this machine's processors.

    Raises:
        InstallError: they are for others. Of a system without a shell nothing is known.
    """
    for name in _PROGRAMS:
        head = _read_bytes(_resolved(root, name), ELF_HEAD_BYTES)
        if len(head) == ELF_HEAD_BYTES and head.startswith(b"\x7fELF"):
            break
    else:
        return
    order = "<" if head[5] == 1 else ">"
    (machine,) = struct.unpack_from(order + "H", head, 18)
    if machine != ARCHITECTURE[0]:
        raise InstallError(
            f"image {image} is of another architecture: its {name} is for the machine {machine} of"
            f" ELF, not for {ARCHITECTURE[0]} ({ARCHITECTURE[1]})",
            command=f"head -c {ELF_HEAD_BYTES} {name}",
            output=head.hex(" "),
            hint=f"Upload an image for {ARCHITECTURE[1]}.",
        )


def parse_fstab(text: str) -> list[Place]:
    """What of an fstab(5) is mounted with the root, parents first."""
    places = []
    for line in text.splitlines():
        fields = line.split()
        if len(fields) < 3 or fields[0].startswith("#") or "=" not in fields[0]:
            continue
        where = fields[1]
        if not where.startswith("/") or where == "/" or ".." in PurePosixPath(where).parts:
            continue
        if fields[2] not in (*MOUNTABLE, "vfat"):
            continue
        options = fields[3].split(",") if len(fields) > 3 else []
        kept = [option for option in options if option.startswith("subvol=")]
        if "noauto" not in options:
            places.append(Place(fields[0], where.rstrip("/"), fields[2], ",".join(kept)))
    return sorted(places, key=lambda place: len(PurePosixPath(place.where).parts))


def describe(table: Table, facts: Mapping[int, Mapping[str, str]]) -> str:
    """The partitions as evidence: what each is called, and what is on it."""
    return "\n".join(
        f"{entry.device}: type {entry.kind}, {facts[entry.number].get('TYPE', 'nothing known')}"
        for entry in table.entries
    )


def own_host_keys(commands: Commands, target: Path) -> None:
    """Give the machine SSH host keys of its own where the image brought some: clones share them.

    Raises:
        InstallError: the system's ssh-keygen failed.
    """
    directory = RootFiles(target, {}).inside("/etc/ssh/x").parent
    brought = sorted(directory.glob("ssh_host_*_key*")) if directory.is_dir() else []
    for path in brought:
        path.unlink()
    if brought and _resolved(target, "/usr/bin/ssh-keygen").is_file():
        commands.run(["chroot", str(target), "/usr/bin/ssh-keygen", "-A"])


def relabel(files: RootFiles) -> bool:
    """Have a system with SELinux label at its first boot what was written without labels."""
    text = _read(files.inside("/etc/selinux/config"))
    modes = [line.partition("=")[2].strip() for line in text.splitlines() if _is_mode(line)]
    if not modes or modes[-1] == "disabled":
        return False
    files.write(File("/.autorelabel", "", 0o600))
    return True


def _is_mode(line: str) -> bool:
    return line.partition("=")[0].strip() == "SELINUX"


def _candidates(table: Table, facts: Mapping[int, Mapping[str, str]]) -> list[Entry]:
    usable = [
        entry
        for entry in table.entries
        if facts[entry.number].get("TYPE") in MOUNTABLE and entry.kind not in ESP_TYPES
    ]
    return sorted(usable, key=lambda entry: (entry.kind not in ROOT_TYPES, -entry.sectors))


def _meant(place: Place, table: Table, facts: Mapping[int, Mapping[str, str]]) -> Entry | None:
    """The partition that a line of fstab names by UUID or label."""
    tag, _, value = place.spec.partition("=")
    fact = _SPECS.get(tag)
    wanted = value.strip('"').lower()
    for entry in table.entries:
        if fact and facts[entry.number].get(fact, "").lower() == wanted and wanted:
            return entry
    return None


def _resolved(root: Path, name: str) -> Path:
    """A program of the new root behind its links."""
    files = RootFiles(root, {})
    path = files.inside(name)
    for _ in range(_LINKS):
        if not path.is_symlink():
            break
        target = str(path.readlink())
        here = "/" + str(path.relative_to(root).parent)
        path = files.inside(target if target.startswith("/") else f"{here}/{target}")
    return path


def _read(path: Path) -> str:
    return _read_bytes(path, 1 << 16).decode(errors="replace")


def _read_bytes(path: Path, count: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError:
        return b""
