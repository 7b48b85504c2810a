"""What a new task will come to, as far as it can be known before its machine reports.

The rule: nothing is decided here that is not decided again by the same functions when the machine
has reported. What no machine can make right is refused; what a machine's last report speaks against
is only said, since hardware changes, and the next report decides.
"""

import msgspec

from lpmos.model.diskplan import plan_disk
from lpmos.model.diskplan.imagined import imagined_plan
from lpmos.model.errors import FieldProblem, NoSuitableDisk
from lpmos.model.image import arguments_problem, hooks_problem, root_bytes
from lpmos.model.installerlimits import plan_problems
from lpmos.model.inventory import Inventory
from lpmos.model.jobplan import plan_job
from lpmos.model.newtask import TaskSpec
from lpmos.model.region import Capabilities, HeldImage, HeldInstaller
from lpmos.model.task import Task


class _Source(msgspec.Struct, frozen=True):
    """What a task is installed from: an image, where the region names it, or the `installer`."""

    required_bytes: int
    whole_disk: bool
    sector_bytes: int | None = None
    image: HeldImage | None = None
    installer: HeldInstaller | None = None


def refusals(asked: Task | TaskSpec, capabilities: Capabilities | None) -> list[FieldProblem]:
    """Why a task can never be carried out with what its region has; empty where it may be."""
    source = _source(asked, capabilities)
    if source is None:
        return []
    try:
        plan = imagined_plan(asked.disk_layout, source.required_bytes, source.whole_disk)
    except NoSuitableDisk as error:
        return [FieldProblem("disk_layout", str(error))]
    image, installer = source.image, source.installer
    if image and (problem := hooks_problem(asked.setup, image.name, image.first_boot)):
        return [FieldProblem("setup", problem)]
    if installer is None:
        problem = arguments_problem(asked.kernel_arguments, source.whole_disk)
        return [FieldProblem("kernel_arguments", problem)] if problem else []
    return plan_problems(installer.family, installer.os_type, installer.os_version, plan)


def warnings(
    task: Task, capabilities: Capabilities | None, machine: Inventory | None
) -> tuple[FieldProblem, ...]:
    """What would fail on the machine as it last reported itself; empty where nothing would."""
    if machine is None:
        return ()
    try:
        if task.job is not None:
            plan_job(machine, task.job)
            return ()
        source = _source(task, capabilities)
        if source is None:
            return ()
        wishes = task.disk_layout, task.root_disk
        needs = source.required_bytes, source.whole_disk
        plan = plan_disk(machine, *wishes, *needs, sector_bytes=source.sector_bytes)
    except NoSuitableDisk as error:
        return (FieldProblem("root_disk" if task.job is None else "job", str(error)),)
    if (own := source.installer) is None:
        return ()
    return tuple(plan_problems(own.family, own.os_type, own.os_version, plan, machine))


def _source(asked: Task | TaskSpec, capabilities: Capabilities | None) -> _Source | None:
    """What the region would install from, by the rule of its client: an image goes first.

    None for a job, and where the region does not say enough (an earlier version).
    """
    if capabilities is None or asked.job is not None:
        return None
    system = (asked.os_type, asked.os_version)
    offered = next((o for o in capabilities.offered if (o.os_type, o.os_version) == system), None)
    if offered is None:
        return None
    if asked.method != "installer" and "image" in offered.methods:
        size_bytes = offered.unpacked_bytes
        needed = size_bytes if offered.whole_disk else root_bytes(size_bytes)
        images = [i for i in capabilities.images if (i.os_type, i.os_version) == system]
        newest = max(images, key=lambda each: (each.built_at, each.name), default=None)
        return _Source(needed, offered.whole_disk, offered.sector_bytes, image=newest)
    fitting = [i for i in capabilities.installers if (i.os_type, i.os_version) == system]
    if asked.method == "image" or not fitting:
        return None
    installer = max(fitting, key=lambda each: (each.added_at, each.name))
    alone = offered.methods == ("installer",)
    needed = offered.unpacked_bytes if alone else 0  # where both are, it is the image's
    return _Source(needed, installer.family == "windows", installer=installer)
