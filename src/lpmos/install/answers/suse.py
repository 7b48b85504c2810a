"""AutoYaST (SLES, openSUSE Leap and Tumbleweed): an XML profile.

Its first script finds the disks and writes the profile again with their names, and hangs a script
into YaST where it calls one when it aborts, fails or ends. The last script is started by such a
hook, as AutoYaST's own scripts all run before the boot loader is there. AutoYaST alone knows
whether the release runs wicked or NetworkManager, and gives cards their names by MAC. What it
writes for wicked stays. To NetworkManager it writes no route but the default one and no MTU: there
the last script puts connections of this package in their place.

Sources: SUSE's AutoYaST guide: partitioning, networking, custom scripts, `/tmp/profile`, `report`,
add-ons; YaST's Hooks.md and yast2-installation for `installation_aborted`, `installation_failure`,
the steps of the end (`inst_finish.rb`) and what is called after YaST
(`startup/hooks/postFirstCall`); yast2-autoinstallation's `AutoInstall.Finish` and `XmlChecks`;
yast2-network's `NetworkManager` writers; yast2-storage-ng's `AutoinstProposal` and
`BootRequirementsStrategies::Legacy`; yast2-pkg-bindings.
"""

from collections.abc import Iterator
from ipaddress import ip_interface
from typing import Any

from lpmos.install import cloud_init
from lpmos.install.answers import blocks, scripts
from lpmos.install.answers.family import Answers, Values
from lpmos.install.answers.order import Order
from lpmos.install.answers.quoting import cdata, yast
from lpmos.install.kernel_line import grub_serial, kernel_arguments
from lpmos.install.network import networkmanager
from lpmos.install.steps import listed_packages
from lpmos.model.diskplan import DiskPlan
from lpmos.model.errors import FieldProblem, InvalidInput
from lpmos.model.network import AnyLink, Bond, Bridge, Ethernet, Layout, Vlan

PRODUCTS = {
    "sles": "SLES",
    "opensuse": "openSUSE",
    "opensuse-leap": "Leap",
    "opensuse-tumbleweed": "openSUSE",
}
MODULES = {
    "sle-module-basesystem": "/Module-Basesystem",
    "sle-module-server-applications": "/Module-Server-Applications",
}
"""Of SLES 15, with their places on its Full medium: the product itself is next to no package."""
PARTITION_IDS = {"esp": 259, "bios_boot": 263, "root": 131, "lvm": 142, "raid": 253, "swap": 130}
"""libstorage-ng's numbers of GPT partition types."""
BIOS_BOOT_BYTES = 2 * 1024**2
"""YaST takes no less for a place of GRUB's, and would put one of its own before all partitions,
which then had other numbers."""
BOND_MEMBERS = 10
LOGS = ("/var/log/YaST2/y2log",)
HOOKS = "/var/lib/YaST2/hooks/installation"
REST = "max"

_GAVE_UP = f"""\
mkdir -p {scripts.PLACE}/within {scripts.PLACE}/after
cat >{scripts.PLACE}/gave-up.sh <<'LPMOS_GAVE_UP'
{scripts.failure(LOGS[0])}LPMOS_GAVE_UP
for hook in within/installation_aborted_00_lpmos within/installation_failure_00_lpmos \\
    after/%00-lpmos; do
    printf '#!/bin/sh\\nsh %s\\n' {scripts.PLACE}/gave-up.sh >"{scripts.PLACE}/$hook"
    chmod 755 "{scripts.PLACE}/$hook"
done
lpmos_hang() {{
    mkdir -p "$2"
    cp -a "$2/." "$1/"
    mount -o bind "$1" "$2" || cp -a "$1/." "$2/"
}}
lpmos_hang {scripts.PLACE}/within {HOOKS}
lpmos_hang {scripts.PLACE}/after /usr/lib/YaST2/startup/hooks/postFirstCall
"""
"""YaST calls what is in these two folders, which are not written to where it runs from a medium."""

_AFTER_BOOT_LOADER = f"""\
for root in '' /mnt; do
    hook=$root{HOOKS}/after_bootloader_finish_00_lpmos
    mkdir -p "${{hook%/*}}"
    printf '%s\\n' '#!/bin/sh' 'rm -f "$0"' \\
        'exec chroot /proc/1/root sh {scripts.PLACE}/late.sh' >"$hook"
    chmod 755 "$hook"
done
"""
"""YaST looks for a hook in the installer's root, and by then runs it in that of the new system: it
is in both, goes back to the installer's, and leaves nothing behind."""

_FINISHED = """\
rm -rf "$target"/var/adm/autoinstall/*/*
[ -s "$target/boot/grub2/grub.cfg" ] || { echo "YaST has made no boot loader"; exit 1; }
"""
"""AutoYaST keeps the profile and its scripts in the new system, with the secrets in them. An error
of the boot loader's holds YaST up until somebody answers it, and no longer."""

