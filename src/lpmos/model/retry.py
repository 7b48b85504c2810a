"""Which failures may pass by themselves, and when such a task is tried again (L4).

The rule: only a task of which nothing was written is tried again without being asked, as a new
attempt that needs a new approval. So no machine ever installs itself anew. See ADR 0017.
"""

import uuid
from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType

import msgspec

from lpmos.model.lifecycle import Status
from lpmos.model.task import Task
from lpmos.model.waiting import LIMITS

TRANSIENT: Mapping[str, str] = MappingProxyType(
    {
        LIMITS[Status.PENDING].code: "the region may have been busy, or lacked an image",
        LIMITS[Status.BOOTING].code: "the network may have lost the agent's files",
        LIMITS[Status.APPROVED].code: "the machine may have been reset while it waited",
    }
)
"""Codes of errors that may pass, and why; all others wait for a person."""

DOUBLINGS = 30


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How often and when: the first after `first_s`, then twice that, and so on to `longest_s`.

    Each pause is lengthened by up to `jitter` of itself. A limit of 0 tries nothing again.
    """

    limit: int = 2
    first_s: int = 60
    longest_s: int = 3600
    jitter: float = 0.25


def is_transient(task: Task) -> bool:
    """Whether the task failed for a reason that may pass, with nothing written."""
    error = task.error
    return (
        task.status is Status.FAILED
        and error is not None
        and error.code in TRANSIENT
        and untouched(task)
    )


def untouched(task: Task) -> bool:
    """Whether no run of an agent ever had the right to write for this task.

    The claim comes before the first write, and is a state of its own. One that was made while the
    region was cut off, and was handed in after the task's end, stands in the intent alone.
    """
    claimed = task.intent is not None and task.intent.claimed_by is not None
    return not claimed and all(
        change.status is not Status.INSTALLING for change in task.status_history
    )


def pause(policy: RetryPolicy, task_id: str, tries: int) -> timedelta:
    """How long after its failure a task is tried again that was so `tries` times before.

    The jitter comes from the task's id, so that every control plane finds the same time.
    """
    wait_s = min(policy.first_s * 2.0 ** min(tries, DOUBLINGS), policy.longest_s)
    fraction = uuid.UUID(task_id).int % 1000 / 1000
    return timedelta(seconds=wait_s * (1 + policy.jitter * fraction))
