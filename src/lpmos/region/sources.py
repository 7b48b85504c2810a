"""What a region installs from: its images and its installers, and which of them a task takes.

The rule: what the task names is taken; where it names none, an image goes before an installer.
"""

from collections.abc import Callable, Iterable

from lpmos.images.catalog import Catalog
from lpmos.images.installers import Installers
from lpmos.images.items import System
from lpmos.install import answers, required_bytes
from lpmos.model.errors import FieldProblem, ImageError
from lpmos.model.image import ImageManifest, OfferedOs
from lpmos.model.installer import InstallerManifest
from lpmos.model.lifecycle import Status
from lpmos.model.task import Task, TaskError

Source = ImageManifest | InstallerManifest

Brings = Callable[[str | None, System | None], bool]
"""Whether an item of this kind (None: any) and system is on its way here, or may be."""
SignedNetwork = Callable[[str], str | None]
"""The name of an address's network where UEFI machines get shim and GRUB in place of iPXE."""


def nothing_comes(_kind: str | None, _system: System | None) -> bool:
    """`Brings` of a region that fetches nothing."""
    return False


class Sources:
    """One region's."""

    def __init__(
        self,
        catalog: Catalog,
        installers: Installers,
        signed_network: SignedNetwork = lambda _: None,
        brings: Brings = nothing_comes,
    ) -> None:
        self.catalog = catalog
        self.installers = installers
        self._signed_network = signed_network
        self._brings = brings

    def of(self, task: Task) -> Source | None:
        """What the task is installed from; None where the region has nothing, and for a job.

        Raises:
            ImageError: the directory cannot be read, which says nothing of what is there.
        """
        if task.job is not None:
            return None
        asked = (task.os_type, task.os_version)
        by_image = task.method != "installer" and task.handover is None
        image = self.catalog.find(*asked) if by_image else None
        if image is not None:
            return image
        if task.method != "image" and (installer := self.installers.find(*asked)):
            return installer
        self.catalog.damaged()
        self.installers.damaged()
        return None

    def awaited(self, task: Task) -> bool:
        """Whether what the task is installed from is not there yet, and on its way.

        Raises:
            ImageError: the directory cannot be read.
        """
        if task.job is not None or self.of(task) is not None:
            return False
        return self._brings(task.method, (task.os_type, task.os_version))

    def agent_awaited(self) -> bool:
        """Whether the agent is not there yet, and on its way."""
        try:
            self.catalog.agent()
        except ImageError:
            return self._brings("agent", None)
        return False

    def required_bytes(self, task: Task | None) -> int:
        """What the task's system needs of the disk; 0 where that is not known."""
        source = self.of(task) if task else None
        if source is None:
            return 0
        if isinstance(source, InstallerManifest):
            return source.required_bytes
        return required_bytes(source)

    def is_whole_image(self, task: Task | None) -> bool:
        """Whether the task is installed from the image of a whole disk, as Windows is."""
        source = self.of(task) if task else None
        if isinstance(source, InstallerManifest):
            return source.windows is not None
        return isinstance(source, ImageManifest) and source.whole_disk

    def sector_bytes(self, task: Task | None) -> int | None:
        """Of which sectors the task's disk has to be; None where any will do, or nothing says."""
        source = self.of(task) if task else None
        return source.sector_bytes if isinstance(source, ImageManifest) else None

    def refusal(self, task: Task, address: str) -> TaskError | None:
        """Why the task's installer cannot make the plan that is to be approved; None where it can.

        So nobody is asked to approve what is refused when it is carried out.

        Args:
            task: as it is after its report.
            address: the machine's.
        """
        if task.status is not Status.PENDING_APPROVAL or task.plan is None:
            return None
        source = self.of(task)
        if not isinstance(source, InstallerManifest):
            return None
        problems = answers.plan_problems(source, task.plan, task.hardware)
        if not problems:
            return self.loader_refusal(task, address)
        why = "; ".join(problem.message for problem in problems)
        return TaskError(
            reason=f"the installer {source.name} cannot {_what(problems)}: {why}",
            hint="create the task again with another disk_layout, or install by image",
        )

    def loader_refusal(self, task: Task, address: str) -> TaskError | None:
        """Why the loader that this machine gets cannot start its installer; None where it can.

        Installers load what they need over IPv4: their kernel lines ask for it. What Windows is
        started by, wimboot, needs iPXE: a network for Secure Boot gives UEFI machines GRUB, also
        those whose Secure Boot is off.
        """
        source = self.of(task)
        if isinstance(source, InstallerManifest) and ":" in address:
            return ipv4_needed(source.name)
        uefi = task.hardware is not None and task.hardware.boot_mode == "uefi"
        windows = isinstance(source, InstallerManifest) and source.windows is not None
        network = self._signed_network(address) if uefi and windows else None
        return grub_given(f"the network {network} has secure_boot = true") if network else None

    def offered(self) -> tuple[OfferedOs, ...]:
        """Each OS once, with the size of its newest image, or what its installer needs."""
        systems = {
            (each.os_type, each.os_version): OfferedOs(
                os_type=each.os_type,
                os_version=each.os_version,
                unpacked_bytes=each.required_bytes,
                methods=("installer",),
            )
            for each in self.installers.manifests()
        }
        for image in sorted(self.catalog.manifests(), key=lambda manifest: manifest.built_at):
            name = (image.os_type, image.os_version)
            both = name in systems and "installer" in systems[name].methods
            systems[name] = OfferedOs(
                os_type=image.os_type,
                os_version=image.os_version,
                unpacked_bytes=image.unpacked_bytes,
                methods=("image", "installer") if both else ("image",),
                whole_disk=image.whole_disk,
                sector_bytes=image.sector_bytes,
            )
        return tuple(systems[name] for name in sorted(systems))


def ipv4_needed(installer: str) -> TaskError:
    """An installer on a machine that was booted over IPv6."""
    return TaskError(
        reason=f"the installer {installer} works over IPv4, and this machine was booted over IPv6",
        hint="install by image (method = image), or boot the machine in a network with IPv4",
        code="installer-needs-ipv4",
    )


def _what(problems: Iterable[FieldProblem]) -> str:
    of_disks = any(problem.field == "disk_layout" for problem in problems)
    return "make these disks" if of_disks else "install this machine"


def grub_given(why: str) -> TaskError:
    """Windows on a machine that is started by GRUB, with what that comes of."""
    return TaskError(
        reason=f"Windows is started by iPXE, and this UEFI machine gets GRUB: {why}",
        hint="turn the machine's Secure Boot off, and install it in a network of the region"
        " without secure_boot (docs/how-to/windows.md)",
        code="windows-needs-ipxe",
    )


def no_source(task: Task) -> TaskError:
    """The region lacks what this task asks for."""
    what = "installer" if task.method == "installer" else "image"
    command = "add-installer" if task.method == "installer" else f"build {task.os_type}"
    verb = "add" if task.method == "installer" else "build"
    return TaskError(
        reason=f"{task.idc} has no {what} of {task.os_type} {task.os_version}",
        hint=f"{verb} one with `lpmos image {command}`, then create the task again",
    )
