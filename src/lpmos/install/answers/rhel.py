"""Anaconda (RHEL, Rocky, Alma, CentOS Stream, Fedora): a kickstart file.

The disks' commands are written by the first script, which knows their names, and included. The new
system's network are NetworkManager's keyfiles; the installer itself uses DHCP.

Sources: pykickstart's documentation of the commands and the versions that know them, Anaconda's
kickstart scripts (`%pre`, `%post --nochroot`, `%onerror`, `%traceback`), nm-settings-keyfile(5).
"""

import re
from collections.abc import Iterator

from lpmos.install import cloud_init
from lpmos.install.answers import blocks, scripts
from lpmos.install.answers.family import Answers, Values
from lpmos.install.answers.order import Order
from lpmos.install.answers.quoting import kickstart
from lpmos.install.kernel_line import kernel_arguments
from lpmos.install.network import networkmanager
from lpmos.install.steps import listed_packages
from lpmos.model.errors import FieldProblem, InvalidInput
from lpmos.model.installerlimits import is_before_rhel_8

DISKS_FILE = f"{scripts.PLACE}/disks.ks"
LOGS = tuple(f"/tmp/{name}.log" for name in ("anaconda", "packaging", "storage", "program"))  # noqa: S108 - Anaconda's own place
DOWNLOADS = "/tmp/dnf.librepo.log"  # noqa: S108 - Anaconda's own place
"""Grows with each package that comes, and has the URL of each."""
_REBUILDS = ("rhel", "rocky", "almalinux")
_PACKAGE = re.compile(r"[A-Za-z0-9@^][A-Za-z0-9.+_:~=/^-]*")

_STATE = """\
case $(cat /tmp/anaconda.log /tmp/packaging.log 2>/dev/null) in
*'running handleException'*) lpmos_failed "the installer gave up" /tmp/anaconda.log ;;
*'Queue started: Bootloader installation'* | *'Configuring installed system'*)
    echo installing 89 Anaconda configures the system
    ;;
*'Queue started: Payload installation'* | *'Running anaconda-yum'*)
    awk '/ packages selected/ {
            of = $0
            sub(/ packages selected.*/, "", of)
            sub(/.*[^0-9]/, "", of)
        }
        /Installed: [^ ]+ [0-9]/ { made++ }
        /Running anaconda-yum/ { yum = 1 }
        yum && !/retry/ && match($0, /[(][0-9]+\\/[0-9]+[)]/) {
            split(substr($0, RSTART + 1, RLENGTH - 2), counted, "/")
            made = counted[1]; of = counted[2]
        }
        END {
            if (!made || !of) print "downloading 30 packages"
            else print "installing", int(40 + 48 * made / of), "package", made "/" of
        }' /tmp/packaging.log
    ;;
*'Queue started: Early storage configuration'* | *'Creating disklabel'*)
    echo partitioning 10 Anaconda writes the disks
    ;;
esac
"""
"""What Anaconda logs in English whatever its language is: the names of its queues, and packages;
release 7 logs neither, but yum's counts. It writes the names of all queues before it starts one.
What it gave up for is there, too: release 7 runs no script of ours then, as it may ask nothing."""

_KICKSTART = """\
rm -f "$target/root/anaconda-ks.cfg" /run/install/ks.cfg
"""
"""The first was written before the last script, the second is copied to `/root` after it: both have
all secrets of the task."""

_KICKSTART_7 = """\
ln -s /run/install/anaconda-ks.cfg "$target/root/anaconda-ks.cfg"
"""
"""Release 7 writes the first after all scripts, and follows a link: into its own RAM, where it is
gone with the installer. What stays is a link to nothing."""

_OWN_NETWORK = """\
rm -f "$target"/etc/NetworkManager/system-connections/*
for card in "$target"/etc/sysconfig/network-scripts/ifcfg-*; do
    [ "${card##*/}" = ifcfg-lo ] || rm -f "$card"
done
"""

_LABELS = """\
if [ -x "$target/usr/sbin/restorecon" ]; then
    chroot "$target" /usr/sbin/restorecon -RF /etc /root /home /usr/local /var/lib || true
fi
"""

_MISSING_ESP = """\
if [ -e "$target/etc/fstab" ]; then
    sed -i '\\| /boot/efi  *vfat |s|umask=[^ ]*|&,nofail|' "$target/etc/fstab"
fi
"""
"""Anaconda takes options of its own for this mount point, and none that a command says."""

_STAYS = "while :; do sleep 3600; done\n"
"""Anaconda restarts the machine three minutes after its script: into what is half installed."""

_OTHER_ESPS = """\
for esp in "$target"/boot/efi[0-9]*; do
    cp -a "$target/boot/efi/." "$esp/"
done
"""


def values(order: Order) -> Values:
    """See `Answers.values`."""
    plain = {
        "hostname": order.task.hostname,
        "locale": order.locale,
        "timezone": order.timezone,
        "mac": order.task.mac,
        "mirror": order.urls.mirror,
        "kernel_arguments": kernel_arguments(order.task),
    }
    ready = {
        "packages": [_package(name) for name in listed_packages(order.task.setup, "rhel")],
        "recent": not _is_7(order),
        "disks_file": DISKS_FILE,
        "pre_script": _pre(order),
        "late_script": _late(order),
        "error_script": scripts.failure(LOGS[0]) + _STAYS,
    }
    return Values(plain, ready)


