"""How long a task may wait in each state, and what is said where it waited too long (L3, L6).

`LIMITS` is the only table: settings, answers and reasons of failures are made from it. A limit of
0 seconds is none.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType

import msgspec

from lpmos.model.lifecycle import Status
from lpmos.model.task import Task, TaskError

AGENT_AWAY = "agent-away"
MACHINE_RESTARTED = "machine-restarted"
EVIDENCE_CHARACTERS = 300


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """One row: the setting that bounds a wait, its default, and the words where it was too long.

    `code` stands in the task's error, for programs; `reason` and `hint` are for people.
    """

    setting: str
    default_s: int
    code: str
    meaning: str
    reason: str
    hint: str


LIMITS: Mapping[Status, Limit] = MappingProxyType(
    {
        Status.PENDING: Limit(
            setting="pending_timeout_s",
            default_s=3600,
            code="timeout-pending",
            meaning="the region has not prepared the boot files",
            reason="the region did not prepare the boot files within {limit}",
            hint="look at the region's log and its images, then try the task again",
        ),
        Status.READY: Limit(
            setting="ready_timeout_s",
            default_s=0,
            code="timeout-ready",
            meaning="the machine has not asked for its boot script",
            reason="the machine did not boot from the network within {limit}",
            hint="check power, cable and boot order, then try the task again",
        ),
        Status.BOOTING: Limit(
            setting="booting_timeout_s",
            default_s=1800,
            code="timeout-booting",
            meaning="the agent has not reported the hardware",
            reason="the machine took its boot script, but its agent did not report within {limit}",
            hint="look at the machine's console: did the agent's kernel start, does its network"
            " driver work? Then try the task again",
        ),
        Status.PENDING_APPROVAL: Limit(
            setting="approval_timeout_s",
            default_s=0,
            code="timeout-approval",
            meaning="nobody has approved or rejected it",
            reason="nobody approved or rejected the installation within {limit}",
            hint="nothing was written; try the task again when somebody can decide",
        ),
        Status.APPROVED: Limit(
            setting="approved_timeout_s",
            default_s=900,
            code="timeout-approved",
            meaning="the agent has not taken the approval",
            reason="the agent did not take the approval within {limit}",
            hint="nothing was written; see on the machine's console whether the agent still runs,"
            " then try the task again",
        ),
        Status.INSTALLING: Limit(
            setting="installing_timeout_s",
            default_s=1800,
            code="timeout-installing",
            meaning="the installation makes no progress",
            reason="the installation made no progress for {limit}",
            hint="look at the machine's console and the task's log; the disk may be half written:"
            " repair the cause, then try the task again",
        ),
    }
)
"""By the state that waits; of an installation the time since its last news counts."""

AWAY = Limit(
    setting="agent_grace_s",
    default_s=600,
    code=AGENT_AWAY,
    meaning="the agent of a machine that is being installed is not heard",
    reason="the agent was not heard for {limit} in the middle of the installation",
    hint="look at the machine's power, console and network; the disk may be half written: repair"
    " the cause, then try the task again",
)


FIRST_BOOT = Limit(
    setting="first_boot_timeout_s",
    default_s=1800,
    code="timeout-first-boot",
    meaning="the installed system has not said that it came up",
    reason="the installed system did not come up within {limit}",
    hint="the disk holds the new system: look at the machine's console, at the firmware's boot"
    " order, and whether the installed system's network reaches the region. Then try the task"
    " again, or leave the machine as it is: should the system come up later, task and"
    " machine say so",
)
"""Of an installation that is all on the disk, in place of the two above."""


INSTALLER = Limit(
    setting="installer_timeout_s",
    default_s=3600,
    code="timeout-installer",
    meaning="the distribution's installer is not heard",
    reason="the distribution's installer said nothing for {limit}",
    hint="look at the machine's console: it may ask a question, or lack a package; look at the"
    " task's log and at whether the region reaches the installer's repository. The disk may be half"
    " written: repair the cause, then try the task again",
)
"""Of an installation by an installer, which has no agent that could be away."""


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """An operator's limits in seconds, each 0 for none; the defaults are those of the tables."""

    pending_timeout_s: int = LIMITS[Status.PENDING].default_s
    ready_timeout_s: int = LIMITS[Status.READY].default_s
    booting_timeout_s: int = LIMITS[Status.BOOTING].default_s
    approval_timeout_s: int = LIMITS[Status.PENDING_APPROVAL].default_s
    approved_timeout_s: int = LIMITS[Status.APPROVED].default_s
    installing_timeout_s: int = LIMITS[Status.INSTALLING].default_s
    agent_grace_s: int = AWAY.default_s
    first_boot_timeout_s: int = FIRST_BOOT.default_s
    installer_timeout_s: int = INSTALLER.default_s

    def of(self, limit: Limit) -> timedelta | None:
        """How long a wait may be; None where it is not bounded."""
        seconds: int = getattr(self, limit.setting)
        return timedelta(seconds=seconds) if seconds else None


def expired(task: Task, limit: Limit, allowed: timedelta) -> TaskError:
    """The error of a task that waited longer than is allowed, with what was last seen of it."""
    return TaskError(
        reason=f"{limit.reason.format(limit=in_words(allowed))}; last seen: {last_seen(task)}",
        hint=limit.hint,
        code=limit.code,
    )


def last_seen(task: Task) -> str:
    """The newest evidence of a task: the step of its installation, else the last line of its log.

    It fits into one line of a log.
    """
    if task.status is Status.INSTALLING and task.progress:
        newest = task.progress[-1]
        said = f" ({newest.message})" if newest.message else ""
        text = f"{newest.step} {newest.percent:.0f} %{said} at {_moment(newest.timestamp)}"
    elif task.logs:
        text = task.logs[-1]
    else:
        text = f"{task.status.value} at {_moment(task.updated_at)}"
    return text[:EVIDENCE_CHARACTERS]


def in_words(length: timedelta) -> str:
    """A length of time for people: the two largest units that it has."""
    left = round(length.total_seconds())
    parts = []
    for seconds, unit in ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, left = divmod(left, seconds)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"
