"""One cell of the matrix played: a rack and a region of its own, and one server's whole way."""

import asyncio
import re
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console

from lpmos.lab import evidence
from lpmos.lab.acceleration import Acceleration
from lpmos.lab.display import LineDisplay
from lpmos.lab.errors import LabError, WaitTimedOut
from lpmos.lab.journey import Journey
from lpmos.lab.machine import VirtualMachine
from lpmos.lab.rack import ADDRESS, ADDRESS_V6, BRIDGE, Rack
from lpmos.lab.site import Site
from lpmos.lab.stage import new_task, rack_site
from lpmos.model.diskplan import RootDiskHints
from lpmos.model.lifecycle import Status
from lpmos.model.newtask import NewTask
from tests.matrix.cells import Cell
from tests.matrix.layouts import PASSPHRASE

FIRST_SECTOR: Final = 512
_LABEL_BYTES: Final = 512
_CRC_START: Final = 0xF597A6CF
_DATA_AT: Final = 1024**2
FOREIGN: Final = b"somebody else's data" * 200
FOREIGN_STEP_BYTES: Final = 256 * 1024**2
LUKS2: Final = b"LUKS\xba\xbe\x00\x02"
PLAIN_ROLES: Final = ("bios_boot", "esp", "root")
FILL_TIMEOUT_S: Final = 900.0
POWER_OFF_TIMEOUT_S: Final = 600.0
START_TIMEOUT_S: Final = 900.0
POLL_S: Final = 0.5

