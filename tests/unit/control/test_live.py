"""The live hub: which messages a change makes, who gets them, and who is cut off."""

import json

import msgspec

from lpmos.control.live import QUEUED_BATCHES, LiveHub, Subscription, messages
from lpmos.core.fleet import Fleet, TaskChange
from lpmos.model.lifecycle import Status
from lpmos.model.task import Progress, Task
from tests.support.builders import NOW, make_inventory, make_task

PENDING = make_task()


def _after(task: Task, **fields: object) -> Task:
    return msgspec.structs.replace(task, **fields)


def _progress(percent: float) -> tuple[Progress, ...]:
    return (Progress(step="downloading", percent=percent, timestamp=NOW, message="streaming"),)


def _told(before: Task | None, after: Task | None) -> list[object]:
    change = TaskChange(before, after, 1)
    return [json.loads(msgspec.json.encode(message)) for _, message in messages(change)]


def test_messages_of_a_new_task_tell_its_status() -> None:
    assert _told(None, PENDING) == [
        {"type": "status", "task_id": PENDING.task_id, "status": "pending"}
    ]


def test_messages_of_progress_have_exactly_the_agreed_shape() -> None:
    assert _told(PENDING, _after(PENDING, progress=_progress(42.5))) == [
        {
            "type": "progress",
            "task_id": PENDING.task_id,
            "percentage": 42.5,
            "stage": "downloading",
            "message": "streaming",
        }
    ]


def test_messages_of_reported_hardware_carry_it_and_then_the_status() -> None:
    hardware = make_inventory()
    told = _told(PENDING, _after(PENDING, hardware=hardware, status=Status.PENDING_APPROVAL))
    assert [each["type"] for each in told if isinstance(each, dict)] == ["hardware", "status"]
    assert isinstance(told[0], dict)
    assert told[0]["hardware"]["disks"][0]["device"] == "/dev/vda"


def test_messages_of_a_change_that_nobody_watches_for_are_none() -> None:
    assert _told(PENDING, _after(PENDING, logs=("a line",))) == []
    assert _told(PENDING, None) == []


def test_messages_of_a_machines_next_task_tell_all_of_it() -> None:
    following = _after(PENDING, task_id="another")
    assert len(_told(_after(PENDING, hardware=None), following)) == 1


async def test_hub_within_one_batch_keeps_the_newest_progress_and_every_status() -> None:
    hub = LiveHub(Fleet())
    with hub.client() as client:
        assert client is not None
        ready = _after(PENDING, status=Status.READY)
        first = _after(ready, progress=_progress(10))
        second = _after(ready, progress=_progress(11))
        hub.gather(TaskChange(None, PENDING, 1))
        hub.gather(TaskChange(PENDING, first, 2))
        hub.gather(TaskChange(first, second, 3))
        hub.flush()
        told = [json.loads(frame) for frame in client.batches.get_nowait()]
    assert [each.get("status", each.get("percentage")) for each in told] == ["pending", "ready", 11]
    hub.close()


async def test_hub_sends_changes_that_come_together_as_one_batch() -> None:
    hub = LiveHub(Fleet())
    with hub.client() as client:
        assert client is not None
        client.subscription = Subscription(batch=True)
        for number in range(100):
            task = _after(PENDING, task_id=f"task {number}")
            hub.gather(TaskChange(None, task, number))
        frames = await client.batches.get()
        assert client.batches.empty()
    assert len(frames) == 1
    assert len(json.loads(frames[0])) == 100
    hub.close()


async def test_hub_sends_only_what_a_client_subscribed_to() -> None:
    hub = LiveHub(Fleet())
    elsewhere = _after(PENDING, task_id="another", idc="dc2")
    with hub.client() as everything, hub.client() as region, hub.client() as one:
        assert everything is not None
        assert region is not None
        assert one is not None
        region.subscription = Subscription(idc="dc2")
        one.subscription = Subscription(task_id=PENDING.task_id)
        hub.gather(TaskChange(None, PENDING, 1))
        hub.gather(TaskChange(None, elsewhere, 2))
        hub.flush()
        assert len(everything.batches.get_nowait()) == 2
        assert "another" in region.batches.get_nowait()[0]
        assert PENDING.task_id in one.batches.get_nowait()[0]
        hub.gather(TaskChange(None, elsewhere, 3))
        hub.flush()
        assert one.batches.empty()
    hub.close()


async def test_hub_cuts_off_a_client_that_does_not_read_and_no_other() -> None:
    hub = LiveHub(Fleet())
    with hub.client() as slow, hub.client() as quick:
        assert slow is not None
        assert quick is not None
        for number in range(QUEUED_BATCHES + 1):
            hub.gather(TaskChange(None, _after(PENDING, task_id=str(number)), number))
            hub.flush()
            quick.batches.get_nowait()
        assert slow.lagged.is_set()
        assert slow.batches.qsize() == QUEUED_BATCHES
        assert not quick.lagged.is_set()
    hub.close()


async def test_hub_without_clients_gathers_nothing() -> None:
    hub = LiveHub(Fleet())
    hub.gather(TaskChange(None, PENDING, 1))
    with hub.client() as client:
        assert client is not None
        hub.flush()
        assert client.batches.empty()
    assert hub.count() == 0
    hub.close()
