"""The installed system's own word of its disks: mounts, swap, arrays, and what is to be unlocked.

The rule: everything is named by its UUID, which the agent fills in when it has made it, so that the
system starts whatever names the kernel gives its disks, and with one disk of an array missing.
`{{UUID:BLOCK}}` is the UUID of what stands on a block, `{{ARRAY_UUID:ID}}` of an array itself.

Sources: fstab(5), mdadm.conf(5), crypttab(5), initramfs-tools(7) for `RESUME`.
"""

from lpmos.model.diskplan import DiskPlan, Filesystem
from lpmos.model.installplan import PlannedFile

_ESP = "UUID={{ESP_UUID}} /boot/efi vfat umask=0077,nofail 0 1\n"
_AUTO = f"UUID={{{{ROOT_UUID}}}} / ext4 defaults,errors=remount-ro 0 1\n{_ESP}"
RUN_UNIT = "/etc/systemd/system/lpmos-arrays.service"
RUN_WANTED = "/etc/systemd/system/local-fs-pre.target.d/lpmos-arrays.conf"
_RUN = """\
[Unit]
Description=Start arrays that still lack a disk
Documentation=man:mdadm(8)
DefaultDependencies=no
After=systemd-udev-trigger.service
Conflicts=shutdown.target
Before=shutdown.target

[Service]
Type=oneshot
ExecStart=/bin/sh -c 'for turn in 1 2 3 4 5 6; do grep -q " inactive " /proc/mdstat || exit 0; \
sleep 5; done; exec /sbin/mdadm --incremental --run --scan'
"""
_RUN_WANTED = """\
[Unit]
Wants=lpmos-arrays.service
"""
"""mdadm's own timer is asked for by the first sight of a disk (Debian's 64-md-raid-assembly.rules).
What the initrd has seen already asks for none, so an array whose partner is gone would wait."""


def files(plan: DiskPlan) -> tuple[PlannedFile, ...]:
    """The files of a Debian system; none for an image that brings its own partitions."""
    if plan.whole_image:
        return ()
    if not plan.filesystems:
        return (PlannedFile(path="/etc/fstab", content=_AUTO),)
    written = [
        PlannedFile(path="/etc/fstab", content=_fstab(plan)),
        PlannedFile(path="/etc/initramfs-tools/conf.d/resume", content=_resume(plan)),
    ]
    if plan.arrays:
        written += [
            PlannedFile(path="/etc/mdadm/mdadm.conf", content=_arrays(plan)),
            PlannedFile(path=RUN_UNIT, content=_RUN),
            PlannedFile(path=RUN_WANTED, content=_RUN_WANTED),
        ]
    if plan.encrypted:
        lines = (f"{each.id} {_uuid(each.on)} none luks\n" for each in plan.encrypted)
        written.append(PlannedFile(path="/etc/crypttab", content="".join(lines)))
    return tuple(written)


def _fstab(plan: DiskPlan) -> str:
    """The firmware's partition stands after /boot, in which it is mounted."""
    lines: list[str] = []
    for each in plan.filesystems:
        if each.kind == "swap":
            lines.append(f"{_uuid(each.on)} none swap sw 0 0\n")
        elif each.mount is not None:
            lines.append(_mount(each, each.mount))
        if each.mount == "/boot":
            lines.append(_ESP)
    return "".join(lines)


def _mount(each: Filesystem, mount: str) -> str:
    """Only ext4 is looked through at boot: xfs and btrfs look after themselves."""
    options = "defaults,errors=remount-ro" if (each.kind, mount) == ("ext4", "/") else "defaults"
    turn = 0 if each.kind != "ext4" else 1 if mount == "/" else 2
    return f"{_uuid(each.on)} {mount} {each.kind} {options} 0 {turn}\n"


def _resume(plan: DiskPlan) -> str:
    """Without it the first boot waits for the swap of the machine that the image was made on."""
    swap = next((each.on for each in plan.filesystems if each.kind == "swap"), None)
    return f"RESUME={_uuid(swap) if swap else 'none'}\n"


def _arrays(plan: DiskPlan) -> str:
    lines = (
        f"ARRAY /dev/md/{each.id} metadata=1.2 UUID={{{{ARRAY_UUID:{each.id}}}}}\n"
        for each in plan.arrays
    )
    return "".join(("MAILADDR root\n", *lines))


def _uuid(block: str) -> str:
    return f"UUID={{{{UUID:{block}}}}}"
