"""Debian's installer: a preseed file, with partman's recipes for the disks.

The network of the new system is systemd-networkd's, as for images; the installer itself uses DHCP.
partman counts in millions of bytes, so its partitions may differ from the plan's by less than one,
and it numbers arrays from `md0`.

Sources: Debian's installation guide, appendix B (preseeding); debian-installer's
doc/devel/partman-auto-recipe.txt and partman-auto-raid-recipe.txt; `bin/partman`, `lib/base.sh`
and `init.d` of partman-base 226, partman-md 106 and partman-lvm 146; main-menu's words in syslog.
"""

from collections.abc import Iterator
from urllib.parse import urlsplit

from lpmos.install import cloud_init
from lpmos.install.answers import blocks, scripts
from lpmos.install.answers.family import Answers, Values
from lpmos.install.answers.order import Order
from lpmos.install.answers.quoting import preseed, preseed_script
from lpmos.install.kernel_line import added_defaults
from lpmos.install.network import networkd
from lpmos.install.steps import listed_packages
from lpmos.model.diskplan import DiskPlan, Filesystem
from lpmos.model.installplan import PlannedFile

LEVELS = {"raid1": "1", "raid5": "5"}
SUITES = {10: "buster", 11: "bullseye", 12: "bookworm", 13: "trixie", 14: "forky"}
FIRST_WITH_RESOLVED = 12
"""The release in which systemd-resolved became a package of its own."""

NO_DISK = "/dev/lpmos-not-found"
"""What partman and GRUB write to until the planned disks are found: it never falls to a default."""

LOGS = ("/var/log/syslog",)
MEGABYTE = 1_000_000
REST = -1
"""partman's word for no upper limit."""

_STATE = """\
log=/var/log/syslog
item=$(sed -n "s/.*Menu item '\\([a-z-]*\\)' selected.*/\\1/p" "$log" | tail -n 1)
if grep -q "Menu item '$item' failed" "$log"; then
    lpmos_failed "the step $item of Debian's installer failed" "$log"
    return
fi
steps=$(grep -c '\\(debootstrap\\|in-target\\): \\(Unpacking\\|Setting up\\)' "$log")
percent=$((20 + (steps < 612 ? steps / 9 : 68)))
case $item in
partman-base) echo "partitioning 5 $item" ;;
bootstrap-base) echo "downloading $percent $item: $steps steps of packages" ;;
apt-setup-udeb | pkgsel) echo "installing $percent $item: $steps steps of packages" ;;
grub-installer | finish-install) echo "installing 89 $item" ;;
esac
"""
"""Debian 13 with what is standard unpacks and sets up 309 packages before its boot loader."""

_MOUNTS = """\
[ -e "$target/proc/1" ] || mount -t proc proc "$target/proc"
[ -e "$target/sys/block" ] || mount -t sysfs sysfs "$target/sys"
[ -c "$target/dev/null" ] || mount -o bind /dev "$target/dev"
"""

_NETWORK = """\
printf 'auto lo\\niface lo inet loopback\\n' >"$target/etc/network/interfaces"
chroot "$target" systemctl enable systemd-networkd
if [ -e "$target/lib/systemd/system/systemd-resolved.service" ]; then
    chroot "$target" systemctl enable systemd-resolved
fi
"""

