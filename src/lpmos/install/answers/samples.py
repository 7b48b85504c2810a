"""Tasks that a template is tried with before it is stored, and what a preview puts for secrets.

The rule: between them they use everything that a template may have to arrange: every layout that
the family makes, both firmwares, and a network of every kind of link.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from lpmos.install.answers.family import Answers
from lpmos.install.answers.order import InstallerUrls
from lpmos.model.diskplan import (
    GIB,
    DiskPlan,
    PartitionWish,
    RootDiskHints,
    StorageLayout,
    plan_disk,
)
from lpmos.model.installer import FileRef, InstallerManifest, WindowsFiles
from lpmos.model.installerlimits import plan_problems
from lpmos.model.inventory import Disk, Inventory, Memory
from lpmos.model.lifecycle import Status
from lpmos.model.network import Bond, Bridge, Ethernet, Network, NetworkConfig, Route, Vlan
from lpmos.model.setup import Account, CloudInit, Setup, TaskSecrets
from lpmos.model.task import Task

SEALED = "********"
"""What stands for a secret where only its place shall be seen."""

URLS = InstallerUrls(
    answer="http://region.example/installer/TOKEN/answer",
    progress="http://region.example/installer/TOKEN/progress",
    failed="http://region.example/installer/TOKEN/failed",
    installed="http://region.example/installer/TOKEN/installed",
    first_boot="http://region.example/installer/TOKEN/first-boot",
    log="http://region.example/installer/TOKEN/log",
    mirror="http://region.example/mirror/installer",
)

_NONE = FileRef(file="", sha256="0" * 64, size_bytes=0)
_WINDOWS = WindowsFiles(
    bcd=_NONE,
    boot_sdi=_NONE,
    curl=_NONE,
    install=_NONE,
    index=1,
    image_name="Windows Server",
    language="en-US",
)
_AT = datetime(2026, 1, 1, tzinfo=UTC)
_MAC = "52:54:00:00:00:01"
_LAYOUTS: tuple[str | StorageLayout, ...] = (
    *("auto", "lvm", "raid1", "raid5", "raid10"),
    StorageLayout(raid="raid1", lvm=True, swap_bytes=GIB),
    StorageLayout(
        filesystem="xfs",
        swap_bytes=2 * GIB,
        partitions=(
            PartitionWish(mount="/", size_bytes=20 * GIB),
            PartitionWish(mount="/var", size_bytes=8 * GIB),
            PartitionWish(mount="/srv", fill=True, min_bytes=GIB),
        ),
    ),
    StorageLayout(lvm=True, encrypt=True),
)
_LINKS = Network(
    dns=("192.0.2.53", "2001:db8::53"),
    search=("example.org",),
    links=(
        Ethernet(name="lan0"),
        Ethernet(name="lan1", mac="52:54:00:00:00:02"),
        Bond(name="bond0", members=("lan0", "lan1"), mode="802.3ad", lacp_fast=True, mtu=9000),
        Vlan(
            name="vlan10",
            over="bond0",
            id=10,
            addresses=("192.0.2.10/24", "2001:db8::10/64"),
            gateways=("192.0.2.1", "2001:db8::1"),
            routes=(Route(to="198.51.100.0/24", via="192.0.2.2"),),
        ),
        Vlan(name="vlan20", over="bond0", id=20),
        Bridge(name="br0", members=("vlan20",), dhcp=True),
    ),
)
_FIXED = Network(address="192.0.2.10/24", gateway="192.0.2.1", dns=("192.0.2.53",))
_CARDS = Network(
    dns=("192.0.2.53", "2001:db8::53"),
    search=("example.org", "example.net"),
    links=(
        Ethernet(
            name="lan0",
            addresses=("192.0.2.10/24", "2001:db8::10/64"),
            gateways=("192.0.2.1", "2001:db8::1"),
            routes=(Route(to="198.51.100.0/24", via="192.0.2.2"),),
        ),
        Ethernet(name="lan1", mac="52:54:00:00:00:02", dhcp=True),
    ),
)
_SETUP = Setup(
    users=(Account(name="admin", sudo="password", has_password=True, groups=("adm",)),),
    packages=("tmux", "git"),
    commands=("echo done >/root/done\n", "printf '%s\\n' \"$HOME\""),
    cloud_init=CloudInit(user_data="#cloud-config\n{}\n"),
    timezone="Europe/Berlin",
    locale="de_DE.UTF-8",
    has_root_password=True,
)
_WINDOWS_SETUP = Setup(
    users=(Account(name="administrator"), Account(name="ops", sudo="nopasswd")),
    commands=("echo done>C:\\done.txt\n", 'echo "%NAME%"'),
    secret_names=("NAME", "PASSWORD_ADMINISTRATOR", "PASSWORD_OPS"),
    timezone="Europe/Berlin",
    locale="de_DE.UTF-8",
)


def tried(answers: Answers) -> Iterator[tuple[Task, InstallerManifest]]:
    """The sample tasks of a family that its installer can make, each with an installer."""
    if answers.whole_disk:
        yield from _of_whole_disks(answers)
        return
    for os_type, os_version in answers.releases:
        manifest = manifest_of(answers, os_type, os_version)
        for number, layout in enumerate(_LAYOUTS):
            inventory = _inventory(uefi=bool(number % 2))
            plan = plan_disk(inventory, layout, RootDiskHints(), GIB)
            if not plan_problems(answers.family, os_type, os_version, plan):
                network: NetworkConfig = _LINKS if number % 2 else "dhcp"
                yield _task(os_type, os_version, inventory, plan, network), manifest


def _of_whole_disks(answers: Answers) -> Iterator[tuple[Task, InstallerManifest]]:
    """Windows: both firmwares, and a network of each form that it has."""
    for os_type, os_version in answers.releases:
        manifest = manifest_of(answers, os_type, os_version)
        networks: tuple[NetworkConfig, ...] = (_FIXED, _CARDS, "dhcp")
        for number, network in enumerate(networks):
            inventory = _inventory(uefi=bool(number))
            plan = plan_disk(inventory, "auto", RootDiskHints(), GIB, whole_image=True)
            task = _task(os_type, os_version, inventory, plan, network)
            own = {"setup": _WINDOWS_SETUP, "ssh_keys": (), "kernel_arguments": ""}
            yield msgspec.structs.replace(task, **own), manifest


def manifest_of(answers: Answers, os_type: str, os_version: str) -> InstallerManifest:
    """An installer of a family as far as an answer file is concerned."""
    return InstallerManifest(
        name=f"{os_type}-{os_version}",
        family=answers.family,
        os_type=os_type,
        os_version=os_version,
        kernel=_NONE,
        initrd=_NONE,
        repository=URLS.mirror,
        windows=_WINDOWS if answers.whole_disk else None,
        added_at=_AT,
    )


def sealed(task: Task) -> TaskSecrets:
    """Secrets of which only the places are seen."""
    setup = task.setup
    return TaskSecrets(
        root_password_hash=SEALED if setup.has_root_password else None,
        password_hashes={user.name: SEALED for user in setup.users if user.has_password},
        values=dict.fromkeys(setup.secret_names, SEALED),
        disk_passphrase=SEALED,
    )


def _inventory(*, uefi: bool) -> Inventory:
    disks = tuple(
        Disk(device=f"/dev/sd{letter}", size_bytes=100 * GIB, kind="ssd", serial=f"SAMPLE{letter}")
        for letter in "abcd"
    )
    return Inventory(
        collected_at=_AT,
        boot_mode="uefi" if uefi else "bios",
        memory=Memory(total_bytes=4 * GIB),
        disks=disks,
    )


def _task(
    os_type: str, os_version: str, hardware: Inventory, plan: DiskPlan, network: NetworkConfig
) -> Task:
    return Task(
        task_id="00000000-0000-4000-8000-000000000000",
        idc="sample",
        sn="SAMPLE",
        mac=_MAC,
        os_type=os_type,
        os_version=os_version,
        hostname="sample.example.org",
        network_config=network,
        ssh_keys=('ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1sample it\'s a "comment"',),
        kernel_arguments="console=ttyS1,115200n8 hugepages=16",
        setup=_SETUP,
        tags={"rack": "r1"},
        status=Status.APPROVED,
        status_history=(),
        hardware=hardware,
        plan=plan,
        created_at=_AT,
        updated_at=_AT,
        created_by="sample",
    )
