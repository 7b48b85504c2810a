"""What a job may say, and the disks that its plan names."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.model.diskplan import GIB
from lpmos.model.errors import InvalidInput, NoSuitableDisk
from lpmos.model.inventory import Disk
from lpmos.model.job import Job, JobPlan
from lpmos.model.jobplan import plan_job
from lpmos.model.newtask import NewTask, TaskSpec
from lpmos.model.newtaskcheck import check_new_task
from tests.support.builders import make_inventory

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB9dYHYk9TbJCB7fFzv3Zr5 alice"
BLANK = Disk(device="/dev/sda", size_bytes=8 * GIB, kind="hdd", serial="A")
HOLDING = Disk(
    device="/dev/sdb", size_bytes=9 * GIB, kind="hdd", serial="B", contents=("gpt", "ext4")
)
STICK = Disk(device="/dev/sdc", size_bytes=GIB, kind="hdd", serial="C", removable=True)


def asked(*steps: dict[str, Any], **fields: Any) -> TaskSpec:
    document = {"idc": "dc1", "mac": "52:54:00:00:00:01", "job": {"steps": steps}, **fields}
    return check_new_task(msgspec.convert(document, NewTask))


def wrong_fields(*steps: dict[str, Any], **fields: Any) -> list[str]:
    with pytest.raises(InvalidInput) as refused:
        asked(*steps, **fields)
    return [problem.field for problem in refused.value.problems]


def planned(*steps: dict[str, Any], disks: tuple[Disk, ...] = (BLANK, HOLDING, STICK)) -> JobPlan:
    job = msgspec.convert({"steps": steps}, Job)
    return plan_job(make_inventory(disks=disks), job)


def test_job_without_an_os_is_a_task_named_by_its_steps() -> None:
    spec = asked({"step": "memory_test"}, {"step": "disk_test"}, {"step": "memory_test"})
    assert (spec.os_type, spec.os_version) == ("job", "memory-test.disk-test")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("os_type", "debian"),
        ("disk_layout", "lvm"),
        ("root_disk", {"serial": "A"}),
        ("setup", {"packages": ["nginx"]}),
        ("method", "image"),
    ],
)
def test_job_with_a_field_of_installs_is_refused(field: str, value: object) -> None:
    assert field in wrong_fields({"step": "inventory"}, **{field: value})


def test_task_without_job_and_os_is_refused_by_both_names() -> None:
    with pytest.raises(InvalidInput) as refused:
        check_new_task(NewTask(idc="dc1", mac="52:54:00:00:00:01"))
    assert [each.field for each in refused.value.problems] == ["os_type", "os_version"]


def test_install_of_an_os_named_job_is_refused() -> None:
    with pytest.raises(InvalidInput):
        check_new_task(NewTask(idc="dc1", mac="52:54:00:00:00:01", os_type="job", os_version="1"))


def test_ssh_and_its_keys_come_together() -> None:
    assert wrong_fields({"step": "rescue", "ssh": True}) == ["ssh_keys"]
    assert wrong_fields({"step": "rescue"}, ssh_keys=[KEY]) == ["ssh_keys"]
    assert asked({"step": "rescue", "ssh": True}, ssh_keys=[KEY]).ssh_keys == (KEY,)


def test_rescue_without_an_end_is_the_last_step() -> None:
    assert wrong_fields({"step": "rescue"}, {"step": "inventory"}) == ["job.steps.0.minutes"]


@pytest.mark.parametrize(
    "step", [{"step": "disk_test", "mode": "write"}, {"step": "disk_erase", "disks": [{}]}]
)
def test_step_that_writes_names_each_disk_by_its_serial(step: dict[str, Any]) -> None:
    with_hint = {**step, "disks": [{"model": "any"}]}
    assert wrong_fields(with_hint) == ["job.steps.0.disks.0.serial"]


def test_disk_test_that_writes_names_disks() -> None:
    assert wrong_fields({"step": "disk_test", "mode": "write"}) == ["job.steps.0.disks"]


@given(st.text(max_size=20))
def test_step_of_another_name_is_refused(name: str) -> None:
    known = {"memory_test", "disk_test", "disk_erase", "inventory", "rescue"}
    if name not in known - {"disk_erase"}:
        with pytest.raises((msgspec.ValidationError, InvalidInput)):
            asked({"step": name})


def test_plan_of_a_disk_test_is_of_every_disk_but_removable_ones() -> None:
    plan = planned({"step": "memory_test"}, {"step": "disk_test"})
    assert [step.devices for step in plan.steps] == [(), ("/dev/sda", "/dev/sdb")]
    assert plan.written == ()


def test_plan_of_a_named_removable_disk_reads_it() -> None:
    plan = planned({"step": "disk_test", "disks": [{"serial": "C"}]})
    assert plan.steps[0].devices == ("/dev/sdc",)


def test_plan_of_one_disk_over_two_paths_reads_it_once() -> None:
    paths = tuple(msgspec.structs.replace(BLANK, device=f"/dev/sd{x}", wwn="w") for x in "ab")
    assert planned({"step": "disk_test"}, disks=paths).steps[0].devices == ("/dev/sda",)


def test_plan_of_disks_of_a_batch_with_one_wwn_reads_each() -> None:
    batch = tuple(
        msgspec.structs.replace(BLANK, device=f"/dev/sd{each}", serial=each, wwn="w")
        for each in "abc"
    )
    assert len(planned({"step": "disk_test"}, disks=batch).steps[0].devices) == 3


def test_plan_that_writes_says_what_is_lost() -> None:
    step = {"step": "disk_test", "mode": "write", "disks": [{"serial": "B", "overwrite": True}]}
    (lost,) = planned({"step": "disk_test"}, step).written
    assert (lost.device, lost.overwrites) == ("/dev/sdb", ("gpt", "ext4"))


@pytest.mark.parametrize(
    ("hints", "reason"),
    [
        ({"serial": "B"}, "/dev/sdb holds gpt, ext4: say `overwrite`"),
        ({"serial": "C"}, "is removable"),
        ({"serial": "Z"}, "no disk is what it names (/dev/sda: serial differs"),
        ({"serial": "A", "model": "other"}, "no disk is what it names"),
    ],
)
def test_plan_that_would_write_what_it_may_not_is_refused(
    hints: dict[str, Any], reason: str
) -> None:
    with pytest.raises(NoSuitableDisk, match=r"step 1 \(disk_erase\)") as refused:
        planned({"step": "disk_erase", "disks": [hints]})
    assert reason in str(refused.value)


def test_plan_that_would_write_one_of_two_disks_with_a_serial_is_refused() -> None:
    twins = (BLANK, msgspec.structs.replace(BLANK, device="/dev/sdz"))
    with pytest.raises(NoSuitableDisk, match="have the serial number A"):
        planned({"step": "disk_erase", "disks": [{"serial": "A"}]}, disks=twins)


def test_plan_of_an_nvme_format_on_another_disk_is_refused() -> None:
    step = {"step": "disk_erase", "disks": [{"serial": "A"}], "level": "nvme_format"}
    with pytest.raises(NoSuitableDisk, match="no NVMe disk"):
        planned(step)


def test_plan_of_a_disk_test_without_a_disk_is_refused() -> None:
    with pytest.raises(NoSuitableDisk, match="the machine has no disk"):
        planned({"step": "disk_test"}, disks=())


def test_digest_of_a_plan_differs_by_step_and_by_disk() -> None:
    step = {"step": "disk_erase", "disks": [{"serial": "A"}]}
    plans = [
        planned(step),
        planned({**step, "level": "discard"}),
        planned(step, disks=(msgspec.structs.replace(BLANK, size_bytes=GIB),)),
    ]
    assert len({plan.digest for plan in plans}) == 3


def test_inventory_of_64_disks_makes_a_plan_that_fits_a_document() -> None:
    disks = tuple(
        Disk(device=f"/dev/sd{n}", size_bytes=GIB, kind="hdd", serial=f"S{n}", wwn=f"{n:032}")
        for n in range(64)
    )
    plan = planned(*({"step": "disk_test"} for _ in range(10)), disks=disks)
    assert len(msgspec.json.encode(plan)) < 32_768
