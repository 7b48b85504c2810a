"""What a region installs from: its images and its installers, and which of them a task takes.

The rule: what the task names is taken; where it names none, an image goes before an installer.
"""

from lpmos.images.catalog import Catalog
from lpmos.images.installers import Installers
from lpmos.install import answers, required_bytes
from lpmos.model.image import ImageManifest, OfferedOs
from lpmos.model.installer import InstallerManifest
from lpmos.model.lifecycle import Status
from lpmos.model.task import Task, TaskError

Source = ImageManifest | InstallerManifest


class Sources:
    """One region's."""

    def __init__(self, catalog: Catalog, installers: Installers) -> None:
        self.catalog = catalog
        self.installers = installers

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

    def refusal(self, task: Task) -> TaskError | None:
        """Why the task's installer cannot make the plan that is to be approved; None where it can.

        So nobody is asked to approve what is refused when it is carried out.
        """
        if task.status is not Status.PENDING_APPROVAL or task.plan is None:
            return None
        source = self.of(task)
        if not isinstance(source, InstallerManifest):
            return None
        problems = answers.plan_problems(source, task.plan)
        if not problems:
            return None
        why = "; ".join(problem.message for problem in problems)
        return TaskError(
            reason=f"the installer {source.name} cannot make these disks: {why}",
            hint="create the task again with another disk_layout, or install by image",
        )

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
            )
        return tuple(systems[name] for name in sorted(systems))


def no_source(task: Task) -> TaskError:
    """The region lacks what this task asks for."""
    what = "installer" if task.method == "installer" else "image"
    command = "add-installer" if task.method == "installer" else f"build {task.os_type}"
    verb = "add" if task.method == "installer" else "build"
    return TaskError(
        reason=f"{task.idc} has no {what} of {task.os_type} {task.os_version}",
        hint=f"{verb} one with `lpmos image {command}`, then create the task again",
    )
