"""What must hold for a new task, said of what was read before: nothing here asks the store."""

from collections.abc import Callable

from lpmos.core.fleet import RegionView
from lpmos.core.foreseen import refusals
from lpmos.model.access import sees
from lpmos.model.diskplan import is_one_plain_disk
from lpmos.model.errors import Conflict, FieldProblem, InvalidInput, NotFound, UnfinishedTask
from lpmos.model.fetching import coming
from lpmos.model.machine import Machine
from lpmos.model.newtask import ASKED, TaskSpec
from lpmos.model.region import Capabilities
from lpmos.model.task import Task


def check_offered(
    task: Task, capabilities: Capabilities | None, regions: Callable[[], list[RegionView]]
) -> None:
    """The region of the task is there, offers its OS, and could install it as the task says.

    Raises:
        InvalidInput: names the fields, and what there is.
    """
    if problems := problems_of(task, capabilities, regions):
        raise InvalidInput(*problems)


def problems_of(
    asked: Task | TaskSpec,
    capabilities: Capabilities | None,
    regions: Callable[[], list[RegionView]],
) -> list[FieldProblem]:
    """What keeps a region from carrying a task out, whatever the machine is."""
    problem = offer_problem(asked.idc, *system_of(asked), capabilities, regions)
    problem = problem or layout_problem(asked, capabilities)
    problem = problem or method_problem(asked, capabilities)
    return [problem] if problem else refusals(asked, capabilities)


def system_of(asked: Task | TaskSpec) -> tuple[str | None, str | None]:
    """The OS that a region must offer; none for a job."""
    return (None, None) if asked.job is not None else (asked.os_type, asked.os_version)


def method_problem(
    asked: Task | TaskSpec, capabilities: Capabilities | None
) -> FieldProblem | None:
    """What keeps a region that offers the OS from installing it by the method that is asked for."""
    offered = capabilities.offered if capabilities else ()
    system = (asked.os_type, asked.os_version)
    found = [each.methods for each in offered if (each.os_type, each.os_version) == system]
    methods = found[0] if found else ()
    if asked.method is None or not methods or asked.method in methods:
        return None
    text = f"{asked.idc} installs {' '.join(system)} by {' or '.join(methods)} only"
    return FieldProblem("method", text)


def layout_problem(
    asked: Task | TaskSpec, capabilities: Capabilities | None
) -> FieldProblem | None:
    """A disk layout beside an image that brings its own partitions."""
    offered = capabilities.offered if capabilities else ()
    system = (asked.os_type, asked.os_version)
    whole = any(each.whole_disk for each in offered if (each.os_type, each.os_version) == system)
    if not whole or asked.method == "installer" or is_one_plain_disk(asked.disk_layout):
        return None
    text = (
        f"the image of {' '.join(system)} is of a whole disk and brings its own partitions: leave"
        " it at auto, or install from a root archive"
    )
    return FieldProblem("disk_layout", text)


def offer_problem(
    idc: str,
    os_type: str | None,
    os_version: str | None,
    capabilities: Capabilities | None,
    regions: Callable[[], list[RegionView]],
) -> FieldProblem | None:
    """What keeps a region from installing an OS; of a name that is None nothing is said."""
    if capabilities is None:
        known = [region.idc for region in regions() if region.capabilities]
        names = ", ".join(known) or "none yet"
        return FieldProblem("idc", f"no region {idc!r}; known: {names}")
    if os_type is None and os_version is None:
        return None
    offered = [(each.os_type, each.os_version) for each in capabilities.offered]
    asked = (os_type, os_version)
    if any(all(map(_is_or_unsaid, asked, each)) for each in offered):
        return None
    names = ", ".join(" ".join(pair) for pair in offered) or "nothing yet: build an image"
    on_its_way = _on_its_way(idc, os_type, os_version, regions())
    of_type = os_type is not None and os_type not in {each for each, _ in offered}
    field = "os_type" if of_type or os_version is None else "os_version"
    what = " ".join(name for name in asked if name is not None)
    return FieldProblem(field, f"{idc} does not offer {what}{on_its_way}; it has: {names}")