_NETWORK_MANAGER = "etc/systemd/system/multi-user.target.wants/NetworkManager.service"

_STATE = """\
log=/mnt/var/log/zypp/history
if [ -e /mnt/boot/grub2/grub.cfg ]; then
    echo installing 89 AutoYaST configures the boot loader
elif [ -e "$log" ]; then
    count=$(grep -c '|install|' "$log")
    echo "installing $((40 + (count < 960 ? count / 20 : 48))) $count packages are installed"
elif grep -q ' /mnt ' /proc/mounts; then
    echo downloading 20 the disks are written
fi
"""


def values(order: Order) -> Values:
    """See `Answers.values`."""
    profile = "/tmp/profile"  # noqa: S108 - AutoYaST's own place
    early = (
        scripts.start(order, _STATE, LOGS)
        + _GAVE_UP
        + scripts.find_disks(order)
        + scripts.named_disks(order, f"{profile}/autoinst.xml >{profile}/modified.xml")
    )
    short, _, domain = order.task.hostname.partition(".")
    plain = {
        "hostname": short,
        "domain": domain,
        # YaST passes over a `domain`.
        "host_names": f"{order.task.hostname} {short}" if domain else short,
        "language": order.locale.partition(".")[0],
        "timezone": order.timezone,
        "product": PRODUCTS.get(order.manifest.os_type, order.manifest.os_type),
        "mirror": order.urls.mirror,
        "modules": _modules(order),
        # While YaST runs, zypper cannot install any.
        "packages": listed_packages(order.task.setup, "suse", makes_locale=False),
        "kernel_arguments": kernel_arguments(order.task),
        "serial": grub_serial(order.task),
        "boot_loader": "grub2-efi" if order.uefi else "grub2",
        "drives": list(_drives(order)),
        "interfaces": [_interface(order.network, link) for link in order.network.links],
        "names": [
            {"mac": link.mac, "name": link.name}
            for link in order.network.links
            if isinstance(link, Ethernet)
        ],
        "routes": list(_routes(order.network)),
        "name_servers": order.network.dns,
        "search": order.network.search,
    }
    ready = {"early_script": cdata(early), "late_script": cdata(_late(order))}
    return Values(plain, ready)


def _numbers(plan: DiskPlan) -> range:
    return range(1, len(plan.disks) + 1)


def _drives(order: Order) -> Iterator[dict[str, Any]]:
    plan = order.disks
    for number in _numbers(plan):
        yield {
            "device": scripts.placeholder(number),
            "type": "CT_DISK",
            "label": "gpt",
            "parts": list(_parts(order, number)),
        }
    for array in plan.arrays:
        yield {
            "device": _array(array.id),
            "type": "CT_MD",
            "label": "none",
            "raid": array.level,
            "parts": [{"number": 1, "size": REST, **_holds(order, array.id)}],
        }
    for group in plan.groups:
        parts = [
            {
                "name": volume.name,
                "size": _size(volume.size_bytes),
                **_holds(order, f"{group.id}/{volume.name}"),
            }
            for volume in group.volumes
        ]
        yield {"device": f"/dev/{group.id}", "type": "CT_LVM", "parts": parts}


def _parts(order: Order, disk: int) -> Iterator[dict[str, Any]]:
    plan = order.disks
    for part in plan.partitions:
        entry: dict[str, Any] = {"number": part.number, "size": _size(part.size_bytes)}
        array = next((each for each in plan.arrays if each.partition == part.number), None)
        if part.role == "bios_boot":
            size = max(part.size_bytes or 0, BIOS_BOOT_BYTES)
            entry |= {"id": PARTITION_IDS["bios_boot"], "format": False, "size": _size(size)}
        elif part.role == "esp":
            entry |= {"id": PARTITION_IDS["esp"], "format": True, "filesystem": "vfat"}
            if disk == 1:
                entry["mount"] = "/boot/efi"
        elif array:
            entry |= {"id": PARTITION_IDS["raid"], "format": False, "raid_name": _array(array.id)}
        else:
            entry |= _holds(order, f"p{part.number}")
        yield entry


def _holds(order: Order, block: str) -> dict[str, Any]:
    """What stands on a block, as the parts of its partition say it."""
    plan = order.disks
    lock: dict[str, Any] = {}
    if found := blocks.encrypted(plan, block):
        lock = {"crypt_key": order.passphrase}
        block = found.id
    if group := blocks.group(plan, block):
        return {**lock, "id": PARTITION_IDS["lvm"], "format": False, "lvm_group": group.id}
    system = blocks.filesystem(plan, block)
    if system is None:
        return {**lock, "format": False}
    made = {**lock, "id": PARTITION_IDS["root"], "format": True, "filesystem": system.kind}
    if system.kind == "swap":
        return {**made, "id": PARTITION_IDS["swap"], "mount": "swap"}
    return {**made, "mount": system.mount} if system.mount else made


