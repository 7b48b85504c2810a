"""How long an install takes over the time to stream the same bytes to the same disk.

`python -m bench.install_time` installs a virtual server of real firmware, alone on the machine, and
reads the agent's own lines on its serial console. Streaming is the stage that downloads the archive
and unpacks it to the disk; the install is everything from the first look at the disk to the moment
when all is written and unmounted. Both are of the same run, so the machine's speed cancels out.
"""

import argparse
import asyncio
import os
import re
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from lpmos.lab.acceleration import choose_acceleration
from lpmos.lab.display import LineDisplay
from lpmos.lab.journey import Journey
from lpmos.lab.machine import BlankDisk, Firmware, MachineSpec
from lpmos.lab.stage import build_missing_images, rack_stage
from lpmos.model.diskplan import GIB

LIMIT = 1.5
BUILD = Path(__file__).resolve().parents[1] / "build"
BEGIN, STREAM, STREAMED, END = (
    "0% partitioning",
    "20% downloading",
    "70% installing",
    "installed; the machine starts",
)


def moments(console_log: str) -> dict[str, float]:
    """When the console first said each of the four lines, in seconds since power-on."""
    found: dict[str, float] = {}
    for line in console_log.splitlines():
        if stamp := re.match(r"\s*(\d+\.\d+) ", line):
            for text in (BEGIN, STREAM, STREAMED, END):
                if text in line and (text != BEGIN or " 0% " in line):
                    found.setdefault(text, float(stamp[1]))
    return found


async def install(firmware: Firmware, directory: Path, images_dir: Path) -> dict[str, float]:
    """Install one server; the moments of its console."""
    disk = BlankDisk(serial="ROOT-1", size_bytes=8 * GIB)
    spec = MachineSpec(
        name="bench", sn="BENCH-1", mac="52:54:00:78:02:01", firmware=firmware, disks=(disk,)
    )
    accel = await choose_acceleration()
    place = rack_stage([spec], directory=directory, images_dir=images_dir, accel=accel)
    async with place as stage:
        (server, task), *_ = stage.servers
        display = LineDisplay(Console(stderr=True))
        journey = Journey(server, task, api=stage.site.api, display=display, approve=True)
        await journey.run()
        if not journey.progress.up:
            sys.exit(f"the install failed: {journey.progress.failed}")
    return moments((directory / "bench-console.log").read_text())


def main() -> int:
    """Install, print, compare; 1 where the limit is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--firmware", choices=["bios", "uefi"], default="bios")
    parser.add_argument("--images-dir", type=Path, default=BUILD / "images")
    chosen = parser.parse_args()
    build_missing_images(
        chosen.images_dir, BUILD / "cache", Console(stderr=True), os.environ.get("LPMOS_MIRROR")
    )
    with tempfile.TemporaryDirectory() as name:
        at = asyncio.run(install(chosen.firmware, Path(name), chosen.images_dir))
    whole, streaming = at[END] - at[BEGIN], at[STREAMED] - at[STREAM]
    ratio = whole / streaming
    print(f"install {whole:.1f} s, streaming the same bytes {streaming:.1f} s ({chosen.firmware})")
    print(f"ratio {ratio:.2f} (at most {LIMIT:.2f} is wanted)")
    return 0 if ratio <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
