"""Old arrays and volume groups by what stands on their members, whether assembled or not.

The rule is that of `holders`, for what the kernel has not put together: what also stands on a disk
that nobody approved is not touched. A distribution's installer that takes an array or a group apart
would empty its other disks too.

Sources: mdadm(8) for `--examine --scan --verbose`, pvs(8).
"""

from collections.abc import Iterator, Sequence

from lpmos.agent.commands import Commands
from lpmos.agent.errors import InstallError

MEMBERS = frozenset({"linux_raid_member", "isw_raid_member", "ddf_raid_member", "LVM2_member"})
"""What blkid calls a block that may be one of several."""


def refuse_shared(commands: Commands, devices: Sequence[str]) -> None:
    """Go on only if each array and volume group on these devices stands on no other.

    Args:
        commands: runs mdadm and LVM.
        devices: all that will be overwritten: disks, their partitions, what is assembled of them.

    Raises:
        InstallError: one stands on another device as well; the text names both.
    """
    examined = commands.ask(["mdadm", "--examine", "--scan", "--verbose"]).text
    listed = commands.ask(["lvm", "pvs", "--noheadings", "--options", "pv_name,vg_uuid,vg_name"])
    for what, members in (*arrays(examined), *groups(listed.text)):
        others = sorted(set(members).difference(devices))
        ours = sorted(set(members).intersection(devices))
        if ours and others:
            raise InstallError(
                f"{ours[0]} stands in {what} together with {', '.join(others)}, which the plan does"
                " not name: nothing was written",
                hint="Name its other disks in the task too, or erase them first (a job with"
                " disk_erase) or take them out; then create the task again.",
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
    for line in listed.splitlines():
        words = line.split()
        if len(words) == 3 and words[0].startswith("/dev/"):  # one of no group has no more words
            device, uuid, name = words
            found.setdefault(uuid, []).append(device)
            names[uuid] = name
    for uuid, devices in found.items():
        yield f"volume group {names[uuid]}", tuple(devices)