_ONLY_PLANNED = """\
mkdir -p /lib/partman/init.d
cat >/lib/partman/init.d/31lpmos <<'LPMOS_PARTMAN'
#!/bin/sh
. @PLACE@/hooks.sh
planned=" $(cat @PLACE@/disks) "
for place in /var/lib/partman/devices/*; do
    [ -d "$place" ] || continue
    device=$(cat "$place/device")
    name=${device#/dev/}
    case $name in
    mapper/*)
        name=$(grep -lxF "${name#mapper/}" /sys/class/block/dm-*/dm/name)
        name=${name%/dm/name} name=${name##*/}
        ;;
    esac
    for disk in $(lpmos_below "$name"); do
        case $planned in
        *" $disk "*) continue ;;
        esac
        logger -t lpmos "hidden from partman: $device on $disk, which is not a disk of the plan"
        rm -rf "$place"
    done
done
LPMOS_PARTMAN
chmod +x /lib/partman/init.d/31lpmos
"""
"""A step of partman's after 30parted, in each of its rounds: what stands on a disk that the plan
does not name goes from its list, before 50efi and 80autouse_swap mark what they find for use.

Of arrays and logical volumes those stay that stand on planned disks alone: partman makes the plan's
between two rounds, and starts each old one that it finds. The step is written before partman runs,
as partman lists its steps before it runs the first, which is its early command.
"""

_ONLY_PLANNED_ARRAYS = """\
accepted= blocks=
for disk in $(cat @PLACE@/disks); do
    accepted=$accepted$(printf '"a|^%s$|", ' "$disk" "$(lpmos_part "$disk" '[0-9]+')")
    blocks="$blocks $disk $(lpmos_part "$disk" '[0-9]*')"
done
mkdir -p /etc/lvm
echo "devices/global_filter = [ $accepted"'"a|^/dev/md[0-9]+$|", "r|.*|" ]' >>/etc/lvm/lvm.conf
if command -v mdadm >/dev/null; then
    depmod -a || true
    modprobe md-mod || true
    mkdir -p /dev/md /var/lib/partman
    echo "DEVICE$blocks" >@PLACE@/mdadm.conf
    mdadm --examine --scan --config=@PLACE@/mdadm.conf >@PLACE@/arrays || true
    cat @PLACE@/arrays >>@PLACE@/mdadm.conf
    mdadm --assemble --scan --run --config=@PLACE@/mdadm.conf || true
    touch /var/lib/partman/md
fi
"""
"""LVM sees the planned disks and arrays alone, and arrays are started from those disks alone.

partman would start every array that it finds, degraded ones too, which writes to their disks; and
it takes arrays and volume groups apart by disks' names that are not bounded: those of `sdaa` too,
where `sda` is planned. It starts none itself where its mark, `md`, is there.
"""

_FORGET_COMMANDS = """\
mkdir -p /usr/lib/finish-install.d
cat >/usr/lib/finish-install.d/94zlpmos <<'LPMOS_FORGET'
#!/bin/sh
kept=/target/var/log/installer
sed -i 's/\\(running preseed command [^:]*:\\).*/\\1 left out/' "$kept/syslog"
sed -i -e '/^Name: .*_command$/,/^$/ s/^Value: .*/Value: left out/' \\
    -e 's/^ COMMAND = .*/ COMMAND = left out/' "$kept/cdebconf/questions.dat"
LPMOS_FORGET
chmod +x /usr/lib/finish-install.d/94zlpmos
"""
"""A step of finish-install's after 94save-logs, which copies the installer's log and its answers to
the new system: the commands in both have the task's secrets, and so has the question that tells of
one that failed. Written as early as partman's step, as finish-install lists its steps before it
runs the first, which is the last script."""

_OTHER_ESPS = """\
mounted=$(awk -v at="$target/boot/efi" '$5 == at { print $3 }' /proc/self/mountinfo)
[ -n "$mounted" ] || { echo "nothing is mounted at /boot/efi"; exit 1; }
for disk in $(cat @PLACE@/disks); do
    part=$(lpmos_part "$disk" 2)
    [ "$(cat "/sys/class/block/${part##*/}/dev")" != "$mounted" ] || continue
    chroot "$target" mkfs.vfat -F 32 "$part"
    mkdir -p "$target/mnt/esp"
    mount "$part" "$target/mnt/esp"
    cp -a "$target/boot/efi/." "$target/mnt/esp/"
    umount "$target/mnt/esp"
    rmdir "$target/mnt/esp"
done
"""
"""partman mounts the system partition of the disk whose name sorts first: not always the plan's
first disk."""

