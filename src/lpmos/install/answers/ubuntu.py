"""Ubuntu's server installer (subiquity): autoinstall in a cloud-config, with curtin's disk actions.

The first script finds the disks and writes their names into the answer file, which the installer
reads again after it. The installer keeps the network that it started with, as what the answer file
named would be its own too; the last script writes the task's into the new system.

Sources: Ubuntu's autoinstall reference, curtin's storage actions and apt configuration,
netplan-yaml(5), systemd-run(1); subiquity's source for what it leaves in the new system.
"""

from collections.abc import Iterator
from typing import Any

from lpmos.install import cloud_init
from lpmos.install.answers import blocks, debian, scripts
from lpmos.install.answers.family import Answers, Values
from lpmos.install.answers.order import Order
from lpmos.install.answers.quoting import yaml, yaml_block, yaml_flow
from lpmos.install.network import netplan
from lpmos.model.diskplan import DiskPlan, Encrypted, Filesystem, Partition, VolumeGroup

LOGS = (
    "/var/log/installer/subiquity-server-debug.log",
    "/var/log/installer/curtin-install.log",
    "/var/log/installer/curtin-install/*.log",
)
SIGNS = ("/var/log/installer/subiquity-server-debug.log.*",)
"""What the first of them is a link to: that link's own size never changes."""
REST = -1
"""The installer's word for all that is left."""
SCRIPT_INDENT = 6

_STATE = """\
step=$(cat /var/log/installer/curtin-install.log \\
    /var/log/installer/subiquity-server-debug.log 2>/dev/null |
    grep -o 'start: [^ :]*\\(/stage-[a-z]*\\|/postinstall\\(/install_\\|/run_unatt\\)*\\)' |
    tail -n 1)
case $step in
*/stage-partitioning) echo partitioning 10 curtin writes the disks ;;
*/stage-extract) echo downloading 30 curtin copies the system ;;
*/stage-curthooks) echo installing 65 curtin installs the kernel and the boot loader ;;
*/postinstall) echo installing 80 the installer configures the system ;;
*/install_) echo installing 85 the installer installs packages ;;
*/run_unatt) echo installing 87 the installer installs security updates ;;
esac
"""


_ASSEMBLED = "mdadm --assemble --scan || true\nvgchange -ay || true\n"
"""curtin does so before it clears a disk, and clears all that an old array or group stands on."""

_FORGET_NETWORK = """\
rm -f "$target"/etc/netplan/*.yaml
rm -f "$target"/etc/cloud/cloud.cfg.d/50-curtin-networking.cfg
rm -f "$target"/etc/cloud/cloud.cfg.d/90-installer-network.cfg
"""
"""The installer's own network: to 23.04 and from 25.10 on a netplan file, between them (24.04 too)
one of cloud-init, which makes a netplan file of it at the first boot; the first medium of 20.04 has
curtin's as well."""


def values(order: Order) -> Values:
    """See `Answers.values`."""
    early = (
        scripts.start(
            order,
            _STATE,
            LOGS,
            signs=SIGNS,
            background="systemd-run --collect --unit=lpmos-watch",
        )
        + _ASSEMBLED
        + scripts.find_disks(order)
        + scripts.named_disks(order, "-i /autoinstall.yaml")
    )
    short = order.task.hostname.partition(".")[0]
    plain = {
        "hostname": short,
        "fqdn": order.task.hostname,
        "locale": order.locale,
        "timezone": order.timezone,
        "mirror": order.urls.mirror,
        # For templates of one's own: without a default route the installer has its medium alone.
        "packages": order.task.setup.packages,
    }
    ready = {
        "storage": [yaml_flow(action) for action in _actions(order)],
        "early_script": yaml_block(early, SCRIPT_INDENT),
        "late_script": yaml_block(_late(order), SCRIPT_INDENT),
        "error_script": yaml_block(_failure(), SCRIPT_INDENT),
    }
    return Values(plain, ready)


def _late(order: Order) -> str:
    before = _FORGET_NETWORK
    if order.task.setup.cloud_init:
        # What the installer left for cloud-init would go before the task's own user-data.
        before += 'rm -f "$target"/etc/cloud/cloud.cfg.d/99-installer.cfg\n'
    run = "curtin in-target --target=/target --"
    return scripts.late(
        order,
        scripts.Ending(
            target="/target",
            run=run,
            files=(*debian.identity(order), cloud_init.NO_NETWORK, *netplan.files(order.network)),
            before=before,
            after=debian.grub_update(order, run),
        ),
    )


