"""What is done about a report without a task (A9): matched to a task, made one of, or dismissed.

The wrong machine must not be written over: a report is matched only to a task that no machine has
reported for yet, what contradicts the task must be confirmed, and a machine that is known to be
another tenant's gets no task at all. Each step is one transaction with the deletion of the report,
so that two people never use the same one.
"""

import asyncio
import re
from collections.abc import Sequence
from contextlib import suppress

import msgspec
import structlog

from lpmos.core.clock import Clock
from lpmos.core.creation_plan import Created
from lpmos.core.fitting import fitted
from lpmos.core.fleet import Fleet, Unmatched
from lpmos.core.journal import told
from lpmos.core.tasks import Tasks
from lpmos.core.taskstore import logged
from lpmos.model.access import sees
from lpmos.model.audit import Actor
from lpmos.model.errors import Conflict, InvalidInput, NotFound, UnfinishedTask
from lpmos.model.lifecycle import Status
from lpmos.model.machine import (
    Mac,
    Machine,
    ServerEntry,
    UnmatchedReport,
    parse_mac,
    sn_from_mac,
)
from lpmos.model.newtask import NewTask
from lpmos.model.newtaskcheck import check_new_task
from lpmos.model.task import Task, TaskPlace
from lpmos.store import keys, records
from lpmos.store.api import (
    KV,
    Ambiguous,
    CasConflict,
    Compare,
    Delete,
    Operation,
    Put,
    Store,
    Unavailable,
)

log = structlog.get_logger()

ALERT_OVER = 10
ATTEMPTS = 10
VISIBLE_TIMEOUT_S = 2.0
MATCHABLE = frozenset({Status.PENDING, Status.READY, Status.BOOTING})
"""A task's states before a machine has reported for it."""

_ID = re.compile(r"(?P<idc>[a-z0-9][a-z0-9-]{0,31})-(?P<rest>\d{8}T\d{6}\.\d{6}Z-[0-9a-f]{12})")


class ContradictingReport(Conflict):
    """The report does not fit the task; whoever knows better may say so."""

    code = "contradicting-report"


def report_id(unmatched: Unmatched) -> str:
    """The report's id: its data center, when it came, and its MAC."""
    return f"{unmatched.idc}-{unmatched.rest}"


def report_place(text: str) -> tuple[str, str]:
    """The data center and the last part of the key that an id names.

    Raises:
        NotFound: this is no report's id.
    """
    match = _ID.fullmatch(text)
    if match is None:
        raise NotFound(f"there is no unmatched report {text[:80]}")
    return match["idc"], match["rest"]


def macs_of(report: UnmatchedReport) -> list[str]:
    """Every MAC of the machine that reported, the one that it reported by first."""
    found = [report.mac_address]
    for nic in report.hardware.nics:
        with suppress(InvalidInput):
            found.append(parse_mac(nic.mac))
    return list(dict.fromkeys(found))


