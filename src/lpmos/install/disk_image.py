"""A system that comes as the image of a whole disk: identity, network and SSH keys written into it.

The rule: the image keeps its own partitions, file systems, fstab, kernel and boot loader; only what
tells this machine from another is written. Where it runs cloud-init, that gets a NoCloud seed, so
that it does not wait for a cloud, and its hands are kept off the network, which is the task's.

Sources: hostname(5), hosts(5), sshd(8), cloud-init's documentation of the NoCloud data source.
"""

from lpmos.install import cloud_init
from lpmos.install.network import RENDERERS, networkmanager
from lpmos.model.image import ImageManifest
from lpmos.model.installerlimits import is_before_rhel_8
from lpmos.model.installplan import PlannedFile
from lpmos.model.network import layout
from lpmos.model.task import Task

DISK_FAMILIES = ("debian", "ubuntu", "rhel", "suse", "linux")
"""What the system of a disk image may be like; `linux` where it is none of the others."""
DEFAULT_USER_DATA = "#cloud-config\ndisable_root: false\nssh_deletekeys: false\n"
"""Root's keys are written, and the host's are made new, before cloud-init starts."""


def files(task: Task, manifest: ImageManifest) -> tuple[PlannedFile, ...]:
    """The files that make the image this task's machine."""
    short = task.hostname.partition(".")[0]
    names = task.hostname if short == task.hostname else f"{task.hostname} {short}"
    hosts = f"127.0.0.1 localhost\n127.0.1.1 {names}\n::1 localhost ip6-localhost ip6-loopback\n"
    planned = [
        PlannedFile(path="/etc/hostname", content=f"{short}\n"),
        PlannedFile(path="/etc/hosts", content=hosts),
        *_network(task, manifest),
    ]
    if task.ssh_keys:
        keys = "".join(f"{key}\n" for key in task.ssh_keys)
        planned.append(PlannedFile(path="/root/.ssh/authorized_keys", content=keys, mode=0o600))
    if manifest.cloud_init and task.setup.cloud_init is None:
        planned += cloud_init.files(task, DEFAULT_USER_DATA)
    return tuple(planned)


def _network(task: Task, manifest: ImageManifest) -> tuple[PlannedFile, ...]:
    wanted = layout(task.network_config, task.mac)
    if (manifest.network, manifest.family) == ("networkmanager", "rhel") and is_before_rhel_8(
        manifest.os_type, manifest.os_version
    ):
        return networkmanager.files(wanted, no_ipv6="ignore")
    return RENDERERS[manifest.network](wanted)