def _failure() -> str:
    """The end of what the installer's programs said, and the step that failed with its reason.

    The end of the installer's own log is this script's start and what the network did meanwhile.
    Its journal's name ends with its process, as the log does that the link names. Of a long command
    the end says which it was.
    """
    own = "/var/log/installer/subiquity-server-debug.log"
    return (
        "{\n"
        "    tail -n 8 /var/log/installer/curtin-install.log\n"
        f"    own=$(readlink {own})\n"
        '    journalctl -q -b -o cat -n 4 -t "subiquity_log.${own##*.}"\n'
        f"    sed -n 's/^.* finish: \\([^ ]*\\): FAIL: /\\1: /p' {own} | tail -n 1\n"
        "} 2>/dev/null | sed 's/^\\(.\\{90\\}\\).*\\(.\\{90\\}\\)$/\\1 ... \\2/'"
        f" >{scripts.PLACE}/installer.log\n" + scripts.failure(f"{scripts.PLACE}/installer.log")
    )


def _actions(order: Order) -> Iterator[dict[str, Any]]:
    """curtin's actions, each after those that it names."""
    plan = order.disks
    for number in range(1, len(plan.disks) + 1):
        yield {
            "type": "disk",
            "id": f"disk{number}",
            "path": scripts.placeholder(number),
            "ptable": "gpt",
            "wipe": "superblock-recursive",
            "preserve": False,
            "grub_device": not order.uefi,
        }
        for part in plan.partitions:
            yield _partition(order, number, part)
    for array in plan.arrays:
        members = [_part(number, array.partition) for number in range(1, len(plan.disks) + 1)]
        yield {
            "type": "raid",
            "id": array.id,
            "name": array.id,
            "raidlevel": array.level,
            "devices": members,
            "preserve": False,
        }
    for encrypted in plan.encrypted:
        yield _encrypted(order, encrypted)
    for group in plan.groups:
        yield from _group(group)
    for number in range(1, len(plan.disks) + 1):
        if esp := blocks.partition_of(plan, "esp"):
            volume = _part(number, esp.number)
            yield {"type": "format", "id": f"esp{number}", "volume": volume, "fstype": "fat32"}
    yield from _mounts(plan)


def _partition(order: Order, disk: int, part: Partition) -> dict[str, Any]:
    action: dict[str, Any] = {
        "type": "partition",
        "id": _part(disk, part.number),
        "device": f"disk{disk}",
        "number": part.number,
        "size": REST if part.size_bytes is None else part.size_bytes,
        "wipe": "superblock",
        "preserve": False,
    }
    if part.role == "bios_boot":
        action["flag"] = "bios_grub"
    if part.role == "esp":
        action |= {"flag": "boot", "grub_device": order.uefi}
    return action


def _encrypted(order: Order, encrypted: Encrypted) -> dict[str, Any]:
    return {
        "type": "dm_crypt",
        "id": encrypted.id,
        "dm_name": encrypted.id,
        "volume": _id(encrypted.on),
        "key": order.passphrase,
        "preserve": False,
    }


def _group(group: VolumeGroup) -> Iterator[dict[str, Any]]:
    yield {
        "type": "lvm_volgroup",
        "id": group.id,
        "name": group.id,
        "devices": [_id(group.on)],
        "preserve": False,
    }
    for volume in group.volumes:
        yield {
            "type": "lvm_partition",
            "id": _id(f"{group.id}/{volume.name}"),
            "name": volume.name,
            "volgroup": group.id,
            "size": REST if volume.size_bytes is None else f"{volume.size_bytes}B",
            "wipe": "superblock",
            "preserve": False,
        }


def _mounts(plan: DiskPlan) -> Iterator[dict[str, Any]]:
    """File systems on their blocks; parents are mounted before what is in them."""
    for found in plan.made_filesystems:
        yield _format(found)
    mounts = sorted(
        (found for found in plan.made_filesystems if found.mount),
        key=lambda found: (found.mount or "").count("/") if found.mount != "/" else 0,
    )
    for found in mounts:
        name = f"fs-{_id(found.on)}"
        yield {"type": "mount", "id": f"mount-{name}", "device": name, "path": found.mount}
    yield {"type": "mount", "id": "mount-esp", "device": "esp1", "path": "/boot/efi"}
    for found in plan.made_filesystems:
        if found.kind == "swap":
            name = f"fs-{_id(found.on)}"
            yield {"type": "mount", "id": f"mount-{name}", "device": name, "path": ""}


def _format(found: Filesystem) -> dict[str, Any]:
    return {
        "type": "format",
        "id": f"fs-{_id(found.on)}",
        "volume": _id(found.on),
        "fstype": found.kind,
        "preserve": False,
    }


def _id(block: str) -> str:
    """curtin's name of a plan's block; a partition alone is the first disk's."""
    if block.startswith("p") and block[1:].isdecimal():
        return _part(1, int(block[1:]))
    return block.replace("/", "-")


def _part(disk: int, number: int) -> str:
    return f"disk{disk}-p{number}"


ANSWERS = Answers(
    family="ubuntu",
    template="installer.autoinstall",
    file="autoinstall.yaml.j2",
    encode=yaml,
    values=values,
    releases=(("ubuntu", "20.04"), ("ubuntu", "22.04"), ("ubuntu", "24.04"), ("ubuntu", "26.04")),
)