def _is_7(order: Order) -> bool:
    """Whether the release is 7, or older."""
    return is_before_rhel_8(order.manifest.os_type, order.manifest.os_version)


def disks(order: Order) -> Iterator[str]:
    """The commands of the disks, with `scripts.placeholder` for their names."""
    plan = order.disks
    names = [_name(number) for number in range(1, len(plan.disks) + 1)]
    yield f"ignoredisk --only-use={','.join(names)}"
    yield "zerombr"
    yield f"clearpart --all --drives={','.join(names)} --initlabel --disklabel=gpt"
    line = kernel_arguments(order.task)
    yield f'bootloader --location=mbr --boot-drive={names[0]} --append="{line}"'
    for number, name in enumerate(names, 1):
        for part in plan.partitions:
            block = f"p{part.number}"
            where = f"{_size(part.size_bytes)} --ondisk={name}"
            if part.role == "bios_boot":
                yield f"part biosboot --fstype=biosboot {where}"
            elif part.role == "esp":
                yield _esp(order, number, where)
            elif any(array.partition == part.number for array in plan.arrays):
                yield f"part raid.{number}{part.number:02d} {where}"
            else:
                yield f"part {_holds(order, block)} {where}"
    for array in plan.arrays:
        members = (f"raid.{number}{array.partition:02d}" for number in range(1, len(names) + 1))
        yield (
            f"raid {_holds(order, array.id)} --device={_array_name(array.id)}"
            f" --level={array.level.upper()} {' '.join(members)}"
        )
    for group in plan.groups:
        yield f"volgroup {group.id} pv.{group.id}"
        for volume in group.volumes:
            holds = _holds(order, f"{group.id}/{volume.name}")
            size = _size(volume.size_bytes)
            yield f"logvol {holds} --vgname={group.id} --name={volume.name} {size}"


def _name(number: int) -> str:
    """A disk as the commands name it: without `/dev/`."""
    return scripts.placeholder(number).removeprefix("/dev/")


def _array_name(array: str) -> str:
    """What an array is called: before release 10 Anaconda takes `md` off the name that it is given.

    What it then makes of `-root` is an array `root`, in which it does not find `-root`'s volumes.
    """
    name = array.removeprefix("md-")
    return f"fs-{name}" if name.startswith("md") else name


def _size(size_bytes: int | None) -> str:
    """Mebibytes, as the commands count."""
    if size_bytes is None:
        return "--size=1024 --grow"
    return f"--size={-(-size_bytes // blocks.MIB)}"


def _esp(order: Order, disk: int, where: str) -> str:
    if disk == 1:
        return f"part /boot/efi --fstype={'efi' if order.uefi else 'vfat'} {where}"
    return f'part /boot/efi{disk} --fstype=vfat --fsoptions="umask=0077,nofail" {where}'


def _holds(order: Order, block: str) -> str:
    """What stands on a block, as the words of the command that makes the block."""
    plan, lock = order.disks, ""
    if locked := blocks.encrypted(plan, block):
        lock = f" --encrypted --luks-version=luks2 --passphrase={kickstart(order.passphrase)}"
        block = locked.id
    if group := blocks.group(plan, block):
        return f"pv.{group.id}{lock}"
    found = blocks.filesystem(plan, block)
    mount, kind = (found.mount or found.kind, found.kind) if found else (block, "ext4")
    return f"{mount} --fstype={kind}{lock}"


def _package(name: str) -> str:
    """A line of `%packages`, which has no quotes.

    Raises:
        InvalidInput: it is no name of a package or group.
    """
    if not _PACKAGE.fullmatch(name):
        raise InvalidInput(FieldProblem("setup.packages", f"{name[:80]!r} is no package's name"))
    return name


def _pre(order: Order) -> str:
    commands = "\n".join(disks(order))
    places = f"{scripts.PLACE}/disks.txt"
    names = "".join(
        f"lpmos_disk{number}=${{lpmos_disk{number}#/dev/}}\n"
        for number in range(1, len(order.disks.disks) + 1)
    )
    edits = scripts.named_disks(order, f"{places} >{DISKS_FILE}").replace("s|/dev/", "s|")
    return (
        scripts.start(order, _STATE, LOGS, signs=(DOWNLOADS,))
        + scripts.find_disks(order)
        + names
        + f"cat >{places} <<'LPMOS_DISKS'\n{commands}\nLPMOS_DISKS\n"
        + edits
    )


def _late(order: Order) -> str:
    copies = order.uefi and order.disks.members
    return scripts.late(
        order,
        scripts.Ending(
            target='"${ANA_INSTALL_PATH:-/mnt/sysimage}"',
            before=_KICKSTART + (_KICKSTART_7 if _is_7(order) else "") + _OWN_NETWORK,
            files=(
                *networkmanager.files(
                    order.network, no_ipv6="ignore" if _is_7(order) else "disabled"
                ),
                *scripts.authorized_keys(order),
                *cloud_init.files(order.task),
            ),
            after=_MISSING_ESP + _LABELS + (_OTHER_ESPS if copies else ""),
        ),
    )


ANSWERS = Answers(
    family="rhel",
    template="installer.kickstart",
    file="kickstart.ks.j2",
    encode=kickstart,
    values=values,
    releases=(
        ("centos", "7"),
        *(
            (name, version)
            for name in ("rhel", "rocky", "almalinux")
            for version in ("8", "9", "10")
        ),
        ("centos-stream", "9"),
        ("centos-stream", "10"),
        ("fedora", "40"),
        ("fedora", "42"),
    ),
)
