"""The calls about machines without a task (A9): see their reports, match, use or dismiss them."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated

import msgspec
from litestar import Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from msgspec import UNSET, UnsetType
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from lpmos.control.access import CallerRequest, actor, needs
from lpmos.control.http.bodies import CHECK
from lpmos.control.http.conditional import ETAG, IfMatch, named_revision, tagged
from lpmos.control.http.problems import PROBLEMS
from lpmos.core.duplicates import Duplicate
from lpmos.core.fleet import Fleet, Unmatched
from lpmos.core.rules.rules import Rules, RuleVerdict
from lpmos.core.rules.zero_touch import known_as
from lpmos.core.unmatched_index import UnmatchedQuery, UnmatchedRow
from lpmos.core.unmatched_reports import UnmatchedDesk, report_id
from lpmos.model.access import Permission, require
from lpmos.model.diskplan import DiskLayout, DiskPassphrase, RootDiskHints
from lpmos.model.errors import FieldProblem, InvalidInput
from lpmos.model.inventory import Inventory
from lpmos.model.kernelline import KernelArguments
from lpmos.model.lifecycle import Status
from lpmos.model.network import NetworkConfig
from lpmos.model.newtask import (
    HostName,
    InstallMethod,
    NewTask,
    OsType,
    OsVersion,
    SshKeys,
    Tags,
    TenantName,
)
from lpmos.model.newtaskcheck import check_new_task
from lpmos.model.rule import SAMPLE_MAC
from lpmos.model.setup import NewSetup

SearchParameter = Annotated[str | None, QueryParameter(min_length=1, max_length=128)]


class ReportSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A report in a list; `received_at` is when the machine reported last."""

    id: str
    idc: str
    mac: str
    sn: str | None
    vendor: str | None
    model: str | None
    cpu_cores: int
    memory_bytes: int
    disk_sizes_bytes: tuple[int, ...]
    received_at: datetime
    error: str


class ReportList(msgspec.Struct, frozen=True, kw_only=True):
    """One page of reports, the newest first.

    `total` match in all; `counts` is by data center, of all reports; `alert` says that a data
    center of these has more than `alert_over`.
    """

    reports: list[ReportSummary]
    total: int
    limit: int
    offset: int
    counts: dict[str, int]
    alert: bool
    alert_over: int


class ReportView(msgspec.Struct, frozen=True, kw_only=True):
    """One report in full; `known_as` is why no rule creates a task for it, `rules` what each says.

    `duplicates` are machines and other reports of the same serial number or UUID, and of the same
    MAC where this is another machine. `revision` is for `If-Match`.
    """

    id: str
    idc: str
    mac: str
    sn: str | None
    received_at: datetime
    error: str
    hardware: Inventory
    known_as: str | None
    duplicates: list[Duplicate]
    rules: list[RuleVerdict]
    revision: int


class TaskOfReport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new task; data center, MAC and serial number are the report's."""

    os_type: OsType
    os_version: OsVersion
    hostname: HostName | None = None
    disk_layout: DiskLayout = "auto"
    disk_passphrase: DiskPassphrase | None = None
    root_disk: RootDiskHints = RootDiskHints()
    network_config: NetworkConfig = "dhcp"
    ssh_keys: SshKeys = ()
    setup: NewSetup = NewSetup()
    tags: Tags = {}
    tenant: TenantName | None = None
    method: InstallMethod = None
    kernel_arguments: KernelArguments = ""


