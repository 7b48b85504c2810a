"""Another machine with a known MAC, as it hears of it itself: stopped, shown, and counted."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from lpmos.model.inventory import Disk, Product
from tests.support.builders import actor, make_inventory
from tests.support.region import OTHER_AGENT_ID, RunningRegion, running

FIRST = make_inventory(product=Product(serial="AAA-1"))
FOREIGN = make_inventory(product=Product(serial="BBB-2"))
OTHER_DISK = msgspec.structs.replace(
    FIRST, disks=(Disk(device="/dev/vda", size_bytes=9 << 30, kind="ssd", serial="DISK02"),)
)


@pytest.fixture
async def region(tmp_path: Path) -> AsyncIterator[RunningRegion]:
    async with running(tmp_path) as started:
        yield started


def _sent(inventory: msgspec.Struct) -> object:
    return json.loads(msgspec.json.encode(inventory))


async def test_another_machine_is_told_to_stop_with_a_hint_and_counted(
    region: RunningRegion,
) -> None:
    task = await region.create_task()
    assert (await region.report(hardware=_sent(FIRST)))[0] == 200
    status, body = await region.report(hardware=_sent(FOREIGN), agent_id=OTHER_AGENT_ID)
    assert (status, body["code"]) == (409, "foreign-machine")
    assert "serial number is BBB-2, not AAA-1" in body["detail"]
    assert "MAC address of its own" in body["hint"]
    assert (await region.stored_task(task)).hardware == FIRST
    async with region.http.get(region.url + "/metrics") as answer:
        assert 'lpmos_region_reports_total{result="another machine"} 1.0' in await answer.text()


async def test_approved_machine_with_another_disk_waits_for_a_person_again(
    region: RunningRegion,
) -> None:
    task = await region.create_task()
    await region.report(hardware=_sent(FIRST))
    await region.task_in(task.task_id, "pending_approval")
    await region.tasks.approve(task.task_id, by=actor("admin"), notes=None)
    task = await region.task_in(task.task_id, "approved")
    status, body = await region.report(hardware=_sent(OTHER_DISK), agent_id=OTHER_AGENT_ID)
    assert (status, body["next_action"]) == (200, "wait_for_approval")
    assert (await region.claim(task, OTHER_AGENT_ID))[0] == 409
    assert (await region.stored_task(task)).approval is None
