"""A job: what the agent does on a machine in place of an install, as steps in the order asked for.

The rule: what a job may write is in its plan, disk by disk by the identity that the agent reported,
before anybody approves it; everything else it does only reads. A job installs nothing: the
machine's installed system, as the store knows it, is after the job what it was before, or gone
where the job wrote to its disk.
"""

import hashlib
from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec

from lpmos.model.diskplan import HINT_CHARACTERS, Member, RootDiskHints
from lpmos.model.diskplan.layout import Erase
from lpmos.model.errors import FieldProblem

STEPS_LIMIT = 10
DISKS_LIMIT = 64
JOB_BYTES = 8192
"""What the steps may take of their task's document, which has a limit (S13)."""
JOB_OS = "job"
"""The `os_type` of a task that is a job; its `os_version` names the steps."""
STAGE = "job"
"""The one stage of a job's progress; at 100 the task is completed."""
EVIDENCE_LINES = 8
EVIDENCE_CHARACTERS = 200

Passes = Annotated[int, msgspec.Meta(ge=1, le=100)]
TestBytes = Annotated[int, msgspec.Meta(ge=1 << 20, le=2**53 - 1)]
Disks = Annotated[tuple[RootDiskHints, ...], msgspec.Meta(max_length=DISKS_LIMIT)]
StepName = Literal["memory_test", "disk_test", "disk_erase", "inventory", "rescue"]


class _Step(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="step"
):
    """What all steps have in common: how they are written."""


class MemoryTest(_Step, frozen=True, kw_only=True, tag="memory_test"):
    """Patterns written to memory and read again: `size_bytes` of it, else `percent` of the free.

    What the agent and its kernel need stays out of it.
    """

    percent: Annotated[int, msgspec.Meta(ge=1, le=100)] = 100
    size_bytes: TestBytes | None = None
    passes: Passes = 1


class DiskTest(_Step, frozen=True, kw_only=True, tag="disk_test"):
    """Every block of the disks read; with `write` a pattern written to it first, and compared.

    No `disks` are all that the machine has, for reading only. `size_bytes` ends the test of each
    disk so far from its start.
    """

    disks: Disks = ()
    mode: Literal["read", "write"] = "read"
    passes: Passes = 1
    size_bytes: TestBytes | None = None


class DiskErase(_Step, frozen=True, kw_only=True, tag="disk_erase"):
    """The disks made blank: their signatures, and as deep as `level` says."""

    disks: Annotated[tuple[RootDiskHints, ...], msgspec.Meta(min_length=1, max_length=DISKS_LIMIT)]
    level: Erase = "signatures"


class TakeInventory(_Step, frozen=True, kw_only=True, tag="inventory"):
    """What the machine has looked at once more, and whether it is what was reported."""


class Rescue(_Step, frozen=True, kw_only=True, tag="rescue"):
    """The agent stays for so many minutes, else until the task is cancelled.

    With `ssh` the holders of the task's `ssh_keys` log in as root meanwhile.
    """

    minutes: Annotated[int, msgspec.Meta(ge=1, le=10_080)] | None = None
    ssh: bool = False


JobStep = MemoryTest | DiskTest | DiskErase | TakeInventory | Rescue


class Job(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the agent shall do, one after the other; the first step that fails ends it."""

    steps: Annotated[tuple[JobStep, ...], msgspec.Meta(min_length=1, max_length=STEPS_LIMIT)]

    @property
    def names(self) -> tuple[StepName, ...]:
        """The steps by name, each once, in the order of their first."""
        return tuple(dict.fromkeys(map(name_of, self.steps)))

    @property
    def writes(self) -> bool:
        """Whether a step writes to disks."""
        return any(map(writes, self.steps))

    @property
    def has_ssh(self) -> bool:
        """Whether people may log in."""
        return any(isinstance(step, Rescue) and step.ssh for step in self.steps)

    @property
    def title(self) -> str:
        """Its steps as the version of an OS may be written: `memory-test.disk-test`."""
        return ".".join(self.names).replace("_", "-")


class PlannedStep(msgspec.Struct, frozen=True, kw_only=True):
    """A step with the disks that it is of; `writes`: what they hold is lost."""

    asked: JobStep
    devices: tuple[str, ...] = ()
    writes: bool = False


class JobPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What will be done on one machine: `disks` are those that steps name, as they were reported.

    Of a disk that a step writes to `overwrites` is what is lost.
    """

    steps: tuple[PlannedStep, ...]
    disks: tuple[Member, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 in hex of all that it says: an approval names by it what was seen."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()

    @property
    def written(self) -> tuple[Member, ...]:
        """The disks whose contents are lost."""
        return self.written_by(len(self.steps))

    def written_by(self, begun: int) -> tuple[Member, ...]:
        """The disks whose contents are lost once so many of its steps have begun."""
        steps = [step for step in self.steps[:begun] if step.writes]
        devices = {device for step in steps for device in step.devices}
        return tuple(disk for disk in self.disks if disk.device in devices)


class StepResult(msgspec.Struct, frozen=True, kw_only=True):
    """How a step ended: `summary` in one line, `evidence` what was found (disk, offset, bytes)."""

    step: str
    outcome: Literal["passed", "failed"]
    seconds: float
    summary: str
    evidence: tuple[str, ...] = ()


def name_of(step: JobStep) -> StepName:
    """The word for a step in documents."""
    return _NAMES[type(step)]


_NAMES: dict[type, StepName] = {
    MemoryTest: "memory_test",
    DiskTest: "disk_test",
    DiskErase: "disk_erase",
    TakeInventory: "inventory",
    Rescue: "rescue",
}


def writes(step: JobStep) -> bool:
    """Whether it writes to disks."""
    return isinstance(step, DiskErase) or (isinstance(step, DiskTest) and step.mode == "write")


def job_problems(job: Job, ssh_keys: tuple[str, ...]) -> list[FieldProblem]:
    """All that is wrong with a job, whatever the machine has; empty where nothing is."""
    found = [
        FieldProblem(f"job.steps.{number}{field}", text)
        for number, step in enumerate(job.steps)
        for field, text in _step_problems(step)
    ]
    if len(msgspec.json.encode(job)) > JOB_BYTES:
        found.append(FieldProblem("job", f"over {JOB_BYTES} bytes"))
    if job.has_ssh != bool(ssh_keys):
        text = "is missing, and a step of the job has ssh" if job.has_ssh else "no step has ssh"
        found.append(FieldProblem("ssh_keys", text))
    last = len(job.steps) - 1
    found += [
        FieldProblem(f"job.steps.{number}.minutes", "is missing, and steps come after it")
        for number, step in enumerate(job.steps)
        if isinstance(step, Rescue) and step.minutes is None and number < last
    ]
    return found


def _step_problems(step: JobStep) -> Iterator[tuple[str, str]]:
    if isinstance(step, MemoryTest) and step.size_bytes is not None and step.percent != 100:
        yield ".percent", "contradicts size_bytes"
    if not isinstance(step, DiskTest | DiskErase):
        return
    if writes(step) and not step.disks:
        yield ".disks", "is missing: name by serial each disk whose contents shall be lost"
    for number, hints in enumerate(step.disks):
        if writes(step) and hints.serial is None:
            yield f".disks.{number}.serial", "is missing: what is written is named by its serial"
        for name in ("serial", "wwn", "model", "device", "path"):
            if len(getattr(hints, name) or "") > HINT_CHARACTERS:
                yield f".disks.{number}.{name}", f"more than {HINT_CHARACTERS} characters"
