"""One cell of the matrix played: a rack and a region of its own, and one server's whole way."""

import time
import zlib
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console

from lpmos.lab import evidence
from lpmos.lab.acceleration import Acceleration
from lpmos.lab.display import LineDisplay
from lpmos.lab.errors import LabError
from lpmos.lab.journey import Journey
from lpmos.lab.machine import VirtualMachine
from lpmos.lab.rack import ADDRESS, ADDRESS_V6, BRIDGE, Rack
from lpmos.lab.site import Site
from lpmos.lab.stage import OS, new_task
from lpmos.model.diskplan import RootDiskHints
from lpmos.model.lifecycle import Status
from tests.matrix.cells import Cell

FIRST_SECTOR: Final = 512
_LABEL_BYTES: Final = 512
_CRC_START: Final = 0xF597A6CF

MARKS: Final = {
    "http": "Start HTTP Boot over IPv4",
    "ipv6": "Start PXE over IPv6",
}
"""What the firmware itself says on the console where it went the way that its cell is for."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """How a cell ended; times are from power on, in seconds, None where it did not come so far."""

    cell: Cell
    passed: bool
    words: str = ""
    report_s: float | None = None
    written_s: float | None = None
    up_s: float | None = None
    on: str = ""
    acceleration: str = ""


def lvm_label() -> bytes:
    """The first sectors of an LVM physical volume (lib/format_text/layout.h of LVM2): its label."""
    after_crc = (32).to_bytes(4, "little") + b"LVM2 001" + b"L" * 32
    after_crc = after_crc.ljust(_LABEL_BYTES - 20, b"\0")
    # Its CRC-32 has another start and no last inversion.
    crc = zlib.crc32(after_crc, _CRC_START ^ 0xFFFFFFFF) ^ 0xFFFFFFFF
    head = b"LABELONE" + (1).to_bytes(8, "little") + crc.to_bytes(4, "little")
    return bytes(FIRST_SECTOR) + head + after_crc


def network(cell: Cell) -> tuple[str, ...]:
    """What the region of a cell is told of its network."""
    one: dict[str, object] = {
        "interface": BRIDGE, "range": ["10.78.0.100", "10.78.0.200"], "address": ADDRESS,
    }  # fmt: skip
    if cell.kind == "ipv6":
        one |= {"range6": ["fd78::1000", "fd78::1fff"], "address6": ADDRESS_V6}
    if cell.kind == "secure":
        one |= {"secure_boot": True}
    networks = msgspec.json.encode([one]).decode()
    return ("--region-addr", ADDRESS, "--api-host", ADDRESS, "--dhcp-network", networks)


async def play(cell: Cell, *, directory: Path, images_dir: Path, accel: Acceleration) -> Result:
    """Play a cell to its end; whatever goes wrong is in the result."""
    began = time.monotonic()
    try:
        async with (
            Rack() as rack,
            Site(rack, directory=directory, images_dir=images_dir, network=network(cell)) as site,
        ):
            await site.wait_offered(*OS)
            machine = await VirtualMachine.create(
                rack, cell.spec(), directory=directory, accel=accel
            )
            if cell.disks in {"lvm", "lvm-kept"}:
                with machine.disk().open("r+b") as disk:
                    disk.write(lvm_label())
            journey = await _journey(cell, machine, site)
            await machine.power_off()
            words = await _wrong(cell, machine, journey)
            times = journey.progress
            return Result(
                cell=cell,
                passed=not words,
                words=words,
                report_s=times.seconds("power on", Status.PENDING_APPROVAL.value),
                written_s=times.seconds("power on", "restarting"),
                up_s=times.seconds("power on", "up"),
                acceleration=accel.name,
            )
    except LabError as error:
        after_s = time.monotonic() - began
        return Result(cell=cell, passed=False, words=f"after {after_s:.0f} s: {error}")


async def _journey(cell: Cell, machine: VirtualMachine, site: Site) -> Journey:
    new = new_task(machine.spec.sn, machine.spec.mac, machine.name)
    if cell.disks == "lvm":
        new = msgspec.structs.replace(new, root_disk=RootDiskHints(overwrite=True))
    display = LineDisplay(Console(stderr=True))
    journey = Journey(machine, new, api=site.api, display=display, approve=True)
    await journey.run()
    return journey


async def _wrong(cell: Cell, machine: VirtualMachine, journey: Journey) -> str:
    """What is not as the cell has it; empty where all is."""
    progress, task = journey.progress, journey.task
    if cell.refused is not None:
        reason = (task.error.reason if task and task.error else "") or (progress.failed or "")
        if cell.refused not in reason or progress.up:
            return f"not refused with {cell.refused!r}: {reason}"
        untouched = machine.disk().read_bytes()[: len(lvm_label())] == lvm_label()
        return "" if untouched or cell.disks != "lvm-kept" else "the foreign label is gone"
    if not progress.up:
        return progress.failed or "it did not come up"
    if cell.disks == "two" and not await evidence.is_blank(machine.disk(1)):
        return "the other disk was written"
    roles = [part.role for part in await evidence.partitions(machine.disk())]
    if roles != ["bios_boot", "esp", "root"]:
        return f"the partitions are {', '.join(roles)}"
    if (await evidence.read_esp_file(machine.disk(), "/EFI/BOOT/BOOTX64.EFI"))[:2] != b"MZ":
        return "the EFI system partition has no loader at the fallback path"
    return _wrong_way(cell, machine, journey)


def _wrong_way(cell: Cell, machine: VirtualMachine, journey: Journey) -> str:
    """Whether it netbooted as the cell has it."""
    said = machine.console.log.read_text(errors="replace")
    if (mark := MARKS.get(cell.kind)) and mark not in said.replace("\n", "").replace("\r", ""):
        return f"the firmware did not say {mark}"
    hardware = journey.task.hardware if journey.task else None
    if cell.kind == "secure" and not (hardware and hardware.secure_boot):
        return "the agent ran without Secure Boot"
    return ""
