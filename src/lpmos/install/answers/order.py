"""What an answer file is made from: one approved task, one installer, and where to speak to.

The rule: a family reads an `Order` and nothing else, so that the same task gives the same text.
"""

import msgspec

from lpmos.install.steps import steps
from lpmos.model.diskplan import DiskPlan
from lpmos.model.errors import FieldProblem, InvalidInput
from lpmos.model.installer import InstallerManifest
from lpmos.model.installerlimits import version_of
from lpmos.model.installplan import Step
from lpmos.model.network import Layout, layout
from lpmos.model.setup import TaskSecrets
from lpmos.model.task import Task

LOCALE = "en_US.UTF-8"
TIME_ZONE = "Etc/UTC"


class InstallerUrls(msgspec.Struct, frozen=True, kw_only=True):
    """Where one install speaks to, whole URLs by plain HTTP.

    `mirror` is the repository as the machine shall ask for it: Debian's and Ubuntu's archive, or
    the tree of an RPM distribution. `first_boot` answers a shell script, which takes the new
    system's root as its argument.
    """

    answer: str
    progress: str
    failed: str
    installed: str
    first_boot: str
    log: str
    mirror: str


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """All that a family's module needs."""

    task: Task
    manifest: InstallerManifest
    urls: InstallerUrls
    secrets: TaskSecrets
    disks: DiskPlan
    network: Layout
    steps: tuple[Step, ...]

    @property
    def version(self) -> tuple[int, ...]:
        """The numbers of the release, `(24, 4)` of `24.04`; empty where it has a name alone."""
        return version_of(self.manifest.os_version)

    @property
    def uefi(self) -> bool:
        """Whether the machine started by UEFI when it reported itself."""
        hardware = self.task.hardware
        return hardware is not None and hardware.boot_mode == "uefi"

    @property
    def passphrase(self) -> str:
        """What unlocks the encrypted disks.

        Raises:
            InvalidInput: it is missing.
        """
        if self.secrets.disk_passphrase is None:
            raise InvalidInput(FieldProblem("disk_passphrase", "is missing for encrypted disks"))
        return self.secrets.disk_passphrase

    @property
    def locale(self) -> str:
        """The task's, or English."""
        return self.task.setup.locale or LOCALE

    @property
    def timezone(self) -> str:
        """The task's, or UTC."""
        return self.task.setup.timezone or TIME_ZONE


def order_of(
    task: Task, manifest: InstallerManifest, urls: InstallerUrls, secrets: TaskSecrets
) -> Order:
    """What is to be made of an approved task.

    Raises:
        InvalidInput: the task has no disk plan yet.
    """
    if task.plan is None:
        text = f"task {task.task_id} is {task.status.value}: its disks are not known yet"
        raise InvalidInput(FieldProblem("task_id", text))
    return Order(
        task=task,
        manifest=manifest,
        urls=urls,
        secrets=secrets,
        disks=task.plan,
        network=layout(task.network_config, task.mac),
        steps=() if manifest.windows else steps(task, secrets, manifest.family, by_installer=True),
    )
