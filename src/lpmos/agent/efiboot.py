"""The firmware's boot entries, read and set through `efibootmgr`.

After an install the order is: the network entry that booted (so that LPMOS stays in command), the
installed system, then the rest. Firmware that refuses is no reason to fail: the disk also carries
the fallback path `\\EFI\\BOOT`.
"""

import re
from pathlib import Path
from typing import NamedTuple

from lpmos.agent.commands import Commands
from lpmos.agent.console import Console
from lpmos.agent.errors import CommandFailed, InstallError
from lpmos.agent.mounts import Mounts

EFIVARS = "sys/firmware/efi/efivars"
_ENTRY = re.compile(r"Boot([0-9A-Fa-f]{4})\*? (.*)")


class BootEntries(NamedTuple):
    """What `efibootmgr` prints: `current` booted this run; `labels` by four hex digits."""

    current: str | None
    order: tuple[str, ...]
    labels: dict[str, str]


def parse_entries(text: str) -> BootEntries:
    """Read the listing (a tab and the device path follow the label since version 18)."""
    current: str | None = None
    order: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    for line in text.splitlines():
        name, colon, value = line.partition(": ")
        if colon and name == "BootCurrent":
            current = value.strip().upper()
        elif colon and name == "BootOrder":
            order = tuple(part.strip().upper() for part in value.split(",") if part.strip())
        elif found := _ENTRY.fullmatch(line):
            labels[found[1].upper()] = found[2].split("\t")[0].strip()
    return BootEntries(current, order, labels)


def wanted_order(entries: BootEntries, installed: str) -> tuple[str, ...]:
    """The network entry that booted, the installed system, the rest as it was."""
    first = [entries.current] if entries.current not in (None, installed) else []
    rest = [entry for entry in entries.order if entry not in (entries.current, installed)]
    return tuple(entry for entry in (*first, installed, *rest) if entry is not None)


class FirmwareBoot:
    """Sets the boot entry of an installed system."""

    def __init__(self, commands: Commands, console: Console, efivars: Path) -> None:
        self._commands = commands
        self._console = console
        self._efivars = efivars

    def set_entry(self, mounts: Mounts, label: str, device: str, part: int, loader: str) -> None:
        """Replace the entries named `label` by one for `loader` and set the order.

        A refusal of the firmware is said as a warning.

        Raises:
            Stopped: the run was told to end.
        """
        try:
            if not any(self._efivars.glob("BootOrder-*")):
                mounts.mount("efivarfs", self._efivars, "-t", "efivarfs")
            self._replace(label, device, part, loader)
        except InstallError as failed:
            self._console.warn(
                f"the boot entry could not be set ({failed}): {failed.output.strip()[-300:]};"
                " the machine starts the disk through its fallback path. " + failed.hint
            )

    def _replace(self, label: str, device: str, part: int, loader: str) -> None:
        for number, name in self._entries().labels.items():
            if name == label:
                self._commands.run(["efibootmgr", "--quiet", "-b", number, "-B"])
        self._commands.run(
            [
                *("efibootmgr", "--quiet", "--create", "--disk", device, "--part", str(part)),
                *("--label", label, "--loader", loader),
            ]
        )
        entries = self._entries()
        installed = next((number for number, name in entries.labels.items() if name == label), None)
        if installed is None:
            raise CommandFailed(["efibootmgr", "--create"], 0, "the new entry is not listed")
        order = wanted_order(entries, installed)
        self._commands.run(["efibootmgr", "--quiet", "--bootorder", ",".join(order)])
        names = ", ".join(entries.labels.get(number, number) for number in order)
        self._console.info(f"firmware boot order: {names}")

    def _entries(self) -> BootEntries:
        return parse_entries(self._commands.run(["efibootmgr"]))
