"""What must hold for a new task, said of what was read before: nothing here asks the store."""

from collections.abc import Callable

from lpmos.core.fleet import RegionView
from lpmos.model.access import sees
from lpmos.model.errors import Conflict, FieldProblem, InvalidInput, UnfinishedTask
from lpmos.model.machine import Machine
from lpmos.model.region import Capabilities
from lpmos.model.task import Task, TaskSpec


def check_offered(
    task: Task, capabilities: Capabilities | None, regions: Callable[[], list[RegionView]]
) -> None:
    """The region of the task is there, and offers its OS.

    Raises:
        InvalidInput: names the field, and what there is.
    """
    if capabilities is None:
        known = [region.idc for region in regions() if region.capabilities]
        names = ", ".join(known) or "none yet"
        raise InvalidInput(FieldProblem("idc", f"no region {task.idc!r}; known: {names}"))
    offered = [(each.os_type, each.os_version) for each in capabilities.offered]
    if (task.os_type, task.os_version) in offered:
        return
    names = ", ".join(" ".join(pair) for pair in offered) or "nothing yet: build an image"
    types = {os_type for os_type, _ in offered}
    field = "os_version" if task.os_type in types else "os_type"
    text = f"{task.idc} does not offer {task.os_type} {task.os_version}; it has: {names}"
    raise InvalidInput(FieldProblem(field, text))


def check_retried(task: Task, earlier: Task | None) -> None:
    """A task that is tried again is still what its machine had last.

    Raises:
        Conflict: the machine has another task since.
    """
    if task.retry_of is None or (earlier and earlier.task_id == task.retry_of):
        return
    now = f"has task {earlier.task_id} since" if earlier else "has no task"
    raise Conflict(f"machine {task.sn} {now}; only its last task can be tried again")


def check_owner(task: Task, machine: Machine | None, earlier: Task | None) -> None:
    """The machine is the tenant's; before it ever reported, its last task says whose it is.

    Raises:
        Conflict: it is another's.
    """
    known = machine or earlier
    if known is not None and not sees(task.tenant, known.tenant):
        raise Conflict(f"machine {task.sn} of {task.idc} does not belong to {task.tenant}")


def check_free(task: Task, earlier: Task | None) -> None:
    """The machine has no task under way.

    Raises:
        UnfinishedTask: it has.
    """
    if earlier and not earlier.finished:
        raise UnfinishedTask(
            f"machine {task.sn} has task {earlier.task_id}, which is"
            f" {earlier.status.value}; cancel it first"
        )


def check_other(task: Task, other: Task | None) -> None:
    """Another machine's task does not hold the MAC.

    Raises:
        UnfinishedTask: it does; whose it is, only those read who may.
    """
    if other is None or other.mac != task.mac or other.finished:
        return
    if not sees(task.tenant, other.tenant):
        raise UnfinishedTask(f"MAC {task.mac} belongs to another machine's task")
    raise UnfinishedTask(
        f"MAC {task.mac} belongs to machine {other.sn}, whose task {other.task_id} is"
        f" {other.status.value}"
    )


def check_same(known: Task, task: Task) -> None:
    """What an earlier call with the same idempotency key made is what this call asks for.

    Raises:
        Conflict: that call asked for something else.
    """
    names = [name for name in TaskSpec.__struct_fields__ if name != "tenant" or task.tenant]
    names += ["retry_of"]
    differing = [name for name in names if getattr(known, name) != getattr(task, name)]
    if differing:
        raise Conflict(
            f"this idempotency key made task {known.task_id}, which differs in"
            f" {', '.join(differing)}; use a new key"
        )