MARKS: Final = {
    "http": "Start HTTP Boot over IPv4",
    "ipv6": "Start PXE over IPv6",
    "ipv6only": "Start PXE over IPv6",
}
"""What the firmware itself says on the console where it went the way that its cell is for."""
AGENT_OVER_IPV6: Final = "lpmos: address fd78:"
"""What the agent's image says where it calls the region over IPv6."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """How a cell ended; times are from power on, in seconds, None where it did not come so far."""

    cell: Cell
    passed: bool
    words: str = ""
    report_s: float | None = None
    written_s: float | None = None
    up_s: float | None = None
    degraded_s: float | None = None
    on: str = ""
    acceleration: str = ""


def lvm_label(disk_bytes: int) -> bytes:
    """The first sectors of an LVM physical volume in no group (lib/format_text/layout.h of LVM2).

    Its label, whose lists of areas (data, metadata) end with an empty one each.
    """
    areas = (_DATA_AT, 0, 0, 0, 0, 0)
    numbers = b"".join(number.to_bytes(8, "little") for number in (disk_bytes, *areas))
    after_crc = (32).to_bytes(4, "little") + b"LVM2 001" + b"L" * 32 + numbers
    after_crc = after_crc.ljust(_LABEL_BYTES - 20, b"\0")
    # Its CRC-32 has another start and no last inversion.
    crc = zlib.crc32(after_crc, _CRC_START ^ 0xFFFFFFFF) ^ 0xFFFFFFFF
    head = b"LABELONE" + (1).to_bytes(8, "little") + crc.to_bytes(4, "little")
    return bytes(FIRST_SECTOR) + head + after_crc


class LockedMachine(VirtualMachine):
    """One whose disks somebody opens on the console, with the passphrase of its task."""

    async def wait_up(self, hostname: str, timeout_s: float) -> None:
        """As of any machine, once its disks are open."""
        await self.console.wait_for("unlock disk", timeout_s)
        self.type(PASSPHRASE)
        await super().wait_up(hostname, timeout_s)


def network(cell: Cell) -> tuple[str, ...]:
    """What the region of a cell is told of its network."""
    one: dict[str, object] = {"interface": BRIDGE}
    if cell.kind != "ipv6only":
        one |= {"range": ["10.78.0.100", "10.78.0.200"], "address": ADDRESS}
    if cell.kind in {"ipv6", "ipv6only"}:
        one |= {"range6": ["fd78::1000", "fd78::1fff"], "address6": ADDRESS_V6}
    if cell.kind == "secure":
        one |= {"secure_boot": True}
    networks = msgspec.json.encode([one]).decode()
    return ("--region-addr", ADDRESS, "--api-host", ADDRESS, "--dhcp-network", networks)


async def play(cell: Cell, *, directory: Path, images_dir: Path, accel: Acceleration) -> Result:
    """Play a cell to its end; whatever goes wrong is in the result."""
    began = time.monotonic()
    try:
        placed = rack_site(
            directory=directory, images_dir=images_dir, accel=accel, network=network(cell)
        )
        async with placed as (rack, site):
            machine = await _machine(cell, rack, directory, accel)
            journey = await _journey(cell, machine, site)
            await _switch_off(cell, machine, journey)
            words = await _wrong(cell, machine, journey)
            degraded_s = None
            if cell.layout is not None and cell.layout.degraded and not words:
                try:
                    degraded_s = await _start_without_first(machine, cell.layout.degraded)
                except LabError as error:
                    words = f"without its first disk: {error}"
            times = journey.progress
            return Result(
                cell=cell,
                passed=not words,
                words=words,
                report_s=times.seconds("power on", Status.PENDING_APPROVAL.value),
                written_s=times.seconds("power on", "restarting"),
                up_s=times.seconds("power on", "up"),
                degraded_s=degraded_s,
                acceleration=accel.name,
            )
    except LabError as error:
        after_s = time.monotonic() - began
        return Result(cell=cell, passed=False, words=f"after {after_s:.0f} s: {error}")


async def _machine(cell: Cell, rack: Rack, directory: Path, accel: Acceleration) -> VirtualMachine:
    """The server as it comes, with what others left on its disk."""
    made = LockedMachine if cell.layout and cell.layout.wanted.encrypt else VirtualMachine
    machine = await made.create(rack, cell.spec(), directory=directory, accel=accel)
    if cell.disks in {"lvm", "lvm-kept", "format"}:
        with machine.disk().open("r+b") as disk:
            disk.write(_label_of(machine))
            for place in _foreign_places(machine) if cell.disks == "format" else ():
                disk.seek(place)
                disk.write(FOREIGN)
    return machine


def _label_of(machine: VirtualMachine) -> bytes:
    return lvm_label(machine.disk().stat().st_size)


def _foreign_places(machine: VirtualMachine) -> range:
    return range(FOREIGN_STEP_BYTES, machine.spec.disks[0].size_bytes, FOREIGN_STEP_BYTES)


async def _journey(cell: Cell, machine: VirtualMachine, site: Site) -> Journey:
    display = LineDisplay(Console(stderr=True))
    journey = Journey(
        machine, _task(cell, machine, site), api=site.api, display=display, approve=True
    )
    await journey.run()
    return journey


def _task(cell: Cell, machine: VirtualMachine, site: Site) -> NewTask:
    new = new_task(site, machine.spec.sn, machine.spec.mac, machine.name)
    if cell.disks in {"lvm", "format"}:
        new = msgspec.structs.replace(new, root_disk=RootDiskHints(overwrite=True))
    if cell.disks == "named":
        new = msgspec.structs.replace(new, root_disk=RootDiskHints(serial="ROOT"))
    if cell.layout is not None:
        new = msgspec.structs.replace(new, disk_layout=cell.layout.wanted)
        if cell.layout.wanted.encrypt:
            new = msgspec.structs.replace(new, disk_passphrase=PASSPHRASE)
    return new


async def _switch_off(cell: Cell, machine: VirtualMachine, journey: Journey) -> None:
    """Cut the power, but of arrays that shall start once more: those are filled, then closed."""
    if journey.progress.up and cell.layout is not None and cell.layout.degraded:
        await _wait_filled(machine)
        await machine.press_power_button()
        await machine.wait_off(POWER_OFF_TIMEOUT_S)
    await machine.power_off()


async def _wait_filled(machine: VirtualMachine) -> None:
    """Wait until the installed system has filled its arrays: the kernel says so on the console."""
    try:
        async with asyncio.timeout(FILL_TIMEOUT_S):
            while not is_filled(machine.console.log.read_text(errors="replace")):
                machine.check()
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        text = f"in {FILL_TIMEOUT_S:.0f} s the arrays were not filled"
        raise WaitTimedOut(f"{text}; {machine.last_words()}") from None


def is_filled(said: str) -> bool:
    """Whether all that the kernel (drivers/md/md.c) began or put off is done."""
    done = set(re.findall(r"md: (md\d+): (?:resync|recovery) done", said))
    begun = re.findall(r"md: (?:delaying )?(?:resync|recovery) of (?:RAID array )?(md\d+)", said)
    return bool(done) and done.issuperset(begun)


async def _start_without_first(machine: VirtualMachine, said: str) -> float:
    """Start the server without its first disk; seconds from power on to the login prompt.

    Raises:
        LabError: it did not start, or not with an array that lacks a disk.
    """
    machine.pull_first_disk()
    began = time.monotonic()
    await machine.power_on()
    await machine.console.wait_for(said, START_TIMEOUT_S)
    await machine.wait_up(machine.name, START_TIMEOUT_S)
    return time.monotonic() - began


async def _wrong(cell: Cell, machine: VirtualMachine, journey: Journey) -> str:
    """What is not as the cell has it; empty where all is."""
    progress, task = journey.progress, journey.task
    if cell.refused is not None:
        reason = (task.error.reason if task and task.error else "") or (progress.failed or "")
        if cell.refused not in reason or progress.up:
            return f"not refused with {cell.refused!r}: {reason}"
        label = _label_of(machine)
        untouched = machine.disk().read_bytes()[: len(label)] == label
        return "" if untouched or cell.disks != "lvm-kept" else "the foreign label is gone"
    if not progress.up:
        return progress.failed or "it did not come up"
    if cell.disks in {"two", "named"} and not await evidence.is_blank(machine.disk(1)):
        return "the other disk was written"
    count = cell.layout.disks if cell.layout else 1
    for disk in (machine.disk(number) for number in range(count)):
        if words := await _wrong_disk(cell.layout.roles if cell.layout else PLAIN_ROLES, disk):
            return words
    if cell.disks == "format" and any(_kept(machine)):
        return "foreign data is left on the disk"
    return _wrong_way(cell, machine, journey)


async def _wrong_disk(wanted: tuple[str, ...], disk: Path) -> str:
    """What a disk that was written has not."""
    parts = await evidence.partitions(disk)
    if (roles := tuple(part.role for part in parts)) != wanted:
        return f"the partitions of {disk.name} are {', '.join(roles)}"
    if (await evidence.read_esp_file(disk, "/EFI/BOOT/BOOTX64.EFI"))[:2] != b"MZ":
        return f"the EFI system partition of {disk.name} has no loader at the fallback path"
    with disk.open("rb") as file:
        for part in parts:
            file.seek(part.start_bytes)
            if part.role == "luks" and file.read(len(LUKS2)) != LUKS2:
                return f"partition {part.number} of {disk.name} has no header of LUKS2"
    return ""


def _kept(machine: VirtualMachine) -> Iterator[bool]:
    """Of each place that had foreign data, whether it has it still."""
    with machine.disk().open("rb") as disk:
        for place in _foreign_places(machine):
            disk.seek(place)
            yield disk.read(len(FOREIGN)) == FOREIGN


def _wrong_way(cell: Cell, machine: VirtualMachine, journey: Journey) -> str:
    """Whether it netbooted as the cell has it."""
    said = machine.console.log.read_text(errors="replace")
    if (mark := MARKS.get(cell.kind)) and mark not in said.replace("\n", "").replace("\r", ""):
        return f"the firmware did not say {mark}"
    if cell.kind == "ipv6only" and AGENT_OVER_IPV6 not in said:
        return f"the agent did not say {AGENT_OVER_IPV6}"
    hardware = journey.task.hardware if journey.task else None
    if cell.kind == "secure" and not (hardware and hardware.secure_boot):
        return "the agent ran without Secure Boot"
    return ""
