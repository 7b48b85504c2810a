"""Rules, reports without a task, and control planes that decide by rules, for tests."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from lpmos.core.clock import Clock
from lpmos.core.duties import Duties
from lpmos.core.fleet import Fleet
from lpmos.core.rules.duty import RulesDuty
from lpmos.core.rules.rules import Rules
from lpmos.core.tasks import Tasks
from lpmos.core.unmatched_reports import UnmatchedDesk
from lpmos.model.audit import AuditEvent
from lpmos.model.machine import UnmatchedReport
from lpmos.model.rule import Rule, RuleFields, RuleTask
from lpmos.model.task import Task
from lpmos.store import keys, records
from lpmos.store.api import Store
from lpmos.store.mirror import Mirror
from tests.support.builders import MAC, NOW, make_inventory
from tests.support.following import following

TIMEOUT_S = 30.0
DEBIAN = RuleTask(os_type="debian", os_version="12")


def make_fields(**fields: Any) -> RuleFields:
    """An `approve` rule that is true of every machine; with `task` a `create` rule."""
    kind = "create" if "task" in fields else "approve"
    return RuleFields(**{"kind": kind, "condition": "true", **fields})


def make_rule(**fields: Any) -> Rule:
    """A rule as it is kept."""
    return Rule(fields=make_fields(**fields), created_at=NOW, changed_at=NOW, changed_by="root")


def make_report(**fields: Any) -> UnmatchedReport:
    """What a machine with one blank disk reports."""
    whole = UnmatchedReport(
        mac_address=MAC,
        region="dc1",
        sn="SN-1",
        hardware=make_inventory(),
        received_at=NOW,
        error="no task for this machine",
    )
    return msgspec.structs.replace(whole, **fields)


class Plane:
    """A control plane's part in rules, over a mirror of its own."""

    def __init__(
        self, store: Store, clock: Clock, *, second_person: bool = False, retry_s: float = 0.05
    ) -> None:
        self.store = store
        self.mirror = Mirror(store, keys.ROOT)
        self.fleet = Fleet(self.mirror)
        self.tasks = Tasks(store, self.fleet, clock, second_person=second_person)
        self.rules = Rules(store, self.mirror, clock, second_person=second_person)
        self.desk = UnmatchedDesk(store, self.fleet, self.tasks, clock)
        self.duty = RulesDuty(
            store,
            self.fleet,
            self.tasks,
            self.rules,
            clock,
            first_retry_s=retry_s,
            longest_retry_s=retry_s * 4,
        )

    async def keep(self, report: UnmatchedReport) -> str:
        """Store a report as a region would; its id."""
        key = keys.unmatched(report.region, report.received_at, report.mac_address)
        revision = await self.store.put(key, records.encode(report))
        await self.shows(revision)
        return f"{report.region}-{key.rpartition('/')[2]}"

    async def shows(self, revision: int) -> None:
        """Wait until memory has a revision."""
        async with asyncio.timeout(TIMEOUT_S):
            await self.mirror.wait_for(revision)

    async def synced(self) -> None:
        """Everything written so far is in memory."""
        await self.shows(await self.store.put(keys.idc_prefix("dc1") + "probe", b""))

    async def task_when(self, task_id: str, condition: Callable[[Task], bool]) -> Task:
        """The task once `condition` holds; raises AssertionError where it never does."""
        await self.synced()
        task = await self.fleet.wait_for_task(task_id, condition, TIMEOUT_S)
        assert task is not None
        assert condition(task), task.status
        return task

    async def events(self) -> list[AuditEvent]:
        """Every event that was not taken into the audit log yet."""
        page = await self.store.range(keys.EVENTS)
        return [records.decode(kv, AuditEvent) for kv in page.kvs]

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["Plane"]:
        """With memory that follows the store."""
        async with following(self.mirror):
            yield self

    @asynccontextmanager
    async def deciding(self, identity: str = "one") -> AsyncIterator[asyncio.Task[None]]:
        """Standing for election, and deciding while elected."""
        task = asyncio.create_task(Duties(self.store, identity, [self.duty]).run())
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
