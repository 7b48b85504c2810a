"""What each step of a job does on a made-up machine: it takes a moment, and passes.

A machine whose serial number has `BAD-DISK` or `BAD-MEMORY` in it has that fault.
"""

from collections.abc import Callable, Mapping
from typing import NoReturn

from lpmos.agent.errors import InstallError
from lpmos.agent.inventory import Inventory
from lpmos.agent.joborder import PlannedStep, Rescue
from lpmos.agent.jobs import Bench, Outcome, Step
from lpmos.agent.realjobs import inventory_outcome

MB = 1_000_000
MOMENT_S = 0.2
MOMENTS = 5
MINUTE_S = 60.0
_MEMORY_BYTES = 64 << 30


def steps(sn: str, take_inventory: Callable[[], Inventory]) -> Mapping[str, Step]:
    """The steps by name, of the machine with this serial number."""

    def memory_test(_: PlannedStep, bench: Bench) -> Outcome:
        _pass_time(bench, _MEMORY_BYTES)
        if "BAD-MEMORY" in sn:
            _fail("1 MiB of memory had wrong words (simulated)", "at 0x2a0008: bit 5 was 0")
        return Outcome(f"{_MEMORY_BYTES / MB:.0f} MB, simulated")

    def disk_test(planned: PlannedStep, bench: Bench) -> Outcome:
        _pass_time(bench, sum(disk.size_bytes for disk in planned.disks))
        if "BAD-DISK" in sn:
            disk = planned.disks[0]
            line = f"{disk.device}: reading at offset 4096 (sector 8): Input/output error"
            _fail(f"{disk.device} (serial {disk.serial}) has 1 bad block", line)
        devices = tuple(f"{disk.device}: simulated" for disk in planned.disks)
        return Outcome(f"{len(devices)} disks read, simulated", devices)

    def disk_erase(planned: PlannedStep, bench: Bench) -> Outcome:
        _pass_time(bench, len(planned.disks))
        return Outcome(f"{len(planned.disks)} disks erased, simulated")

    def rescue(planned: PlannedStep, bench: Bench) -> Outcome:
        minutes = Rescue(*planned.asked).minutes
        waited_s = 0.0
        while minutes is None or waited_s < minutes * MINUTE_S:
            bench.tell(0.0, f"up for {waited_s / MINUTE_S:.0f} min (simulated)")
            bench.job.stop.wait(bench.job.pace.asked(1.0))
            waited_s += 1.0
        return Outcome(f"was up for {minutes} min, simulated")

    return {
        "memory_test": memory_test,
        "disk_test": disk_test,
        "disk_erase": disk_erase,
        "inventory": lambda _, __: inventory_outcome(take_inventory()),
        "rescue": rescue,
    }


def _pass_time(bench: Bench, total: int) -> None:
    for moment in range(MOMENTS):
        share = moment / MOMENTS
        bench.tell(share, "simulated", round(total * share), total)
        bench.job.stop.wait(bench.job.pace.asked(MOMENT_S))


def _fail(message: str, evidence: str) -> NoReturn:
    raise InstallError(message, output=evidence, hint="It is a simulation: nothing is broken.")
