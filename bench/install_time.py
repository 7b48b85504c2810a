"""How long an install takes over the time to stream the same bytes to the same disk.

    python -m bench.install_time

Two virtual servers of the same make, one after the other, alone on the machine. The first is
installed. The second boots the agent's kernel and initramfs without an agent, and its shell does
the least that brings the same image to an equal blank disk: `wget | zstd | tar` onto a fresh ext4,
then `sync`. What is divided, both read off the times of the lines on the serial consoles:

- install: from the agent's first look at the disk to the moment when all is written and unmounted;
- streaming: from the start of that pipeline to the end of its `sync`, without making the file
  system.

So a slower stream of the agent makes the ratio worse. Ends with status 1 where a limit is missed.
"""

import asyncio
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from bench import report
from rich.console import Console

from lpmos.images.catalog import Catalog
from lpmos.lab.acceleration import Acceleration, choose_acceleration
from lpmos.lab.display import LineDisplay
from lpmos.lab.journey import Journey
from lpmos.lab.machine import BlankDisk, DirectBoot, Firmware, MachineSpec, VirtualMachine
from lpmos.lab.rack import ADDRESS
from lpmos.lab.stage import OS, build_missing_images, rack_stage
from lpmos.model.diskplan import GIB

LIMIT = 1.5
BUILD = Path(__file__).resolve().parents[1] / "build"
BOOT_TIMEOUT_S = 180.0
STREAM_TIMEOUT_S = 600.0
REGION_PORT = 8081
INSTALL = (r" 0% partitioning", r"installed; the machine starts")
STREAM = (r"stream begins 42$", r"stream ends 42$")
# The shell computes the number, so that the echo of what was typed is not taken for its answer.
PREPARE = "set -o pipefail; mkfs.ext4 -q -F -E lazy_itable_init=1,lazy_journal_init=1 {disk}"
PIPELINE = "wget -q -O - {url} | zstd -dc | tar -x -p --numeric-owner --xattrs --acls -C /mnt"
COMMANDS = (
    PREPARE + " && mkdir -p /mnt && mount -t ext4 {disk} /mnt && echo stream begins $((6*7))",
    PIPELINE + " && sync && echo stream ends $((6*7)) || echo stream fails $((6*7))",
)


class Measured(NamedTuple):
    """Seconds of both, of one run."""

    install_s: float
    stream_s: float


def between(console_log: Path, begin: str, end: str) -> float:
    """Seconds from the first line with `begin` to the first line with `end`."""
    found: dict[str, float] = {}
    for line in console_log.read_text().splitlines():
        if stamp := re.match(r"\s*(\d+\.\d+) ", line):
            for pattern in (begin, end):
                if re.search(pattern, line):
                    found.setdefault(pattern, float(stamp[1]))
    return found[end] - found[begin]


def server(number: int, firmware: Firmware) -> MachineSpec:
    """One of the two servers; they differ in their names only."""
    return MachineSpec(
        name=f"bench-{number}",
        sn=f"BENCH-{number}",
        mac=f"52:54:00:78:02:{number:02x}",
        firmware=firmware,
        disks=(BlankDisk(serial=f"ROOT-{number}", size_bytes=8 * GIB),),
    )


async def stream(machine: VirtualMachine, images_dir: Path) -> None:
    """Boot the agent's RAM image into its shell and stream the image to the machine's disk."""
    catalog = Catalog(images_dir)
    agent, image = catalog.agent(), catalog.find(*OS)
    assert image is not None
    arguments = f"console=ttyS0,115200n8 BOOTIF=01-{machine.spec.mac.replace(':', '-')} lpmos_shell"
    await machine.power_on(
        DirectBoot(kernel=agent.kernel, initramfs=agent.initramfs, arguments=arguments)
    )
    await machine.console.wait_for("this is a shell", BOOT_TIMEOUT_S)
    url = f"http://{ADDRESS}:{REGION_PORT}/boot/images/{image.sha256}"
    for command, answer in zip(COMMANDS, STREAM, strict=True):
        machine.type(command.format(disk="/dev/vda", url=url))
        said = await machine.console.wait_for(f"{answer}|stream fails 42$", STREAM_TIMEOUT_S)
        if "fails" in said[0]:
            sys.exit(f"the image could not be streamed; {machine.last_words()}")
    await machine.power_off()


async def measure(
    firmware: Firmware, directory: Path, images_dir: Path, accel: Acceleration
) -> Measured:
    """Install one server, switch it off, stream to the other."""
    specs = [server(number, firmware) for number in (1, 2)]
    place = rack_stage(specs, directory=directory, images_dir=images_dir, accel=accel)
    async with place as stage:
        (installed, task), (blank, _) = stage.servers
        assert isinstance(installed, VirtualMachine) and isinstance(blank, VirtualMachine)
        display = LineDisplay(Console(stderr=True))
        journey = Journey(installed, task, api=stage.site.api, display=display, approve=True)
        await journey.run()
        if not journey.progress.up:
            sys.exit(f"the install failed: {journey.progress.failed}")
        await installed.power_off()
        await stream(blank, images_dir)
    return Measured(between(installed.console.log, *INSTALL), between(blank.console.log, *STREAM))


def main() -> int:
    """Install, stream, print, compare; 1 where the limit is missed."""
    parser = report.parser(__doc__)
    parser.add_argument("--firmware", choices=["bios", "uefi"], default="bios")
    parser.add_argument("--images-dir", type=Path, default=BUILD / "images")
    chosen = report.chosen(parser, {})
    build_missing_images(
        chosen.images_dir, BUILD / "cache", Console(stderr=True), os.environ.get("LPMOS_MIRROR")
    )
    accel = asyncio.run(choose_acceleration())
    with tempfile.TemporaryDirectory() as name:
        took = asyncio.run(measure(chosen.firmware, Path(name), chosen.images_dir, accel))
    install = report.compared(
        f"install, first look at the disk to unmounted ({chosen.firmware})",
        took.install_s,
        "s",
        ("wget, zstd, tar and sync to an equal disk", took.stream_s),
        at_most=LIMIT,
        note=accel.name,
    )
    return report.end([install], chosen)


if __name__ == "__main__":
    sys.exit(main())
