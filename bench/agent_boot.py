"""How little memory a machine needs to boot the agent and report, and how soon it has reported.

    python -m bench.agent_boot

A virtual server with 384 MiB for each firmware, one after the other, alone on the machine: power on
with a task that waits, netboot, and the agent's report. Nothing is approved. The times are those of
the lines on the serial console; the part that is ours begins when the kernel starts `/init`, and
within it the agent itself begins when the machine has its address.
"""

import asyncio
import os
import sys
import tempfile
from pathlib import Path

from bench import report
from bench.console_times import between, until
from rich.console import Console

from lpmos.lab.acceleration import Acceleration, choose_acceleration
from lpmos.lab.errors import LabError
from lpmos.lab.machine import BlankDisk, Firmware, MachineSpec, VirtualMachine
from lpmos.lab.stage import build_missing_images, rack_stage
from lpmos.model.lifecycle import Status
from tests.support import polling

MEMORY_MIB = 384
BUILD = Path(__file__).resolve().parents[1] / "build"
READY_TIMEOUT_S = 60.0
REPORT_TIMEOUT_S = 600.0
FIRMWARES: tuple[Firmware, ...] = ("bios", "uefi")
INIT = r"lpmos: boot agent "
ADDRESS = r"lpmos: address "
REPORTED = r"Waiting for approval of task "


def server(firmware: Firmware) -> MachineSpec:
    """A server with as little memory as the limit says."""
    return MachineSpec(
        name=f"bench-{firmware}",
        sn=f"BENCH-{firmware}".upper(),
        mac=f"52:54:00:78:04:{FIRMWARES.index(firmware) + 1:02x}",
        firmware=firmware,
        disks=(BlankDisk(serial="ROOT"),),
        memory_mib=MEMORY_MIB,
    )


async def measure(
    firmware: Firmware, directory: Path, images_dir: Path, accel: Acceleration
) -> list[report.Row]:
    """The rows of one firmware."""
    place = rack_stage([server(firmware)], directory=directory, images_dir=images_dir, accel=accel)
    async with place as stage:
        ((machine, task),) = stage.servers
        assert isinstance(machine, VirtualMachine)
        api = stage.site.api
        task_id = (await api.create_task(task)).task_id

        async def ready() -> bool:
            return (await api.task(task_id)).status is Status.READY

        await polling.until(ready, READY_TIMEOUT_S)
        await machine.power_on()
        try:
            await machine.console.wait_for(REPORTED, REPORT_TIMEOUT_S)
        except LabError as error:
            sys.exit(f"{firmware} with {MEMORY_MIB} MiB did not report: {error}")
        await machine.power_off()
        log = machine.console.log
    return [
        report.limited(
            f"memory of a machine that boots and reports ({firmware})", MEMORY_MIB, "MiB",
            at_most=MEMORY_MIB, note=accel.name,
        ),
        report.noted(f"power on to first report ({firmware})", until(log, REPORTED), "s"),
        report.noted(
            f"/init to first report ({firmware})", between(log, INIT, REPORTED), "s",
            note=f"its agent {between(log, ADDRESS, REPORTED):.1f} s",
        ),
    ]  # fmt: skip


def main() -> int:
    """Boot, wait for the report, say how long it took; 1 where a machine did not report."""
    parser = report.parser(__doc__)
    parser.add_argument("--firmware", nargs="*", choices=FIRMWARES, default=FIRMWARES)
    parser.add_argument("--images-dir", type=Path, default=BUILD / "images")
    chosen = report.chosen(parser, {"firmware": FIRMWARES[:1]})
    build_missing_images(
        chosen.images_dir, BUILD / "cache", Console(stderr=True), os.environ.get("LPMOS_MIRROR")
    )
    accel = asyncio.run(choose_acceleration())
    rows: list[report.Row] = []
    for firmware in chosen.firmware:
        with tempfile.TemporaryDirectory() as name:
            rows += asyncio.run(measure(firmware, Path(name), chosen.images_dir, accel))
    return report.end(rows, chosen)


if __name__ == "__main__":
    sys.exit(main())
