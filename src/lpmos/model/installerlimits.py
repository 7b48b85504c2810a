"""What each distribution's installer can make: of which disk plans, and on which machines.

The rule: what an installer cannot make is refused by name and never made otherwise. This is the
only place that knows; it is asked when a task is created, of disks that are imagined, when its
machine has reported, and when the answer file is made.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from lpmos.model.diskplan import DiskPlan
from lpmos.model.errors import FieldProblem
from lpmos.model.inventory import Inventory

RHEL_8 = 8
"""Of RHEL and what is built from it; a Fedora is newer."""
MBR_BYTES = 2 * 1024**4
"""What a partition table of a BIOS reaches with sectors of 512 bytes."""


class _Limits(NamedTuple):
    """What one release's installer knows; `kinds` are the file systems that it does not.

    `unmounted`: it makes file systems without a mount point. `whole`: it takes one disk, whole.
    """

    levels: tuple[str, ...] = ("raid1", "raid5", "raid10")
    kinds: tuple[str, ...] = ()
    encryption: bool = True
    unmounted: bool = True
    whole: bool = False


_LIMITS: Mapping[str, _Limits] = MappingProxyType(
    {
        "debian": _Limits(levels=("raid1", "raid5"), encryption=False, unmounted=False),
        "ubuntu": _Limits(),
        "rhel": _Limits(kinds=("btrfs",), unmounted=False),
        "suse": _Limits(),
        "windows": _Limits(whole=True),
    }
)


def plan_problems(
    family: str, os_type: str, os_version: str, plan: DiskPlan, on: Inventory | None = None
) -> list[FieldProblem]:
    """Why an installer cannot make a disk plan; empty where it can.

    Args:
        family: whose installer; of one that is not known here nothing is said.
        os_type: of the release.
        os_version: of the release.
        plan: what shall be made.
        on: the machine; None where it is not known yet.
    """
    limits = _limits(family, os_type, os_version)
    if limits is None:
        return []
    found = [FieldProblem("disk_layout", text) for text in _of_plan(limits, plan)]
    if on is not None and limits.whole:
        found += _of_windows(plan, on)
    return found


def version_of(os_version: str) -> tuple[int, ...]:
    """The numbers of a release, `(24, 4)` of `24.04`; empty where it has a name alone."""
    return tuple(int(part) for part in os_version.split(".") if part.isdecimal())


def is_before_rhel_8(os_type: str, os_version: str) -> bool:
    """Whether a release of RHEL's family is like RHEL 7 or older: its installer, NetworkManager."""
    version = version_of(os_version)
    return os_type != "fedora" and bool(version) and version[0] < RHEL_8


def _limits(family: str, os_type: str, os_version: str) -> _Limits | None:
    """Of RHEL's family: no btrfs since 8, which Fedora goes on with, and LUKS2 only since 8."""
    limits = _LIMITS.get(family)
    if limits is not None and family == "rhel":
        if is_before_rhel_8(os_type, os_version):
            return limits._replace(kinds=(), encryption=False)
        if os_type == "fedora":
            return limits._replace(kinds=())
    return limits


def _of_plan(limits: _Limits, plan: DiskPlan) -> Iterator[str]:
    if limits.whole:
        if not plan.whole_image:
            yield "Windows makes partitions of its own, and the disk was planned for others"
        if plan.members:
            yield "Windows is installed on one disk"
        return
    if plan.erase != "signatures":
        yield f"erase={plan.erase} is done by the agent alone, not by an installer"
    if plan.whole_image:
        yield "an image that brings its own partitions is nothing for an installer"
    if plan.encrypted and not limits.encryption:
        yield "this installer does not make LUKS2 blocks of this form"
    for level in sorted({each.level for each in plan.arrays} - set(limits.levels)):
        yield f"this installer does not make {level}"
    for kind in sorted({each.kind for each in plan.made_filesystems} & set(limits.kinds)):
        yield f"this installer does not make {kind}"
    for each in plan.made_filesystems if not limits.unmounted else ():
        if each.kind != "swap" and each.mount is None:
            yield f"this installer makes no file system without a mount point ({each.on})"


def _of_windows(plan: DiskPlan, on: Inventory) -> Iterator[FieldProblem]:
    if on.boot_mode != "uefi" and plan.size_bytes > MBR_BYTES:
        text = "with BIOS Windows reaches 2 TiB of a disk: start the machine by UEFI"
        yield FieldProblem("root_disk", text)
    if on.secure_boot:
        text = "wimboot's loader is not signed: turn Secure Boot off while Windows is installed"
        yield FieldProblem("hardware.secure_boot", text)