class UnmatchedDesk:
    """The use cases of people; rules have their own (`lpmos.core.rules.zero_touch`)."""

    def __init__(
        self,
        store: Store,
        fleet: Fleet,
        tasks: Tasks,
        clock: Clock,
        *,
        alert_over: int = ALERT_OVER,
    ) -> None:
        """`alert_over` reports of one data center are more than there should be."""
        self.alert_over = alert_over
        self._store = store
        self._fleet = fleet
        self._tasks = tasks
        self._clock = clock

    async def find(self, identity: str) -> Unmatched:
        """The report with this id, as the store has it now.

        Raises:
            NotFound: there is none.
        """
        idc, rest = report_place(identity)
        kv = await self._store.get(keys.unmatched_report(idc, rest))
        if kv is None:
            raise NotFound(f"there is no unmatched report {identity}; it may have been dealt with")
        return Unmatched(idc, rest, records.decode(kv, UnmatchedReport), kv.mod_revision)

    async def dismiss(self, identity: str, *, by: Actor, at_revision: int | None = None) -> None:
        """Delete a report; a machine that goes on reporting comes back with its next report.

        Raises:
            NotFound: there is none.
            CasConflict: it is not at `at_revision`.
        """
        for _ in range(ATTEMPTS):
            found = await self.find(identity)
            if at_revision not in (None, found.revision):
                raise CasConflict(f"it is at revision {found.revision}, not at {at_revision}")
            event = told(
                "unmatched-report.dismissed",
                f"unmatched-report/{identity}",
                by,
                self._clock(),
                before=_audited(found),
            )
            done = await self._store.txn([_as_it_is(found)], [_gone(found), event])
            if done.succeeded:
                await self._visible(done.revision)
                return
        raise Unavailable("the machine reports all the time; try again")

    async def create(self, identity: str, new: NewTask, *, by: Actor) -> Created:
        """Create a task for the machine that reported.

        Args:
            identity: the report's id.
            new: what shall be installed; data center, MAC and serial number are the report's.
            by: who asks.

        Raises:
            NotFound: there is no such report.
            CasConflict: the machine reported anew, or another used the report, at this moment.
            InvalidInput, UnfinishedTask, Conflict: as `Tasks.create`, by any of its MACs.
        """
        found = await self.find(identity)
        report = found.report
        self._check_owner(found, new.tenant)
        whole = msgspec.structs.replace(new, idc=found.idc, mac=report.mac_address, sn=report.sn)
        created = await self._tasks.create_once(
            check_new_task(whole),
            by=by,
            reported=report.hardware,
            only_while=[_as_it_is(found)],
            also=[_gone(found)],
        )
        await self._visible(created.revision)
        return created

    async def match(self, identity: str, task_id: str, *, by: Actor, force: bool = False) -> Task:
        """Give a waiting task the MAC of the machine that reported.

        Args:
            identity: the report's id.
            task_id: a task of the same data center, for which no machine has reported.
            by: who says that they belong together.
            force: although serial number or disks contradict.

        Raises:
            NotFound: there is no such report or task.
            ContradictingReport: the machine's serial number is another, it is known as another
                machine, or it lacks the disk that the task names; not where `force`.
            UnfinishedTask: another machine's task has this MAC.
            Conflict: the task is of another data center, finished, or beyond waiting for a machine;
                or the machine is known to be another tenant's.
        """
        known = await self._tasks.find(task_id, by.tenant)
        for _ in range(ATTEMPTS):
            kv = await self._store.get(keys.task(known.idc, known.sn))
            task = records.decode(kv, Task) if kv else None
            if kv is None or task is None or task.task_id != task_id:
                raise Conflict(f"task {task_id} is over")
            found = await self._find_unless_matched(identity, task)
            if found is None:
                return task
            self._check(found, task, force)
            place = await self._free_place(found, task)
            try:
                compare = [_as_it_is(found), _unchanged(kv.key, kv), place]
                after, operations = await self._matched(found, kv, task, by)
                done = await self._store.txn(compare, operations)
            except Ambiguous:
                continue
            if done.succeeded:
                await self._visible(done.revision)
                return after
        raise Unavailable("the task or the report is being changed by others; try again")

    async def _find_unless_matched(self, identity: str, task: Task) -> Unmatched | None:
        """The report; None where it was given to this very task by a try whose answer was lost."""
        try:
            return await self.find(identity)
        except NotFound:
            idc, rest = report_place(identity)
            if idc == task.idc and rest.endswith(task.mac.replace(":", "")):
                return None
            raise

    def _check(self, found: Unmatched, task: Task, force: bool) -> None:
        if task.idc != found.idc:
            raise Conflict(f"the task is of {task.idc}, and the machine reported in {found.idc}")
        if task.status not in MATCHABLE:
            raise Conflict(
                f"the task is {task.status.value}: a machine has reported for it already, or it"
                " is over; create a new task from this report"
            )
        self._check_owner(found, task.tenant)
        contradictions = [] if force else self._contradictions(found, task)
        if contradictions:
            raise ContradictingReport("; ".join(contradictions) + "; send force to match anyway")

    def _contradictions(self, found: Unmatched, task: Task) -> list[str]:
        report, hints = found.report, task.root_disk
        said: list[str] = []
        if report.sn and task.sn not in (report.sn, sn_from_mac(Mac(task.mac))):
            said.append(f"the machine's serial number is {report.sn}, the task's {task.sn}")
        other = self._fleet.current_task(found.idc, report.sn) if report.sn else None
        if other is not None and other.task_id != task.task_id:
            said.append(f"machine {report.sn} has task {other.task_id}")
        said += [
            f"this is machine {machine.sn}, which is known"
            for machine in self._known_as(found)
            if machine.sn != task.sn
        ]
        members = () if isinstance(task.disk_layout, str) else task.disk_layout.members
        for name, wanted in (
            (name, getattr(each, name)) for each in (hints, *members) for name in ("serial", "wwn")
        ):
            if wanted and wanted not in {getattr(each, name) for each in report.hardware.disks}:
                said.append(f"the machine has no disk of {name} {wanted}, which the task names")
        return said

    def _check_owner(self, found: Unmatched, tenant: str | None) -> None:
        """The machine is none that is known to be another tenant's.

        Raises:
            Conflict: it is.
        """
        for machine in self._known_as(found):
            if not sees(tenant, machine.tenant):
                raise Conflict(f"this is machine {machine.sn}, which does not belong to {tenant}")

    def _known_as(self, found: Unmatched) -> list[Machine]:
        """The machines that have the report's serial number or one of its MACs."""
        report = found.report
        known = [self._fleet.machine(found.idc, report.sn)] if report.sn else []
        known += [self._fleet.machine_by_mac(found.idc, mac) for mac in macs_of(report)]
        return list({machine.sn: machine for machine in known if machine}.values())

    async def _free_place(self, found: Unmatched, task: Task) -> Compare:
        """What holds as long as no other machine's task has the MAC."""
        mac = found.report.mac_address
        key = keys.mac_place(found.idc, mac)
        kv = await self._store.get(key)
        if kv is not None and (sn := records.decode(kv, TaskPlace).sn) != task.sn:
            holder = await self._store.get(keys.task(found.idc, sn))
            other = records.decode(holder, Task) if holder else None
            if other and other.mac == mac and not other.finished:
                raise UnfinishedTask(f"MAC {mac} belongs to task {other.task_id} of {sn}")
        return _unchanged(key, kv)

    async def _matched(
        self, found: Unmatched, kv: KV, task: Task, by: Actor
    ) -> tuple[Task, Sequence[Operation]]:
        """The task of `kv` with the machine's MAC, and what stores it with all that follows."""
        now = self._clock()
        mac = found.report.mac_address
        changed = msgspec.structs.replace(task, mac=mac, updated_at=now)
        line = f"[WARN] MAC {task.mac} became {mac}: {by.name} matched the machine's report"
        after, written = fitted(logged(changed, now, line), kv.value, read=task)
        server = await self._store.get(keys.server(task.idc, task.sn))
        added_at = records.decode(server, ServerEntry).added_at if server else task.created_at
        entry = ServerEntry(sn=task.sn, status=task.status.value, mac=mac, added_at=added_at)
        place = TaskPlace(idc=task.idc, sn=task.sn)
        event = told(
            "task.matched",
            f"task/{task.task_id}",
            by,
            now,
            tenant=task.tenant,
            before={"mac": task.mac},
            after={"mac": after.mac, "report": report_id(found), "report_sn": found.report.sn},
        )
        return after, [
            Put(keys.task(task.idc, task.sn), written),
            Put(keys.server(task.idc, task.sn), records.encode(entry)),
            Put(keys.mac_place(task.idc, mac), records.encode(place)),
            _gone(found),
            event,
        ]

    async def _visible(self, revision: int) -> None:
        """Wait until memory shows what was just written; it is stored in any case."""
        try:
            async with asyncio.timeout(VISIBLE_TIMEOUT_S):
                await self._fleet.wait_for_revision(revision)
        except TimeoutError:
            log.warning("a stored change is not visible yet", revision=revision)


def _as_it_is(found: Unmatched) -> Compare:
    key = keys.unmatched_report(found.idc, found.rest)
    return Compare(key, "mod", "=", found.revision)


def _gone(found: Unmatched) -> Delete:
    return Delete(keys.unmatched_report(found.idc, found.rest))


def _unchanged(key: str, kv: KV | None) -> Compare:
    return Compare(key, "mod", "=", kv.mod_revision if kv else 0)


def _audited(found: Unmatched) -> dict[str, object]:
    report = found.report
    return {"idc": found.idc, "mac": report.mac_address, "sn": report.sn}