def _array(name: str) -> str:
    return f"/dev/md/{name}"


def _size(size_bytes: int | None) -> str:
    return REST if size_bytes is None else str(size_bytes)


def _interface(layout: Layout, link: AnyLink) -> dict[str, Any]:
    """One card or what is built on cards, in AutoYaST's names."""
    above = [each for each in layout.over(link.name) if not isinstance(each, Vlan)]
    entry: dict[str, Any] = {"name": link.name, "device": link.name, "startmode": "auto"}
    entry["aliases"] = []
    if link.dhcp:
        entry["bootproto"] = "dhcp"
    elif link.addresses:
        first, *more = (ip_interface(text) for text in link.addresses)
        entry |= {"bootproto": "static", "address": str(first.ip)}
        entry["prefix"] = str(first.network.prefixlen)
        entry["aliases"] = [
            {"address": str(each.ip), "prefix": str(each.network.prefixlen)} for each in more
        ]
    else:
        entry["bootproto"] = "none" if above else "static"
    if link.mtu is not None:
        entry["mtu"] = str(link.mtu)
    if isinstance(link, Vlan):
        entry |= {"over": link.over, "vlan_id": str(link.id)}
    elif isinstance(link, Bridge):
        entry |= {"bridge_ports": " ".join(link.members), "stp": "on" if link.stp else "off"}
    elif isinstance(link, Bond):
        if len(link.members) > BOND_MEMBERS:
            text = f"YaST makes no bond of more than {BOND_MEMBERS} members as {link.name} is"
            raise InvalidInput(FieldProblem("network_config", text))
        entry |= {"bond_members": list(link.members), "bond_options": _bond_options(link)}
    return entry


def _bond_options(bond: Bond) -> str:
    options = [f"mode={bond.mode}", "miimon=100"]
    if bond.hash_policy:
        options.append(f"xmit_hash_policy={bond.hash_policy}")
    if bond.speaks_lacp_fast:
        options.append("lacp_rate=fast")
    return " ".join(options)


def _routes(layout: Layout) -> Iterator[dict[str, str]]:
    for link in layout.links:
        for gateway in link.gateways:
            yield {"to": "default", "via": gateway, "device": link.name}
        for route in link.routes:
            yield {"to": route.to, "via": route.via, "device": link.name}


def _modules(order: Order) -> list[dict[str, str]]:
    if order.manifest.os_type != "sles" or order.version[:1] != (15,):
        return []
    return [{"product": name, "directory": place} for name, place in MODULES.items()]


def _late(order: Order) -> str:
    """What keeps the last script, in the installer's memory, for the hook that it hangs in."""
    script = scripts.late(
        order,
        scripts.Ending(
            target="/mnt",
            before=_FINISHED + _connections(order),
            files=(*scripts.authorized_keys(order), *cloud_init.files(order.task)),
            after=_other_esps(order),
        ),
    )
    end = "LPMOS_LATE"
    while end in script:
        end += "_"
    return f"cat >{scripts.PLACE}/late.sh <<'{end}'\n{script}{end}\n{_AFTER_BOOT_LOADER}"


def _connections(order: Order) -> str:
    """Lines that put this package's connections in place of YaST's, where NetworkManager runs."""
    files = "\n".join(scripts.written(file) for file in networkmanager.files(order.network))
    return (
        f'if [ -L "$target/{_NETWORK_MANAGER}" ]; then\n'
        f'rm -f "$target"/etc/NetworkManager/system-connections/*\n{files}\nfi\n'
    )


def _other_esps(order: Order) -> str:
    """Lines that make each further disk start by itself: with UEFI, its own copy of the first's."""
    esp = blocks.partition_of(order.disks, "esp")
    if esp is None or not order.uefi:
        return ""
    return "".join(
        f'mkdir -p "$target/mnt/esp"\n'
        f'mount "$(lpmos_part {scripts.placeholder(number)} {esp.number})" "$target/mnt/esp"\n'
        f'cp -a "$target/boot/efi/." "$target/mnt/esp/"\numount "$target/mnt/esp"\n'
        for number in list(_numbers(order.disks))[1:]
    )


ANSWERS = Answers(
    family="suse",
    template="installer.autoyast",
    file="autoyast.xml.j2",
    encode=yast,
    values=values,
    releases=(
        ("sles", "15.6"),
        ("opensuse-leap", "15.6"),
        ("opensuse-tumbleweed", "tumbleweed"),
    ),
)
