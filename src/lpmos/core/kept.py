"""What a region keeps while the store is away: each call that a machine was answered, as a value.

A word is performed by the same use case that answers the call where the store is there, with the
time at which it was said: nothing is decided twice in two ways.
"""

from datetime import datetime
from typing import Literal

import msgspec

from lpmos.core.agentrun import AgentRun
from lpmos.core.agents import Agents
from lpmos.core.taskstore import logged
from lpmos.model.errors import NotFound
from lpmos.model.handin import Word
from lpmos.model.inventory import Inventory
from lpmos.model.job import StepResult
from lpmos.model.task import Intent, Progress, Task, TaskError


class Kept(msgspec.Struct, frozen=True, kw_only=True, tag_field="word", omit_defaults=True):
    """What all have; `sn` is the task's, both are None where the machine has no task."""

    at: datetime
    mac: str
    agent_id: str = ""
    task_id: str | None = None
    sn: str | None = None

    @property
    def run(self) -> AgentRun:
        """The agent run that spoke."""
        return AgentRun(mac=self.mac, agent_id=self.agent_id)


class Prepared(Kept, frozen=True, kw_only=True, tag=Word.PREPARED.value):
    """The boot files are there."""


class GivenUp(Kept, frozen=True, kw_only=True, tag=Word.GIVEN_UP.value):
    """The region ended the task."""

    error: TaskError


class Booted(Kept, frozen=True, kw_only=True, tag=Word.BOOTED.value):
    """The machine got its boot script."""


class Reported(Kept, frozen=True, kw_only=True, tag=Word.REPORTED.value):
    """A hardware report; `follows` is the run that had reported for the task before."""

    follows: str | None = None
    said_sn: str | None = None
    inventory: Inventory
    required_bytes: int
    whole_image: bool = False
    sector_bytes: int | None = None

    @property
    def content(self) -> bytes:
        """What makes it another report than the one before: all but when it was collected."""
        stable = msgspec.structs.replace(self.inventory, collected_at=datetime.min)
        return msgspec.json.encode((self.task_id, self.agent_id, self.said_sn, stable))


class Claimed(Kept, frozen=True, kw_only=True, tag=Word.CLAIMED.value):
    """The single-use intent was taken."""

    intent_id: str | None


class Progressed(Kept, frozen=True, kw_only=True, tag=Word.PROGRESSED.value):
    """Progress with its log lines, and the results of a job's steps until then."""

    progress: Progress
    lines: tuple[str, ...] = ()
    marks: dict[str, int] = {}
    results: tuple[StepResult, ...] = ()


class Failed(Kept, frozen=True, kw_only=True, tag=Word.FAILED.value):
    """The agent gave up."""

    error: TaskError


class HandedOver(Kept, frozen=True, kw_only=True, tag=Word.HANDED_OVER.value):
    """The agent's last word: all is on the disk."""

    token_sha256: str


class InstallerBegins(Kept, frozen=True, kw_only=True, tag=Word.INSTALLER_BEGINS.value):
    """The agent's last word before the distribution's installer."""

    by: Literal["kexec", "restart"]


class InstallerScript(Kept, frozen=True, kw_only=True, tag=Word.INSTALLER_SCRIPT.value):
    """The machine got the one boot script with the installer."""


class CameUp(Kept, frozen=True, kw_only=True, tag=Word.CAME_UP.value):
    """The installed system's first word; of its token the digest alone is kept."""

    token_sha256: str


_ByInstaller = InstallerBegins | InstallerScript
_OfTask = (
    Prepared | GivenUp | Booted | Claimed | Progressed | Failed | HandedOver | CameUp | _ByInstaller
)
AnyKept = _OfTask | Reported


def word_of(kept: AnyKept) -> Word:
    """Its kind."""
    return Word(str(kept.__struct_config__.tag))


async def perform(agents: Agents, kept: AnyKept, task: Task | None) -> Task | None:
    """Do what was said, by the use case for it; the task after it.

    Args:
        agents: whose clock tells the time of `kept`.
        kept: what was said.
        task: the task that it is about, as far as it is known.

    Raises:
        NotFound, Conflict: it can no longer be done; nothing was changed.
        NoTask: of a report: it was kept for people (S7).
    """
    match kept:
        case Reported():
            return await agents.report(
                kept.run,
                kept.said_sn,
                kept.inventory,
                kept.required_bytes,
                whole_image=kept.whole_image,
                sector_bytes=kept.sector_bytes,
                follows=kept.follows,
            )
        case _ if task is None:
            raise NotFound(f"there is no task {kept.task_id}")
        case _:
            return await _perform_on(task, agents, kept)


def with_claim(task: Task, kept: AnyKept) -> Task:
    """The task that ended meanwhile with the claim that its region had let through; else as it is.

    So nobody takes the machine's disk for untouched: it is not tried again by itself, nor given
    back to what it was.
    """
    begins = isinstance(kept, Claimed | HandedOver | InstallerBegins) or (
        isinstance(kept, Progressed) and kept.progress.percent > 0
    )
    allowed = task.approval is not None and task.approval.status == "approved"
    if not (begins and allowed and task.finished and task.task_id == kept.task_id):
        return task
    if task.intent and task.intent.claimed_by:
        return task
    intent_id = kept.intent_id if isinstance(kept, Claimed) else None
    intent = task.intent or Intent(intent_id=intent_id or "")  # a cancellation takes it away
    claimed = msgspec.structs.replace(intent, claimed_by=kept.agent_id)
    line = (
        f"[WARN] the machine began to install at {kept.at:%Y-%m-%dT%H:%M:%SZ}, when its region was"
        " without the store and did not know that the task had ended; its disk may be written"
    )
    return logged(msgspec.structs.replace(task, intent=claimed), kept.at, line)


async def _perform_on(task: Task, agents: Agents, kept: _OfTask) -> Task:
    match kept:
        case Prepared():
            call = agents.prepared(task)
        case GivenUp():
            call = agents.fail(task, kept.error)
        case Booted():
            call = agents.booted(kept.mac, task)
        case Claimed():
            call = agents.claim(kept.run, task.task_id, kept.intent_id)
        case Progressed():
            said = kept.progress, kept.lines, kept.results
            call = agents.progress(kept.run, task.task_id, *said, marks=kept.marks)
        case Failed():
            call = agents.failed(kept.run, task.task_id, kept.error)
        case HandedOver():
            call = agents.handed_over(kept.run, task.task_id, kept.token_sha256)
        case InstallerBegins():
            call = agents.installer_begins(kept.run, task.task_id, kept.by)
        case InstallerScript():
            call = agents.installer_given(kept.mac, task)
        case CameUp():
            call = agents.came_up(kept.mac, task.task_id, kept.token_sha256)
    return await call
