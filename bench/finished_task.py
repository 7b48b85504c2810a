"""What is kept of the finished task of a large server, by its fields, and as it stays.

    python -m bench.finished_task [--fields]

The task is made up, of the parts that real ones have: two sockets with their DIMMs, four disks,
four cards that know their switch, sixty PCI devices, the log as long as it may be, a word of each
stage. The document is what the store is given for it. What the fleet of `bench.fleet` leaves behind
is measured there. It ends with status 1 where a limit is missed.
"""

import sys
from collections.abc import Sequence
from datetime import timedelta

import msgspec
from bench import known, report

from lpmos.core.fitting import fitted
from lpmos.model.diskplan import GIB, RootDiskHints, plan_disk
from lpmos.model.inventory import Inventory, Neighbour, Nic, PciDevice
from lpmos.model.lifecycle import Status
from lpmos.model.task import LOG_LINES, Progress, StatusChange, Task
from lpmos.store import keys, records
from tests.support.builders import make_task

FOLDED_AT_MOST = 0.25
"""Of the document as it was: for this it is folded. All that is kept of a task is bench.fleet's."""
PCI_DEVICES = 60
CARDS = 4
DISKS = 4
FLAGS = "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat clflush mmx fxsr sse sse2 ss ht syscall nx rdtscp lm constant_tsc aes xsave avx f16c rdrand avx2 bmi1 bmi2 erms avx512f avx512dq sha_ni"  # noqa: E501
WAY = (
    Status.PENDING,
    Status.PENDING_APPROVAL,
    Status.APPROVED,
    Status.INSTALLING,
    Status.COMPLETED,
)
STAGES = ("preparing", "partitioning", "downloading", "installing", "configuring", "restarting")


def large_inventory() -> Inventory:
    """What the agent of a large server reports."""
    found = known.inventory(1)
    (disk,) = found.disks
    disks = tuple(
        msgspec.structs.replace(
            disk,
            device=f"/dev/nvme{number}n1",
            serial=f"S64GNE0R{number}04711",
            wwn=f"eui.36344730529047110025384{number:09d}",
            firmware="GDC5602Q",
            path=f"/dev/disk/by-path/pci-0000:{number + 65:x}:00.0-nvme-1",
            bus="nvme",
        )
        for number in range(DISKS)
    )
    cpu = msgspec.structs.replace(found.cpu, flags=tuple(FLAGS.split()))
    return msgspec.structs.replace(
        found, cpu=cpu, disks=disks, nics=tuple(map(_card, range(CARDS))), pci=_devices()
    )


def _card(number: int) -> Nic:
    switch = Neighbour(
        system=f"leaf-{number % 2 + 1}.r17.example.net",
        chassis=f"00:1c:73:0a:0b:{number:02x}",
        port=f"Ethernet{17 + number}",
        port_description="r17-u12",
        management_address="192.0.2.17",
        vlan=100,
    )
    return Nic(
        interface=f"eno{number + 1}",
        mac=f"52:54:00:00:01:{number:02x}",
        speed_mbps=25_000,
        driver="mlx5_core",
        carrier=True,
        booted=number == 0,
        pci_address=f"0000:{number + 16:x}:00.0",
        numa_node=number % 2,
        neighbour=switch,
    )


def _devices() -> tuple[PciDevice, ...]:
    return tuple(
        PciDevice(
            address=f"0000:{number:02x}:{number % 32:02x}.0",
            vendor_id="8086",
            device_id=f"{0x0998 + number:04x}",
            class_id="088000",
            driver="pcieport" if number % 3 else None,
            vendor="Intel Corporation",
            device=f"Ice Lake Memory Map/VT-d, function {number}",
        )
        for number in range(PCI_DEVICES)
    )


def finished_task() -> Task:
    """The task, completed."""
    inventory = large_inventory()
    begun = make_task().created_at
    steps = tuple(
        StatusChange(status=status, timestamp=begun + timedelta(seconds=90 * number), by="admin")
        for number, status in enumerate(WAY)
    )
    progress = tuple(
        Progress(
            step=stage,
            percent=16.0 * number,
            timestamp=begun + timedelta(seconds=100 * number),
            message=f"{stage}: debian-12, 431 MB",
            bytes_done=431_000_000,
            bytes_total=431_000_000,
            bytes_per_second=112_345_678.9,
        )
        for number, stage in enumerate(STAGES)
    )
    logs = tuple(
        f"2026-01-02T03:{number // 60:02d}:{number % 60:02d}.{number * 37 % 1000:03d}Z [INFO]"
        f" downloading: {number}.{number % 10} % of debian-12, {4.31 * number:.1f} of 431 MB"
        for number in range(LOG_LINES)
    )
    return make_task(
        status=Status.COMPLETED,
        status_history=steps,
        progress=progress,
        logs=logs,
        log_count=4 * LOG_LINES,
        hardware=inventory,
        tags={"rack": "r17", "owner": "platform"},
        reported_by="0" * 32,
        reported_at=begun,
        plan=plan_disk(inventory, "auto", RootDiskHints(overwrite=True), GIB),
        first_boot_sha256="0" * 64,
        handed_over_at=begun,
    )


def measure(*, fields: bool) -> list[report.Row]:
    """The rows, those of the fields too where they are asked for."""
    task = finished_task()
    key_bytes = len(keys.task(task.idc, task.sn))
    whole, kept = (len(each) + key_bytes for each in (records.encode(task), fitted(task)[1]))
    row = report.compared(
        "document of a large server's finished task",
        kept / 1e3,
        "kB",
        ("not folded", whole / 1e3),
        at_most=FOLDED_AT_MOST,
    )
    return [row, *(_fields(task) if fields else ())]


def _fields(task: Task) -> Sequence[report.Row]:
    sizes = {
        name: len(name) + 4 + len(msgspec.json.encode(getattr(task, name)))
        for name in task.__struct_fields__
    }
    largest = sorted(sizes, key=lambda name: -sizes[name])
    return [report.noted(f"field {name}", sizes[name] / 1e3, "kB") for name in largest]


def main() -> int:
    """Measure and report; 1 where a limit is missed."""
    parser = report.parser(__doc__)
    parser.add_argument("--fields", action="store_true", help="what each field takes")
    chosen = report.chosen(parser, {})
    return report.end(measure(fields=chosen.fields), chosen)


if __name__ == "__main__":
    sys.exit(main())
