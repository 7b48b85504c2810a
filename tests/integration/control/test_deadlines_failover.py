"""Two control planes watch deadlines over either store; the leader is lost on the way."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from lpmos.model.lifecycle import Status
from lpmos.model.retry import RetryPolicy
from lpmos.model.task import StatusChange
from lpmos.model.waiting import LIMITS, Timeouts
from lpmos.store import keys, records
from lpmos.store.api import Store
from tests.support.builders import make_capabilities, make_task
from tests.support.deadlines import SetClock, Warden
from tests.support.polling import until
from tests.support.stores import two_clients

EACH = 12
"""How many tasks wait in each state."""

WAITING = tuple(LIMITS)
TIMEOUT_S = 60.0
LIMITED = Timeouts(ready_timeout_s=600, approval_timeout_s=600)


@pytest.fixture(params=["sqlite", "etcd"])
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[list[Store]]:
    """Two clients of one store."""
    async with two_clients(request.param, tmp_path) as clients:
        yield clients


async def put_tasks(store: Store, clock: SetClock) -> dict[str, Status]:
    """Tasks of different machines in every state that waits, by id."""
    made: dict[str, Status] = {}
    for number in range(EACH * len(WAITING)):
        status = WAITING[number % len(WAITING)]
        task = make_task(
            task_id=f"0b0b6f5e-0000-4000-8000-{number:012d}",
            sn=f"SN-{number}",
            mac=f"52:54:00:00:{number // 256:02x}:{number % 256:02x}",
            status=status,
            status_history=(StatusChange(status=status, timestamp=clock()),),
            created_at=clock(),
            updated_at=clock(),
        )
        await store.put(keys.task("dc1", task.sn), records.encode(task))
        made[task.task_id] = status
    return made


async def test_every_deadline_is_kept_once_when_the_leader_is_lost(stores: list[Store]) -> None:
    clock = SetClock()
    first, second = (Warden(store, clock, timeouts=LIMITED) for store in stores)
    made = await put_tasks(stores[0], clock)
    async with AsyncExitStack() as stack:
        for warden in (first, second):
            await stack.enter_async_context(warden.listening())
        leading = await stack.enter_async_context(first.leading("first"))
        await stack.enter_async_context(second.leading("second", wait=False))
        clock.pass_s(86_400)
        await second.beat()
        await until(lambda: some_failed(second), TIMEOUT_S)
        leading.cancel()
        await until(lambda: all_failed(second, len(made)), TIMEOUT_S)

        events = await second.events("task.failed")
    assert len(events) == len({event.target for event in events}) == len(made)
    for task_id, status in made.items():
        task = second.fleet.task(task_id)
        assert task is not None and task.error is not None
        allowed = {LIMITS[status].code} | ({"agent-away"} if status is Status.INSTALLING else set())
        assert task.error.code in allowed
        assert second.fleet.dead_letter(task_id) is not None


async def test_every_retry_is_made_once_when_the_leader_is_lost(stores: list[Store]) -> None:
    clock = SetClock()
    policy = RetryPolicy(limit=1)
    await stores[0].put(keys.capabilities("dc1"), records.encode(make_capabilities()))
    first, second = (Warden(store, clock, timeouts=LIMITED, retries=policy) for store in stores)
    made = await put_tasks(stores[0], clock)
    async with AsyncExitStack() as stack:
        for warden in (first, second):
            await stack.enter_async_context(warden.listening())
        leading = await stack.enter_async_context(first.leading("first"))
        await stack.enter_async_context(second.leading("second", wait=False))
        clock.pass_s(86_400)
        await second.beat()
        await until(lambda: all_failed(second, len(made)), TIMEOUT_S)
        for warden in (second, first):  # a region that was heard after the last failure
            await warden.beat()
        clock.pass_s(120)
        await until(lambda: some_retried(second), TIMEOUT_S)
        leading.cancel()
        passing = {Status.PENDING, Status.BOOTING, Status.APPROVED}
        await until(lambda: retried_are(second, EACH * len(passing)), TIMEOUT_S)

        events = await second.events("task.created")
    assert len(events) == len({event.sn for event in events}) == EACH * len(passing)
    for task_id, status in made.items():
        assert (second.fleet.retry(task_id) is not None) == (status in passing)


async def some_failed(warden: Warden) -> bool:
    return warden.fleet.counts()[Status.FAILED] > 2


async def all_failed(warden: Warden, count: int) -> bool:
    await warden.beat()
    return warden.fleet.counts()[Status.FAILED] == count


async def some_retried(warden: Warden) -> bool:
    return warden.fleet.counts()[Status.PENDING] > 2


async def retried_are(warden: Warden, count: int) -> bool:
    return warden.fleet.counts()[Status.PENDING] == count