_ENTER = "env -u DEBIAN_HAS_FRONTEND -u DEBIAN_FRONTEND -u DEBCONF_REDIR -u DEBCONF_OLD_FD_BASE"
"""Outside of debconf's conversation with the installer, whose words a script would steal."""


def values(order: Order) -> Values:
    """See `Answers.values`."""
    mirror = urlsplit(order.urls.mirror)
    short, _, domain = order.task.hostname.partition(".")
    plain = {
        "hostname": short,
        "domain": domain or "localdomain",
        "locale": order.locale,
        "timezone": order.timezone,
        "mirror_protocol": mirror.scheme,
        "mirror_host": mirror.netloc,
        "mirror_directory": mirror.path or "/",
        "suite": _suite(order),
        "packages": " ".join(_packages(order)),
        "partman_method": _method(order.disks),
        "no_disk": NO_DISK,
        "group": order.disks.groups[0].id if order.disks.groups else "vg0",
    }
    ready = {
        "recipe": " \\\n".join(f"  {line}" for line in _recipe(order.disks)),
        "early_command": preseed_script(
            scripts.start(order, _STATE, LOGS) + _placed(_ONLY_PLANNED) + _FORGET_COMMANDS,
            f"{scripts.PLACE}/early.sh",
        ),
        "partman_command": preseed_script(_partman(order), f"{scripts.PLACE}/disks.sh"),
        "late_command": preseed_script(_late(order), f"{scripts.PLACE}/late.sh"),
    }
    return Values(plain, ready)


def _suite(order: Order) -> str:
    return SUITES.get(order.version[0], "stable") if order.version else order.manifest.os_version


def _packages(order: Order) -> Iterator[str]:
    yield from ("openssh-server", "dosfstools")
    if order.version >= (FIRST_WITH_RESOLVED,) or not order.version:
        yield "systemd-resolved"
    yield from listed_packages(order.task.setup, "debian")


def _method(plan: DiskPlan) -> str:
    return "raid" if plan.arrays else "lvm" if plan.groups else "regular"


def _recipe(plan: DiskPlan) -> Iterator[str]:
    """The lines of partman's recipe.

    With arrays it reads them twice: for the disks' partitions without those that have
    `$defaultignore`, and where a group stands on an array for its volumes without `$lvmignore`.
    """
    yield "lpmos ::"
    alone, volumes = ("$lvmignore{ } ", "$defaultignore{ } ") if plan.arrays else ("", "")
    for part in plan.partitions:
        block = f"p{part.number}"
        if part.role == "bios_boot":
            yield f"1 1 1 free $iflabel{{ gpt }} $reusemethod{{ }} {alone}method{{ biosgrub }} ."
        elif part.role == "esp":
            limits = _limits(part.size_bytes)
            yield f"{limits} fat32 $primary{{ }} {alone}method{{ efi }} format{{ }} ."
        elif any(each.partition == part.number for each in plan.arrays):
            limits = _limits(part.size_bytes)
            yield f"{limits} raid $primary{{ }} $lvmignore{{ }} method{{ raid }} ."
        elif group := blocks.group(plan, block):
            yield (
                f"{_limits(part.size_bytes)} ext4 $primary{{ }} $defaultignore{{ }} method{{ lvm }}"
                f" vg_name{{ {group.id} }} ."
            )
        elif found := blocks.filesystem(plan, block):
            yield f"{_limits(part.size_bytes)} {_filesystem(found, '$primary{ } ')} ."
    for group in plan.groups:
        for volume in group.volumes:
            if found := blocks.filesystem(plan, f"{group.id}/{volume.name}"):
                place = f"$lvmok{{ }} {volumes}in_vg{{ {group.id} }} lv_name{{ {volume.name} }} "
                yield f"{_limits(volume.size_bytes)} {_filesystem(found, place)} ."


