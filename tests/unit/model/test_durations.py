"""How long each part of a task took, and the percentiles over many."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.model import boot
from lpmos.model.durations import (
    BOOT_PARTS,
    FIRST_BOOT,
    RESTART_PARTS,
    WHOLE,
    durations,
    percentile,
    took,
)
from lpmos.model.lifecycle import Status
from lpmos.model.task import Progress, StatusChange, Task
from tests.support.builders import NOW, make_task

WAY = (
    (Status.PENDING, 0),
    (Status.READY, 1),
    (Status.BOOTING, 31),
    (Status.PENDING_APPROVAL, 61),
    (Status.APPROVED, 361),
    (Status.INSTALLING, 362),
    (Status.COMPLETED, 500),
)


def finished(**fields: object) -> Task:
    history = tuple(
        StatusChange(status=status, timestamp=NOW + timedelta(seconds=s)) for status, s in WAY
    )
    steps = tuple(
        Progress(step=step, percent=p, timestamp=NOW + timedelta(seconds=s))
        for step, p, s in (("partitioning", 20, 372), ("downloading", 60, 402))
    )
    document: dict[str, object] = {"status": Status.COMPLETED, "status_history": history}
    return make_task(**(document | {"progress": steps} | fields))


def test_durations_are_of_statuses_and_steps_without_the_time_of_people() -> None:
    found = durations(finished())
    assert found["ready"] == 30 and found["pending_approval"] == 300
    assert (found["partitioning"], found["downloading"]) == (10, 30)
    assert found["installing"] == 138 and found[WHOLE] == 469 - 300
    assert FIRST_BOOT not in found


def test_durations_of_an_install_that_handed_over_end_there() -> None:
    over = NOW + timedelta(seconds=410)
    restart = Progress(step="restarting", percent=99, timestamp=over)
    task = finished()
    found = durations(finished(handed_over_at=over, progress=(*task.progress, restart)))
    assert (found["installing"], found[FIRST_BOOT]) == (48, 90)
    assert "restarting" not in found


def test_durations_keep_a_step_apart_from_the_status_of_its_name() -> None:
    step = Progress(step="installing", percent=90, timestamp=NOW + timedelta(seconds=450))
    found = durations(finished(progress=(*finished().progress, step)))
    assert (found["installing"], found["install.installing"]) == (138, 48)


def test_durations_leave_out_what_a_clock_made_negative() -> None:
    back = StatusChange(status=Status.READY, timestamp=NOW - timedelta(hours=1))
    task = make_task(status_history=(StatusChange(status=Status.PENDING, timestamp=NOW), back))
    assert durations(task) == {}


def test_took_has_each_part_once_in_order() -> None:
    found = took([{"ready": 1.0, "booting": 2.0}, {"ready": 3.0}])
    assert [(each.part, each.count, each.p50_s, each.p95_s) for each in found] == [
        ("ready", 2, 1.0, 3.0),
        ("booting", 1, 2.0, 2.0),
    ]


@given(st.lists(st.floats(0, 1e6), min_size=1), st.sampled_from([0.5, 0.95]))
def test_percentile_is_a_value_that_the_share_does_not_exceed(
    values: list[float], share: float
) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values)
    assert sum(value < found for value in values) < share * len(values)


def test_percentile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def moments(**at_s: float) -> dict[str, datetime]:
    """Moments by the names of their constants, so many seconds after `NOW`."""
    return {getattr(boot, name): NOW + timedelta(seconds=s) for name, s in at_s.items()}


def test_parts_of_a_boot_are_between_its_moments() -> None:
    seen = moments(DHCP=31, ADDRESS=32, LOADER=34, IPXE=39, SCRIPT=39.5)
    files = moments(KERNEL_ASKED=40, KERNEL=42, INITRAMFS_ASKED=42, INITRAMFS=47, AGENT=59)
    found = durations(finished(boot=seen | files))
    assert {part: found[part] for part in BOOT_PARTS} == {
        "boot": 28,
        "boot.address": 1,
        "boot.loader": 2,
        "boot.ipxe": 5,
        "boot.kernel": 2,
        "boot.initramfs": 5,
        "boot.start": 12,
    }


def test_part_of_a_boot_that_was_not_seen_whole_is_left_out() -> None:
    seen = moments(DHCP=31, KERNEL_ASKED=40, INITRAMFS_ASKED=42, INITRAMFS=41, AGENT=59)
    found = durations(finished(boot=seen))
    assert {*found} & {*BOOT_PARTS} == {"boot", "boot.start"}


def test_parts_of_a_restart_fill_the_first_boot() -> None:
    seen = moments(RESTART_SEEN=430, RESTART_SCRIPT=440, RESTART_NETWORK=470)
    found = durations(finished(handed_over_at=NOW + timedelta(seconds=410), boot=seen))
    assert {part: found[part] for part in RESTART_PARTS} == {
        "restart.seen": 20,
        "restart.script": 10,
        "restart.system": 60,
    }
    assert sum(found[part] for part in RESTART_PARTS) == found[FIRST_BOOT]
