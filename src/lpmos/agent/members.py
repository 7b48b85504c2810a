"""Old arrays and volume groups by what stands on their members, whether assembled or not.

The rule is that of `holders`, for what the kernel has not put together: what also stands on a disk
that nobody approved is not touched. A distribution's installer that takes an array or a group apart
would empty its other disks too. A member of which nothing can be read counts as shared.

Sources: mdadm(8) for `--examine --scan --verbose`, pvs(8).
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from lpmos.agent.commands import Commands
from lpmos.agent.errors import InstallError

_RAID, _LVM = "linux_raid_member", "LVM2_member"
_MEMBERS = frozenset({_RAID, "isw_raid_member", "ddf_raid_member", _LVM})
"""What blkid calls a block that may be one of several."""
_EXAMINE = ("mdadm", "--examine", "--scan", "--verbose")
_LIST = ("lvm", "pvs", "--noheadings", "--options", "pv_name,vg_uuid,vg_name")


class Standing(NamedTuple):
    """An approved disk: its device and its partitions, and what blkid calls the contents."""

    devices: tuple[str, ...]
    contents: tuple[str, ...]


def refuse_shared(
    commands: Commands, disks: Sequence[Standing], assembled: Sequence[str] = ()
) -> None:
    """Go on only if each array and volume group on these disks is known, and stands on no other.

    Args:
        commands: runs mdadm and LVM, where a disk holds a member of something.
        disks: all that will be overwritten.
        assembled: the devices of what the kernel has assembled of them.

    Raises:
        InstallError: one stands on another device as well, and the text names both; or a member
            is there of which neither program says what it belongs to.
    """
    if not any(_MEMBERS.intersection(disk.contents) for disk in disks):
        return
    examined, listed = (commands.ask(argv).text for argv in (_EXAMINE, _LIST))
    devices = {*assembled, *(device for disk in disks for device in disk.devices)}
    _refuse_others((*arrays(examined), *groups(listed)), devices)
    in_arrays = {device for _, members in arrays(examined) for device in members}
    for disk in disks:
        _refuse_unread(disk, _RAID, in_arrays, _EXAMINE, examined)
        _refuse_unread(disk, _LVM, set(volumes(listed)), _LIST, listed)


def _refuse_others(found: Sequence[tuple[str, tuple[str, ...]]], devices: set[str]) -> None:
    for what, members in found:
        others = sorted(set(members).difference(devices))
        ours = sorted(set(members).intersection(devices))
        if ours and others:
            raise InstallError(
                f"{ours[0]} stands in {what} together with {', '.join(others)}, which the plan does"
                " not name: nothing was written",
                hint="Name its other disks in the task too, or erase them first (a job with"
                " disk_erase) or take them out; then create the task again.",
            )


def _refuse_unread(
    disk: Standing, kind: str, read: set[str], argv: Sequence[str], said: str
) -> None:
    if kind in disk.contents and not read.intersection(disk.devices):
        raise InstallError(
            f"{disk.devices[0]} holds {kind}, and what it is a member of could not be read: nothing"
            " was written",
            command=" ".join(argv),
            output=said,
            hint="Look at the disk, or erase it (a job with disk_erase); then create the task"
            " again.",
        )


def arrays(examined: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each array of mdadm's words, with the devices of its members."""
    uuid = ""
    for line in examined.splitlines():
        words = dict(word.partition("=")[::2] for word in line.split())
        uuid = words.get("UUID", uuid)
        if devices := words.get("devices"):
            yield f"array {uuid}", tuple(devices.split(","))


def groups(listed: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each volume group of LVM's listing, with the devices that are there; by id, not by name."""
    found: dict[str, list[str]] = {}
    names: dict[str, str] = {}
    for device, *group in _rows(listed):
        if group:
            uuid, name = group
            found.setdefault(uuid, []).append(device)
            names[uuid] = name
    for uuid, devices in found.items():
        yield f"volume group {names[uuid]}", tuple(devices)


def volumes(listed: str) -> Iterator[str]:
    """The device of each physical volume of LVM's listing, in a group or in none."""
    return (row[0] for row in _rows(listed))


def _rows(listed: str) -> Iterator[list[str]]:
    """The words of each physical volume: its device alone where it is in no group."""
    rows = map(str.split, listed.splitlines())
    return (row for row in rows if len(row) in (1, 3) and row[0].startswith("/dev/"))