def _limits(size_bytes: int | None) -> str:
    """partman's smallest size, its priority and its largest."""
    if size_bytes is None:
        return f"1000 1000000 {REST}"
    megabytes = -(-size_bytes // MEGABYTE)
    return f"{megabytes} {megabytes} {megabytes}"


def _filesystem(found: Filesystem, place: str) -> str:
    if found.kind == "swap":
        return f"linux-swap {place}method{{ swap }} format{{ }}"
    return (
        f"{found.kind} {place}method{{ format }} format{{ }} use_filesystem{{ }}"
        f" filesystem{{ {found.kind} }} mountpoint{{ {found.mount} }}"
    )


def _partman(order: Order) -> str:
    """The script that tells partman and GRUB which disks these are."""
    plan = order.disks
    disks = [f"$lpmos_disk{number}" for number in range(1, len(plan.disks) + 1)]
    lines = [
        f". {scripts.HOOKS}",
        scripts.find_disks(order).rstrip("\n"),
        f'debconf-set partman-auto/disk "{" ".join(disks)}"',
        f'debconf-set grub-installer/bootdev "{" ".join(disks)}"',
        f'echo "{" ".join(disks)}" >{scripts.PLACE}/disks',
    ]
    if plan.arrays:
        parts = " . ".join(_array(plan, level, number) for level, number in _arrays(plan))
        lines.append(f'debconf-set partman-auto-raid/recipe "{parts} ."')
    return "\n".join(lines) + "\n" + _placed(_ONLY_PLANNED_ARRAYS)


def _arrays(plan: DiskPlan) -> Iterator[tuple[str, int]]:
    for array in plan.arrays:
        found = blocks.filesystem(plan, array.id)
        if found is None:
            kind, mount = "lvm", "-"
        else:
            kind, mount = found.kind, found.mount or "-"
        yield f"{LEVELS[array.level]} {len(plan.disks)} 0 {kind} {mount}", array.partition


def _array(plan: DiskPlan, head: str, number: int) -> str:
    parts = (f"$(lpmos_part $lpmos_disk{each} {number})" for each in range(1, len(plan.disks) + 1))
    return f"{head} {'#'.join(parts)}"


def _placed(script: str) -> str:
    return script.replace("@PLACE@", scripts.PLACE)


def _late(order: Order) -> str:
    copies = order.uefi and order.disks.members
    after = _NETWORK + (_placed(_OTHER_ESPS) if copies else "")
    run = f'{_ENTER} chroot "$target"'
    return scripts.late(
        order,
        scripts.Ending(
            target="/target",
            run=run,
            before=_MOUNTS,
            files=(*identity(order), *networkd.files(order.network)),
            after=after + grub_update(order, run),
        ),
    )


def identity(order: Order) -> tuple[PlannedFile, ...]:
    """The machine's names, who may log in as root, what cloud-init finds, and GRUB's defaults."""
    short = order.task.hostname.partition(".")[0]
    names = (
        order.task.hostname if short == order.task.hostname else f"{order.task.hostname} {short}"
    )
    hosts = f"127.0.0.1 localhost\n127.0.1.1 {names}\n::1 localhost ip6-localhost ip6-loopback\n"
    return (
        PlannedFile(path="/etc/hostname", content=f"{short}\n"),
        PlannedFile(path="/etc/hosts", content=hosts),
        *scripts.authorized_keys(order),
        *cloud_init.files(order.task),
        *added_defaults(order.task),
    )


def grub_update(order: Order, run: str) -> str:
    """The line that makes GRUB's configuration anew where there are words of the task's in it."""
    return f"{run} update-grub\n" if order.task.kernel_arguments else ""


ANSWERS = Answers(
    family="debian",
    template="installer.preseed",
    file="preseed.cfg.j2",
    encode=preseed,
    values=values,
    releases=(("debian", "11"), ("debian", "12"), ("debian", "13")),
)
