"""The disks that are written, found again by their identity and checked; nothing here writes.

The rule that keeps data safe: `find_all` must name exactly the disks that were approved, and
nothing of any of them may be in use, before one is written. Device names may have moved since the
report.
"""

import re
from collections.abc import Sequence

from lpmos.agent.diskplan import Disk, Member
from lpmos.agent.errors import InstallError
from lpmos.agent.inventory.disks import (
    NOT_DISKS,
    Probe,
    partitions,
    read_contents,
    read_disks,
)
from lpmos.agent.inventory.tree import Tree


def find(
    tree: Tree,
    wanted: Member,
    not_disks: re.Pattern[str] = NOT_DISKS,
    *,
    for_reading: bool = False,
) -> str:
    """The present kernel name (`sda`) of the approved disk; it is written, unless `for_reading`.

    Its serial decides, else its WWN; the other, size and model must be those that were approved as
    well. Where neither decides (a disk without them, a controller that gives all the same, two
    paths to one disk), it must be the only one of its size and model: the name alone decides
    nothing, because the kernel gives names anew at every boot. To read, any path to it will do.

    Raises:
        InstallError: it is not there, not certain, or is no longer what was approved.
    """
    same = read_disks(tree, lambda _: {}, not_disks)
    identified = False
    for key, value in (("serial", wanted.serial), ("wwn", wanted.wwn)):
        if value is None or identified:
            continue
        same = [disk for disk in same if disk[key] == value]
        if not same:
            raise _changed(wanted, f"no disk has the {key} {value}")
        identified = len(same) == 1
    fitting = [disk for disk in same if not _differences(disk, wanted)]
    if len(fitting) > 1 and not (for_reading and wanted.wwn):
        raise _uncertain(wanted, [str(disk["device"]) for disk in fitting])
    if not fitting:
        alike = same if identified else [d for d in same if d["device"] == wanted.device]
        raise _changed(
            wanted,
            ", ".join(_differences(alike[0], wanted))
            if alike
            else f"no disk has the device {wanted.device}, nor its size and model",
        )
    if fitting[0]["read_only"] and not for_reading:
        raise _changed(wanted, "it is read-only")
    return str(fitting[0]["device"]).removeprefix("/dev/")


def find_all(tree: Tree, wanted: Disk, not_disks: re.Pattern[str] = NOT_DISKS) -> tuple[str, ...]:
    """The present kernel names of all approved disks, in the plan's order.

    Raises:
        InstallError: one is not there or not certain, or two of the plan are one.
    """
    names = tuple(find(tree, member, not_disks) for member in wanted.disks)
    for number, name in enumerate(names):
        if name in names[:number]:
            raise _uncertain(wanted.disks[number], [f"/dev/{name}"])
    return names


def refuse_in_use(tree: Tree, blocks: Sequence[str]) -> None:
    """Go on only if none of these blocks, nor a partition of one, is mounted or swapped on.

    Args:
        tree: of the running kernel.
        blocks: kernel names of disks, or of what is built on them.

    Raises:
        InstallError: one is; the text names where.
    """
    paths = {name: f"sys/block/{name}" for name in blocks}
    paths |= {part: f"{paths[name]}/{part}" for name in blocks for part in partitions(tree, name)}
    mounted = _mounted(tree)
    swaps = [line.split()[0] for line in (tree.text("proc/swaps") or "").splitlines()[1:]]
    for block, path in paths.items():
        where = mounted.get(tree.text(f"{path}/dev") or "") or mounted.get(f"/dev/{block}")
        swap = "is swap space in use" if f"/dev/{block}" in swaps else None
        if use := f"is mounted at {where}" if where else swap:
            raise InstallError(
                f"/dev/{block} {use}: nothing was written",
                hint="Release the disk (unmount it, end the swapping), then create the task again.",
            )


def _mounted(tree: Tree) -> dict[str, str]:
    """Where devices are mounted, by major:minor and by source.

    Both count: btrfs shows a device number of its own (proc_pid_mountinfo(5), fields 3 and 10).
    """
    found = {}
    for line in (tree.text("proc/self/mountinfo") or "").splitlines():
        fields = line.split()
        if len(fields) > 4:
            found[fields[2]] = fields[4]
            source = fields[fields.index("-") + 2 :] if "-" in fields else []
            found |= {source[0]: fields[4]} if source else {}
    return found


def refuse_new_contents(tree: Tree, name: str, wanted: Member, probe: Probe) -> None:
    """Go on only if nothing stands on the disk that was not seen when it was approved.

    Raises:
        InstallError: something was written to it since.
    """
    new = [kind for kind in read_contents(tree, name, probe) if kind not in wanted.overwrites]
    if new:
        raise _changed(wanted, f"it now holds {', '.join(new)}")


def _differences(disk: dict[str, object], wanted: Member) -> list[str]:
    """In what a disk is not the approved one, in words."""
    return [
        f"its {key} is now {disk[key]}, approved was {approved}"
        for key, approved in (
            ("size_bytes", wanted.size_bytes),
            ("model", wanted.model),
            ("wwn", wanted.wwn),
        )
        if approved is not None and disk[key] != approved
    ]


def _uncertain(wanted: Member, devices: list[str]) -> InstallError:
    return InstallError(
        f"{wanted.device} is not certain to be the disk that was approved: {', '.join(devices)}"
        " have its size and model, and no serial or WWN tells them apart; nothing was written",
        hint="Create the task again and name in root_disk a disk that has a serial or WWN of its"
        " own; or remove the other disks of this size and model, or give the disks serials.",
    )


def _changed(wanted: Member, what: str) -> InstallError:
    return InstallError(
        f"{wanted.device} is not the disk that was approved: {what}; nothing was written",
        hint="The hardware changed since its report. Create a new task and approve what it shows.",
    )
