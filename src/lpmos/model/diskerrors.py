"""Whether a task's own words say that a disk which it writes to gives errors.

The rule: a word of an error is not enough. Kernels and installers complain of virtual media, of
empty drives and of pipes; what counts names a disk of the plan, or is the output of what failed.
"""

import re

from lpmos.model.task import Task

_ERRORS = ("i/o error", "input/output error", "medium error")
"""In the words of the kernel, of strerror(3), and of programs."""
_ERRORS_OF_WRITING = (*_ERRORS, "write error", "read-only file system")
"""In the output of a command that failed these are why."""
_ANOTHER_CAUSE = ("broken pipe", "no space left")
_DEVICE = re.compile(
    r"\b((?:sd|vd|xvd)[a-z]{1,3}|nvme\d+(?:c\d+)?n\d+|mmcblk\d+|sr\d+|fd\d+)(?:p?\d+)?\b"
)
"""Names of disks, drives and partitions (Documentation/admin-guide/devices.txt)."""
_CONTROLLER = re.compile(r"(?<=\d)c\d+(?=n)")
"""The path to an NVMe disk in the kernel's words of it (drivers/nvme/host/multipath.c)."""


def disk_fails(task: Task) -> bool:
    """Whether a line of its log, or of the error by which it failed, says so."""
    error = task.error
    output = [error.reason, *(error.output or "").splitlines()] if error else []
    ours = _disks(task)
    return any(_says(line, _ERRORS) and _named(line) & ours for line in task.logs) or any(
        _says(line, _ERRORS_OF_WRITING)
        and not _says(line, _ANOTHER_CAUSE)
        and (not _named(line) or _named(line) & ours)
        for line in output
    )


def _disks(task: Task) -> set[str]:
    """The names of the disks that it is about."""
    plan = task.plan or task.job_plan
    return {disk.device.rpartition("/")[2] for disk in plan.disks} if plan else set()


def _named(line: str) -> set[str]:
    return {_CONTROLLER.sub("", found[1]) for found in _DEVICE.finditer(line)}


def _says(line: str, words: tuple[str, ...]) -> bool:
    return any(word in line.lower() for word in words)
