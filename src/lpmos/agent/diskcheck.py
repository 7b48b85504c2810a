"""The approved disks, looked at before one of them is written: by an install and by a hand-over.

The rule: nothing here writes, and all checks have passed before anybody does. What a distribution's
installer would empty together with an approved disk counts like what the agent itself would.
"""

import re
from typing import NamedTuple

from lpmos.agent.commands import Commands
from lpmos.agent.disk import find_all, refuse_in_use, refuse_new_contents
from lpmos.agent.diskplan import Disk
from lpmos.agent.holders import assembled
from lpmos.agent.inventory.disks import NOT_DISKS, blkid_probe, partitions
from lpmos.agent.inventory.tree import Tree
from lpmos.agent.members import Standing, refuse_shared
from lpmos.agent.volumes import refuse_taken_names


class Checked(NamedTuple):
    """The present kernel names of the approved disks, in the plan's order.

    `holders` is what old systems left assembled on them, the topmost first.
    """

    names: tuple[str, ...]
    holders: tuple[str, ...]


def check_disks(
    commands: Commands, tree: Tree, plan: Disk, not_disks: re.Pattern[str] = NOT_DISKS
) -> Checked:
    """Find the disks of the plan, and go on only if each may be written whole.

    Raises:
        InstallError: one is not there, not as approved, in use, or not alone in what stands on it;
            or the name of a planned volume group is taken.
    """
    names = find_all(tree, plan, not_disks)
    holders = assembled(tree, names)
    refuse_in_use(tree, [*names, *holders])
    probe = blkid_probe(commands, tree)
    for name, wanted in zip(names, plan.disks, strict=True):
        refuse_new_contents(tree, name, wanted, probe)
    disks = [
        Standing(
            tuple(f"/dev/{part}" for part in (name, *partitions(tree, name))), wanted.overwrites
        )
        for name, wanted in zip(names, plan.disks, strict=True)
    ]
    assembled_of = [f"/dev/{holder}" for holder in holders]
    refuse_shared(commands, disks, assembled_of)
    devices = [*assembled_of, *(device for disk in disks for device in disk.devices)]
    refuse_taken_names(commands, plan.groups, devices)
    return Checked(names, holders)