class MatchReport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Either `task_id`, a task that waits for a machine, or `create`, a new task.

    `force` matches although the machine's serial number or disks contradict the task.
    """

    task_id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | UnsetType = UNSET
    force: bool = False
    create: TaskOfReport | UnsetType = UNSET


class MatchedTask(msgspec.Struct, frozen=True, kw_only=True):
    """The task that the machine has now; `warnings` as those of any new task."""

    task_id: str
    idc: str
    sn: str
    mac: str
    status: Status
    warnings: tuple[FieldProblem, ...] = ()


def check_match(data: MatchReport) -> None:
    """Check a match body, and the new task in it.

    Raises:
        InvalidInput: names each wrong field.
    """
    if (data.task_id is UNSET) == (data.create is UNSET):
        raise InvalidInput(FieldProblem("task_id", "give either task_id or create"))
    if data.create is UNSET:
        return
    if data.force:
        raise InvalidInput(FieldProblem("force", "is for a match to task_id only"))
    try:
        check_new_task(_new_task(data.create, idc="dc1", mac=SAMPLE_MAC))
    except InvalidInput as error:
        problems = (FieldProblem(f"create.{e.field}", e.message) for e in error.problems)
        raise InvalidInput(*problems) from None


@get("/unmatched-reports", responses=PROBLEMS, opt=needs(Permission.UNMATCHED_READ))
async def list_reports(  # noqa: PLR0917 - these are query parameters
    request: CallerRequest,
    fleet: NamedDependency[Fleet],
    unmatched: NamedDependency[UnmatchedDesk],
    idc: FromQuery[str | None] = None,
    text: SearchParameter = None,
    limit: Annotated[int, QueryParameter(ge=1, le=500)] = 50,
    offset: Annotated[int, QueryParameter(ge=0, le=10_000_000)] = 0,
) -> ReportList:
    """One page of the machines that reported and have no task, the newest first.

    `text` is looked for in serial number, MAC, vendor and model.
    """
    query = UnmatchedQuery(idc=idc, text=text, limit=limit, offset=offset)
    rows, total = fleet.unmatched_page(query)
    counts = {name: count for name, count in fleet.unmatched_counts().items() if count}
    over = unmatched.alert_over
    return ReportList(
        reports=[_summary(row) for row in rows],
        total=total,
        limit=limit,
        offset=offset,
        counts=counts,
        alert=any(count > over for name, count in counts.items() if idc in (None, name)),
        alert_over=over,
    )


@get(
    "/unmatched-reports/{report:str}",
    responses=PROBLEMS,
    response_headers=[ETAG],
    opt=needs(Permission.UNMATCHED_READ),
)
async def show_report(
    report: FromPath[str],
    unmatched: NamedDependency[UnmatchedDesk],
    rules: NamedDependency[Rules],
    fleet: NamedDependency[Fleet],
) -> Response[ReportView]:
    """One report with its hardware, and what each rule that creates tasks says of it."""
    found = await unmatched.find(report)
    verdicts = await rules.decision_on_report(found)
    others = fleet.duplicates((found.idc, found.rest))
    return tagged(_view(found, known_as(fleet, found), others, verdicts), found.revision)


@post(
    "/unmatched-reports/{report:str}/match",
    responses=PROBLEMS,
    status_code=200,
    opt=needs(Permission.UNMATCHED_HANDLE, **{CHECK: check_match}),
)
async def match_report(
    report: FromPath[str],
    data: JSONBody[MatchReport],
    request: CallerRequest,
    unmatched: NamedDependency[UnmatchedDesk],
) -> MatchedTask:
    """Give the machine a task: one that waits for a machine, or a new one."""
    by = actor(request)
    if data.create is not UNSET:
        require(request.user, Permission.TASK_CREATE)
        created = await unmatched.create(report, _new_task(data.create), by=by)
        task, warnings = created.task, created.warnings
    else:
        warnings = ()
        task = await unmatched.match(report, str(data.task_id), by=by, force=data.force)
    return MatchedTask(
        task_id=task.task_id,
        idc=task.idc,
        sn=task.sn,
        mac=task.mac,
        status=task.status,
        warnings=warnings,
    )


@delete(
    "/unmatched-reports/{report:str}", responses=PROBLEMS, opt=needs(Permission.UNMATCHED_HANDLE)
)
async def dismiss_report(
    report: FromPath[str],
    request: CallerRequest,
    unmatched: NamedDependency[UnmatchedDesk],
    if_match: IfMatch = None,
) -> None:
    """Dismiss a report; a machine that goes on reporting comes back with its next report."""
    await unmatched.dismiss(report, by=actor(request), at_revision=named_revision(if_match))


class UnmatchedCollector(Collector):
    """How many machines wait without a task, and how many came, by data center."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def collect(self) -> Iterable[Metric]:
        """The figures as they are now; of every region, so that the first to come is seen."""
        gauge = GaugeMetricFamily(
            "lpmos_unmatched_reports", "Machines that reported without a task", labels=["idc"]
        )
        arrived = CounterMetricFamily(
            "lpmos_unmatched_arrived",
            "Machines that began to wait without a task since this control plane was started",
            labels=["idc"],
        )
        counts = self._fleet.unmatched_counts()
        for idc in sorted({*counts, *(region.idc for region in self._fleet.regions())}):
            gauge.add_metric([idc], counts.get(idc, 0))
            arrived.add_metric([idc], self._fleet.unmatched_arrived[idc])
        yield from (gauge, arrived)


def _new_task(new: TaskOfReport, *, idc: str | None = None, mac: str | None = None) -> NewTask:
    return NewTask(idc=idc, mac=mac, **msgspec.structs.asdict(new))


def _summary(row: UnmatchedRow) -> ReportSummary:
    return ReportSummary(
        id=f"{row.idc}-{row.rest}",
        idc=row.idc,
        mac=row.mac,
        sn=row.sn,
        vendor=row.vendor,
        model=row.model,
        cpu_cores=row.cpu_cores,
        memory_bytes=row.memory_bytes,
        disk_sizes_bytes=row.disk_sizes_bytes,
        received_at=row.received_at,
        error=row.error,
    )


def _view(
    found: Unmatched,
    known_as: str | None,
    duplicates: list[Duplicate],
    verdicts: list[RuleVerdict],
) -> ReportView:
    report = found.report
    return ReportView(
        id=report_id(found),
        idc=found.idc,
        mac=report.mac_address,
        sn=report.sn,
        received_at=report.received_at,
        error=report.error,
        hardware=report.hardware,
        known_as=known_as,
        duplicates=duplicates,
        rules=verdicts,
        revision=found.revision,
    )


UNMATCHED_CALLS = (list_reports, show_report, match_report, dismiss_report)