def _on_its_way(
    idc: str, os_type: str | None, os_version: str | None, regions: list[RegionView]
) -> str:
    """That a region fetches it now, and how far that is; nothing where it does not."""
    beats = (region.heartbeat for region in regions if region.idc == idc)
    fetching = next((beat.fetching for beat in beats if beat), None)
    arrival = coming(fetching, os_type, os_version)
    if fetching is None or arrival is None:
        return ""
    if fetching.error or arrival.error:
        return (
            f" yet, and cannot fetch the {arrival.kind} {arrival.name} now"
            f" (`lpmos region show {idc}` says why)"
        )
    now = "fetches" if fetching.current == arrival.name else "will fetch"
    return f" yet: it {now} the {arrival.kind} {arrival.name}, {arrival.progress} are there"


def _is_or_unsaid(asked: str | None, offered: str) -> bool:
    return asked is None or asked == offered


def check_retried(task: Task, earlier: Task | None) -> None:
    """A task that is tried again is still what its machine had last.

    Raises:
        Conflict: the machine has another task since.
    """
    if task.retry_of is None or (earlier and earlier.task_id == task.retry_of):
        return
    now = f"has task {earlier.task_id} since" if earlier else "has no task"
    raise Conflict(f"machine {task.sn} {now}; only its last task can be tried again")


def check_owner(
    task: Task, machine: Machine | None, earlier: Task | None, viewer: str | None
) -> None:
    """The machine is the tenant's; before it ever reported, its last task says whose it is.

    Args:
        task: the new one.
        machine: its machine's record.
        earlier: its machine's last task.
        viewer: the tenant of who asks.

    Raises:
        NotFound: it is another's, which is not there for a tenant's users.
        Conflict: the same, for the provider's.
    """
    if _is_tenants(task, machine, earlier):
        return
    if viewer is not None:
        raise NotFound(f"there is no machine {task.sn} in {task.idc}")
    raise Conflict(f"machine {task.sn} of {task.idc} does not belong to {task.tenant}")


def check_nic(task: Task, machine: Machine | None, other: Task | None, viewer: str | None) -> None:
    """The MAC is none of another's machine, which would boot this task: a netboot goes by the MAC.

    Args:
        task: the new one.
        machine: the record of another machine, which may have the MAC.
        other: that machine's last task.
        viewer: the tenant of who asks.

    Raises:
        NotFound, Conflict: as `check_owner`.
    """
    is_its = (machine and task.mac in machine.macs) or (other and task.mac == other.mac)
    if not is_its or _is_tenants(task, machine, other):
        return
    if viewer is not None:
        raise NotFound(f"there is no machine with the MAC {task.mac} in {task.idc}")
    raise Conflict(f"the machine with the MAC {task.mac} does not belong to {task.tenant}")


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
        UnfinishedTask: it does.
    """
    if other is None or other.mac != task.mac or other.finished:
        return
    raise UnfinishedTask(
        f"MAC {task.mac} belongs to machine {other.sn}, whose task {other.task_id} is"
        f" {other.status.value}"
    )


def check_same(known: Task, task: Task) -> None:
    """What an earlier call with the same idempotency key made is what this call asks for.

    Raises:
        Conflict: that call asked for something else.
    """
    names = [name for name in ASKED if name != "tenant" or task.tenant]
    names += ["retry_of"]
    differing = [name for name in names if getattr(known, name) != getattr(task, name)]
    if differing:
        raise Conflict(
            f"this idempotency key made task {known.task_id}, which differs in"
            f" {', '.join(differing)}; use a new key"
        )


def _is_tenants(task: Task, machine: Machine | None, last: Task | None) -> bool:
    """Whether a machine, of which these are known, is for the task's tenant."""
    known = machine or last
    return known is None or sees(task.tenant, known.tenant)
