"""Which words of a task say that its disk fails, and which are of something else."""

import pytest

from lpmos.model.diskerrors import disk_fails
from lpmos.model.diskplan import DiskPlan
from lpmos.model.lifecycle import Status
from lpmos.model.task import Task, TaskError
from tests.support.builders import make_task

PLAN = DiskPlan(device="/dev/nvme0n1", size_bytes=1, partitions=())


def logged(line: str) -> Task:
    return make_task(status=Status.INSTALLING, plan=PLAN, logs=("[INFO] begun", line))


def failed(output: str, plan: DiskPlan | None = PLAN) -> Task:
    error = TaskError(reason="the command failed", output=f"first line\n{output}")
    return make_task(status=Status.FAILED, plan=plan, error=error)


@pytest.mark.parametrize(
    "line",
    [
        "[ERROR] [kernel] I/O error, dev nvme0n1, sector 2048 op 0x1:(WRITE)",
        "[kernel] critical medium error, dev nvme0n1, sector 8",
        "[kernel] I/O error, dev nvme0c0n1, sector 8",
        "[kernel] Buffer I/O error on dev nvme0c12n1p2, logical block 0",
        "[kernel] Buffer I/O error on dev nvme0n1p2, logical block 0, lost async page write",
        "dd: error writing '/dev/nvme0n1': Input/output error",
    ],
)
def test_line_of_the_log_that_names_a_disk_of_the_plan_says_it(line: str) -> None:
    assert disk_fails(logged(line))
    assert not disk_fails(make_task(status=Status.INSTALLING, logs=(line,)))


@pytest.mark.parametrize(
    "line",
    [
        "[kernel] I/O error, dev fd0, sector 0 op 0x0:(READ)",
        "[kernel] I/O error, dev sr0, sector 0 op 0x0:(READ)",
        "[kernel] Buffer I/O error on dev sdb, logical block 0",
        "[kernel] I/O error, dev nvme0n10, sector 0",
        "[kernel] I/O error, dev nvme1c0n1, sector 0",
        "tar: write error: Broken pipe",
        "mount: /target: read-only file system",
        "cat: Input/output error",
        "nvme0n1: 8 GiB",
    ],
)
def test_line_of_the_log_about_something_else_does_not(line: str) -> None:
    assert not disk_fails(logged(line))


@pytest.mark.parametrize(
    "output",
    [
        "sfdisk: write failed: Input/output error",
        "[Errno 5] Input/output error",
        "I/O error",
        "mkfs: write error",
        "cp: Read-only file system",
        "I/O error, dev nvme0n1, sector 0",
    ],
)
def test_output_of_what_failed_says_it_in_the_words_of_any_program(output: str) -> None:
    assert disk_fails(failed(output))


@pytest.mark.parametrize(
    "output",
    [
        "tar: write error: Broken pipe",
        "cp: write error: No space left on device",
        "[kernel] I/O error, dev sr0, sector 0",
    ],
)
def test_output_about_something_else_does_not(output: str) -> None:
    assert not disk_fails(failed(output))


def test_output_needs_no_plan() -> None:
    assert disk_fails(failed("write error: Input/output", plan=None))
    assert not disk_fails(make_task(status=Status.FAILED))
