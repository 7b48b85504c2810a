"""The step that makes disks blank: as an install does before it partitions, and no more."""

import re

from lpmos.agent.commands import Commands
from lpmos.agent.disktest import find_disks, found_again, make_free
from lpmos.agent.inventory.disks import NOT_DISKS
from lpmos.agent.inventory.tree import Tree
from lpmos.agent.joborder import DiskErase, PlannedStep
from lpmos.agent.jobs import BEGUN, Bench, Outcome
from lpmos.agent.layout import DiskWriter


def run(
    planned: PlannedStep,
    bench: Bench,
    tree: Tree,
    commands: Commands,
    not_disks: re.Pattern[str] = NOT_DISKS,
) -> Outcome:
    """Erase the disks of a step, one after the other.

    Raises:
        InstallError: one is not what was approved, is in use, or cannot erase so.
        Stopped: the run was told to end.
    """
    level = DiskErase(*planned.asked).level
    disks = find_disks(tree, planned.disks, True, not_disks)
    make_free(tree, commands, disks)
    for disk in disks:
        DiskWriter(commands, tree, bench.job.stop, disk.name).check_erase(level)
    for number, each in enumerate(disks):
        disk = found_again(tree, each, True, not_disks)  # those before may have taken hours
        make_free(tree, commands, [disk])
        bench.tell(number / len(disks) or BEGUN, f"{disk.title}, {level}")
        writer = DiskWriter(commands, tree, bench.job.stop, disk.name)
        with bench.ticking(f"{disk.title}, {level}", writer.erase_limit_s(level)):
            writer.clear(level)
    count = f"{len(disks)} disk{'s' if len(disks) > 1 else ''}"
    lines = tuple(
        f"{disk.title}: held {', '.join(disk.member.overwrites) or 'nothing'}" for disk in disks
    )
    return Outcome(f"{count} erased ({level})", lines)
