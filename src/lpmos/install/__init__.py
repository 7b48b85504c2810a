"""From a task to what is done on its machine: one module per OS family, chosen by the image.

A family is a function from (task, image) to the files and boot settings that make the image that
machine's own. Adding one means its module and a row in `FAMILIES`.
"""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

from lpmos.install import cloud_init, debian, disk_image, first_boot, steps
from lpmos.install.kernel_line import kernel_arguments
from lpmos.model.errors import Conflict, ImageError
from lpmos.model.image import ImageManifest, arguments_problem, hooks_problem, root_bytes
from lpmos.model.installplan import FirstBoot, ImageSource, InstallPlan, PlannedFile
from lpmos.model.setup import NO_SECRETS, TaskSecrets
from lpmos.model.task import Task


class Family(NamedTuple):
    """What a module of this package offers."""

    files: Callable[[Task], tuple[PlannedFile, ...]]
    boot_entry: str


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {"debian": Family(debian.files, debian.BOOT_ENTRY)}
)


def plan_install(
    task: Task, manifest: ImageManifest, region_url: str, secrets: TaskSecrets = NO_SECRETS
) -> InstallPlan:
    """The plan that an approved task's agent follows.

    Args:
        task: what was approved.
        manifest: the image of its OS.
        region_url: where the installed system says that it came up; plain HTTP.
        secrets: what is secret of the task, opened.

    Raises:
        Conflict: the task has no approved intent or no disk plan.
        ImageError: no module knows the image's family, it became of another kind, or it cannot do
            what the task's setup says.
    """
    if task.intent is None or task.plan is None:
        raise Conflict(f"task {task.task_id} is {task.status.value}: it has no approved plan")
    family = _of_disk(manifest) if manifest.whole_disk else FAMILIES.get(manifest.family)
    if family is None:
        raise ImageError(
            f"image {manifest.name} is of the family {manifest.family!r};"
            f" known: {', '.join(FAMILIES)}"
        )
    if task.plan.whole_image != manifest.whole_disk:
        raise ImageError(
            f"image {manifest.name} is {'of a whole disk' if manifest.whole_disk else 'an archive'}"
            " now, and the disk was planned for the other: create the task again"
        )
    if problem := hooks_problem(task.setup, manifest.name, manifest.first_boot):
        raise ImageError(problem)
    if problem := arguments_problem(task.kernel_arguments, manifest.whole_disk):
        raise ImageError(f"kernel_arguments: {problem}")
    planned = steps.steps(task, secrets, manifest.family)
    return InstallPlan(
        task_id=task.task_id,
        intent_id=task.intent.intent_id,
        hostname=task.hostname,
        image=ImageSource(
            name=manifest.name,
            url=f"/boot/images/{manifest.sha256}",
            sha256=manifest.sha256,
            size_bytes=manifest.size_bytes,
            unpacked_bytes=manifest.unpacked_bytes,
            format=manifest.format,
            disk_bytes=manifest.disk_bytes,
        ),
        disk=task.plan,
        files=(*family.files(task), *cloud_init.files(task)),
        # An agent that knows no steps refuses this word before it writes.
        boot_loader="image" if manifest.whole_disk else "grub-steps" if planned else "grub",
        boot_entry=family.boot_entry,
        kernel_arguments="" if manifest.whole_disk else kernel_arguments(task),
        first_boot=FirstBoot(files=first_boot.files(task, region_url, secrets))
        if manifest.first_boot
        else None,
        steps=planned,
        disk_passphrase=secrets.disk_passphrase,
    )


def _of_disk(manifest: ImageManifest) -> Family:
    return Family(partial(disk_image.files, manifest=manifest), manifest.os_type)


def required_bytes(manifest: ImageManifest) -> int:
    """What the root file system must offer for this image; of a whole disk's the disk."""
    if manifest.disk_bytes is not None:
        return manifest.disk_bytes
    return root_bytes(manifest.unpacked_bytes)
