"""A job as the agent takes it from the wire, checked as a whole before its first step.

The same shape as `lpmos.model.installplan.JobOrder`, declared once more because the agent stands
alone. The rule: a step or an argument that is not understood refuses the job before it is claimed,
and a step writes only to disks that the plan says it writes to.
"""

from typing import NamedTuple

from lpmos.agent.diskplan import ERASE_LEVELS, Member, parse_member
from lpmos.agent.fields import mapping, not_understood, optional, sequence, take

WORD = "job"
"""What the plan's `boot_loader` is, so that an agent without jobs refuses it."""


class MemoryTest(NamedTuple):
    """So many bytes, else so much of what is free."""

    percent: int
    size_bytes: int | None
    passes: int


class DiskTest(NamedTuple):
    """Read all, or with `writes` write a pattern first; `size_bytes` is how far of each disk."""

    writes: bool
    passes: int
    size_bytes: int | None


class DiskErase(NamedTuple):
    """How deep."""

    level: str


class TakeInventory(NamedTuple):
    """Nothing to say."""


class Rescue(NamedTuple):
    """How long, None until the task is cancelled; and whether people may log in."""

    minutes: int | None
    ssh: bool


Asked = MemoryTest | DiskTest | DiskErase | TakeInventory | Rescue


class PlannedStep(NamedTuple):
    """A step with the disks that were approved for it."""

    name: str
    asked: Asked
    disks: tuple[Member, ...]


class JobOrder(NamedTuple):
    """What an approved job's agent does."""

    task_id: str
    intent_id: str
    steps: tuple[PlannedStep, ...]
    ssh_keys: tuple[str, ...]


def is_job(document: object) -> bool:
    """Whether the plan of an approval is a job's."""
    return isinstance(document, dict) and document.get("boot_loader") == WORD


def parse_order(document: object) -> JobOrder | None:
    """Take the plan of an approval, where it is a job; None where it is an install.

    Raises:
        InstallError: a field is missing, of the wrong type, or asks for what this agent cannot do.
    """
    if not is_job(document):
        return None
    plan = mapping(document, "plan")
    job = mapping(plan.get("job"), "job")
    said = sequence(job.get("disks", []), "job.disks")
    disks = [parse_member(mapping(each, "job.disks")) for each in said]
    by_device = {disk.device: disk for disk in disks}
    steps = tuple(
        _planned(mapping(each, "job.steps"), by_device)
        for each in sequence(job.get("steps"), "job.steps")
    )
    if not steps:
        raise not_understood("job.steps", [])
    return JobOrder(
        task_id=take(plan, "task_id", str),
        intent_id=take(plan, "intent_id", str),
        steps=steps,
        ssh_keys=tuple(map(str, sequence(plan.get("ssh_keys", []), "ssh_keys"))),
    )


def _planned(step: dict[str, object], by_device: dict[str, Member]) -> PlannedStep:
    arguments = dict(mapping(step.get("asked"), "job.steps.asked"))
    name = take(arguments, "step", str)
    del arguments["step"]
    arguments.pop("disks", None)  # what was wished; the plan says which they are
    asked = _asked(name, arguments)
    if arguments:
        raise not_understood(f"job step {name}", ", ".join(sorted(arguments)))
    devices = [str(each) for each in sequence(step.get("devices", []), "job.steps.devices")]
    if unknown := [device for device in devices if device not in by_device]:
        raise not_understood("job.steps.devices", unknown)
    writes = isinstance(asked, DiskErase) or (isinstance(asked, DiskTest) and asked.writes)
    if (step.get("writes") is True) != writes:
        raise not_understood("job.steps.writes", step.get("writes"))
    if isinstance(asked, DiskTest | DiskErase) and not devices:
        raise not_understood("job.steps.devices", devices)
    return PlannedStep(name, asked, tuple(by_device[device] for device in devices))


def _asked(name: str, arguments: dict[str, object]) -> Asked:
    """The step of this name; its arguments are taken out."""
    if name == "memory_test":
        return MemoryTest(
            percent=_number(arguments, "percent", 100, most=100) or 100,
            size_bytes=_number(arguments, "size_bytes", None),
            passes=_number(arguments, "passes", 1) or 1,
        )
    if name == "disk_test":
        mode = arguments.pop("mode", "read")
        if mode not in ("read", "write"):
            raise not_understood("disk_test.mode", mode)
        return DiskTest(
            writes=mode == "write",
            passes=_number(arguments, "passes", 1) or 1,
            size_bytes=_number(arguments, "size_bytes", None),
        )
    if name == "disk_erase":
        level = arguments.pop("level", ERASE_LEVELS[0])
        if level not in ERASE_LEVELS:
            raise not_understood("disk_erase.level", level)
        return DiskErase(str(level))
    if name == "inventory":
        return TakeInventory()
    if name == "rescue":
        ssh = optional(arguments, "ssh", bool) or False
        arguments.pop("ssh", None)
        return Rescue(_number(arguments, "minutes", None), ssh)
    raise not_understood("job.steps", name)


def _number(
    arguments: dict[str, object], name: str, otherwise: int | None, *, most: int | None = None
) -> int | None:
    """A whole number from 1 on; it is taken out."""
    number = optional(arguments, name, int)
    arguments.pop(name, None)
    if number is None:
        return otherwise
    if number < 1 or (most is not None and number > most):
        raise not_understood(name, number)
    return number
