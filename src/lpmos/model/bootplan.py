"""What a machine that netboots is told, decided from what is known of it and nothing else.

The rule (L8): an installer never starts from here, but for one case. A machine either boots the
agent into RAM, which writes nothing until it has claimed an approved, single-use intent, or goes on
to its own disk. The one case: the agent took that intent, could not start the distribution's
installer itself, and said so; then the next boot script, and no other, is the installer's. That it
was given is in the task's document before it is given (docs/adr/0026-hand-over-to-installers.md).
It is for the task's own machine alone: a serial number is what anybody may say, so who asks has to
do it by the task's MAC or by a card of the hardware that was approved.
"""

from enum import StrEnum

import msgspec

from lpmos.model.fingerprint import cards_of
from lpmos.model.lifecycle import MEANING, Status
from lpmos.model.machine import Machine
from lpmos.model.task import Task


class UnknownMachines(StrEnum):
    """What happens to a machine that has no task and never had one."""

    DISCOVER = "discover"
    LOCAL_DISK = "local-disk"


class BootAgent(msgspec.Struct, frozen=True):
    """Boot the agent into RAM; `task_id` is None where it only discovers."""

    task_id: str | None
    reason: str


class BootLocalDisk(msgspec.Struct, frozen=True):
    """Go on to the next entry of the firmware's boot order.

    `installed_by` is the task whose system is on the disk, None where that is not known.
    """

    reason: str
    installed_by: str | None = None


class BootInstaller(msgspec.Struct, frozen=True):
    """Boot the distribution's installer, this once; whoever gives the script notes it first."""

    task_id: str
    reason: str


class Wait(msgspec.Struct, frozen=True):
    """Ask again after `retry_after_s` seconds."""

    reason: str
    retry_after_s: int


BootPlan = BootAgent | BootInstaller | BootLocalDisk | Wait

PREPARING_RETRY_S = 2
FOREIGN_RETRY_S = 30


def decide(
    mac: str, machine: Machine | None, task: Task | None, unknown: UnknownMachines
) -> BootPlan:
    """The boot plan of one machine.

    Args:
        mac: the card that asks, normalised.
        machine: what the store keeps of it, None where it was never seen.
        task: its present task, finished or not, None where it has none.
        unknown: the region's policy for machines without either.
    """
    if task is not None and not task.finished:
        return _of_unfinished(mac, task)
    if task is not None and task.rolled_back is None and task.job is None:
        return BootLocalDisk(
            f"task {task.task_id} is {task.status.value}", _installed_by(machine, task)
        )
    if machine is not None and machine.installed is not None:
        task_id = machine.installed.task_id
        return BootLocalDisk(f"installed by task {task_id}", task_id)
    if unknown is UnknownMachines.DISCOVER:
        return BootAgent(None, "no task yet: the agent reports its hardware and waits")
    return BootLocalDisk("no task, and unknown machines boot their own disk here")


def _installed_by(machine: Machine | None, task: Task) -> str | None:
    if task.status is Status.COMPLETED:
        return task.task_id
    return machine.installed.task_id if machine and machine.installed else None


def _of_unfinished(mac: str, task: Task) -> BootPlan:
    if task.starts_its_system:
        reason = f"task {task.task_id} is installed and starts its own system"
        return BootLocalDisk(reason, task.task_id)
    if task.status is Status.PENDING:
        return Wait("the region is preparing this machine's boot files", PREPARING_RETRY_S)
    if task.status is Status.INSTALLING and task.handover and task.handover.script_waits:
        if mac != task.mac and mac not in (cards_of(task.hardware) if task.hardware else ()):
            reason = (
                f"task {task.task_id} starts its installer, and {mac} is no card of its machine"
            )
            return Wait(reason, FOREIGN_RETRY_S)
        return BootInstaller(task.task_id, "the agent handed over to the installer")
    return BootAgent(task.task_id, MEANING[task.status])
