"""Debian by image: identity, network (systemd-networkd), SSH keys and GRUB's defaults.

Sources: hostname(5), fstab(5), systemd.network(5), sshd(8) for `authorized_keys`, and Debian's
`/etc/default/grub.d` for what `update-grub` keeps when a kernel is upgraded.
"""

from lpmos.install import storage
from lpmos.install.kernel_line import DEFAULTS, grub_terminal, kernel_arguments
from lpmos.install.network import networkd
from lpmos.model.installplan import PlannedFile
from lpmos.model.network import layout
from lpmos.model.task import Task

BOOT_ENTRY = "debian"


def files(task: Task) -> tuple[PlannedFile, ...]:
    """The files that make the image this task's machine."""
    short = task.hostname.partition(".")[0]
    names = task.hostname if short == task.hostname else f"{task.hostname} {short}"
    hosts = f"127.0.0.1 localhost\n127.0.1.1 {names}\n::1 localhost ip6-localhost ip6-loopback\n"
    planned = [
        PlannedFile(path="/etc/hostname", content=f"{short}\n"),
        PlannedFile(path="/etc/hosts", content=hosts),
        *(storage.files(task.plan) if task.plan else ()),
        PlannedFile(path=DEFAULTS, content=_grub(task)),
        *networkd.files(layout(task.network_config, task.mac)),
    ]
    if task.ssh_keys:
        keys = "".join(f"{key}\n" for key in task.ssh_keys)
        planned.append(PlannedFile(path="/root/.ssh/authorized_keys", content=keys, mode=0o600))
    return tuple(planned)


def _grub(task: Task) -> str:
    """GRUB's defaults, whole."""
    return f"""\
GRUB_TIMEOUT=1
GRUB_CMDLINE_LINUX_DEFAULT=""
GRUB_CMDLINE_LINUX="{kernel_arguments(task)}"
{grub_terminal(task)}GRUB_DISABLE_OS_PROBER=true
"""
