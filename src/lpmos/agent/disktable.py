"""The partition table that a disk image brought: read, fitted to the disk, its last one grown.

The rule: nothing of the image's own is made smaller, moved or renamed. Partitions and file systems
keep their UUIDs, for the image's fstab and boot loader name them; only the disk's own GUID is new.

Sources: sfdisk(8), UEFI 2.10 section 5.3 for the backup header at the disk's end, the Discoverable
Partitions Specification for types.
"""

import json
from typing import NamedTuple

from lpmos.agent.commands import Commands
from lpmos.agent.errors import CommandFailed, InstallError
from lpmos.agent.fields import mapping, sequence, take
from lpmos.agent.uuids import new_uuid

ESP_TYPES = ("C12A7328-F81F-11D2-BA4B-00A0C93EC93B", "EF")
ROOT_TYPES = ("4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709",)
EXTENDED_TYPES = ("5", "F", "85")


class Entry(NamedTuple):
    """One partition; `kind` is its type in upper case."""

    number: int
    device: str
    start: int
    sectors: int
    kind: str


class Table(NamedTuple):
    """A partition table: `label` is `gpt` or `dos`."""

    label: str
    entries: tuple[Entry, ...]

    def of_types(self, kinds: tuple[str, ...]) -> tuple[Entry, ...]:
        """The partitions of these types."""
        return tuple(entry for entry in self.entries if entry.kind in kinds)

    @property
    def last(self) -> Entry:
        """The partition that ends the disk; where it is a logical one, that and not its frame."""
        return max(self.entries, key=lambda entry: (entry.start, entry.number))


def read_table(commands: Commands, device: str) -> Table:
    """Read it from the disk.

    Raises:
        InstallError: there is none that can be read.
    """
    try:
        text = commands.run(["sfdisk", "--json", device])
        found = mapping(json.loads(text[text.index("{") : text.rindex("}") + 1]), "sfdisk")
        return parse_table(found, device)
    except CommandFailed as failed:
        raise _no_table(device, failed.output) from failed
    except ValueError as error:
        raise _no_table(device, text) from error


def parse_table(document: dict[str, object], device: str) -> Table:
    """What `sfdisk --json` says of `device`.

    Raises:
        InstallError: it is not of the form that sfdisk(8) has, or names no partition.
    """
    table = mapping(document.get("partitiontable"), "partitiontable")
    entries = []
    for each in sequence(table.get("partitions", []), "partitions"):
        part = mapping(each, "partitions")
        node = take(part, "node", str)
        digits = node.removeprefix(device).lstrip("p")
        if not node.startswith(device) or not digits.isdecimal():
            raise _no_table(device, f"{node} is no partition of it")
        kind = take(part, "type", str).upper()
        entries.append(
            Entry(int(digits), node, take(part, "start", int), take(part, "size", int), kind)
        )
    if not entries:
        raise _no_table(device, "the table is empty")
    return Table(take(table, "label", str), tuple(entries))


class DiskTable:
    """The table on one disk, after the image was written."""

    def __init__(self, commands: Commands, device: str) -> None:
        self._commands = commands
        self._device = device

    def fit(self) -> Table:
        """Put GPT's backup where this disk ends, and give the disk a GUID of its own.

        Raises:
            InstallError: there is no table, or a program failed.
        """
        table = read_table(self._commands, self._device)
        if table.label == "gpt":
            self._commands.run(["sfdisk", "--quiet", "--relocate", "gpt-bak-std", self._device])
            self._commands.run(["sfdisk", "--quiet", "--disk-id", self._device, new_uuid()])
        return table

    def grow(self, entry: Entry) -> None:
        """Let this partition, the last one, end where the disk ends.

        Raises:
            CommandFailed: sfdisk failed.
        """
        argv = ["sfdisk", "--quiet", "--no-reread", "-N", str(entry.number), self._device]
        self._commands.run(argv, stdin=", +\n")


def _no_table(device: str, output: str) -> InstallError:
    return InstallError(
        f"the image has no partition table that fits {device}",
        command=f"sfdisk --json {device}",
        output=output,
        hint="Upload the image of a whole disk. One that was made on a disk with sectors of another"
        " size (512 or 4096 bytes) does not start from this one.",
    )
