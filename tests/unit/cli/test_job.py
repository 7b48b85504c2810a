"""A job in flags, and as it is shown to whoever approves it."""

import argparse

import pytest

from lpmos.cli.failures import Usage
from lpmos.cli.job import job_lines, question
from lpmos.cli.main import parser
from lpmos.cli.task_create import body_of

PLAN = {
    "steps": [
        {"asked": {"step": "memory_test", "passes": 2}, "devices": [], "writes": False},
        {
            "asked": {"step": "disk_erase", "level": "discard", "disks": [{"serial": "A"}]},
            "devices": ["/dev/sda"],
            "writes": True,
        },
        {"asked": {"step": "disk_test"}, "devices": ["/dev/sda", "/dev/sdb"], "writes": False},
    ],
    "disks": [
        {"device": "/dev/sda", "size_bytes": 10**9, "serial": "A", "overwrites": ["gpt", "ext4"]},
        {"device": "/dev/sdb", "size_bytes": 10**9, "serial": "B", "overwrites": ["xfs"]},
    ],
}


def chosen(*steps: str) -> argparse.Namespace:
    flags = [word for step in steps for word in ("--job", step)]
    return parser("task").parse_args(["task", "create", *flags])


def test_job_of_flags_has_the_steps_in_their_order() -> None:
    body = body_of(
        chosen(
            "memory_test:percent=80,passes=2",
            "disk_test",
            "disk_erase:disk=A,disk=B,level=discard,overwrite=yes",
            "rescue:minutes=60,ssh=yes",
            '{"step": "disk_test", "disks": [{"rotational": true}]}',
        )
    )
    assert body == {
        "job": {
            "steps": [
                {"step": "memory_test", "percent": 80, "passes": 2},
                {"step": "disk_test"},
                {
                    "step": "disk_erase",
                    "level": "discard",
                    "disks": [
                        {"serial": "A", "overwrite": True},
                        {"serial": "B", "overwrite": True},
                    ],
                },
                {"step": "rescue", "minutes": 60, "ssh": True},
                {"step": "disk_test", "disks": [{"rotational": True}]},
            ]
        }
    }


@pytest.mark.parametrize(
    "step",
    ["{", "rescue:ssh=maybe", "memory_test:passes=two", "disk_test:speed=9", "disk_test:disk",
     "memory_test:overwrite=yes"],
)  # fmt: skip
def test_job_that_cannot_be_sent_is_refused(step: str) -> None:
    with pytest.raises(Usage):
        body_of(chosen(step))


def test_lines_of_a_job_name_what_is_lost_and_nothing_else_as_lost() -> None:
    assert list(job_lines(PLAN)) == [
        "1. memory_test (passes=2)",
        "2. disk_erase (level=discard) /dev/sda: WRITES",
        "3. disk_test /dev/sda, /dev/sdb",
        "/dev/sda 1 GB A",
        "  LOST: gpt, ext4",
    ]
    assert question({"sn": "S1", "job_plan": PLAN}) == "Do this job on S1, and write /dev/sda?"
