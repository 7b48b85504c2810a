"""The machine calls of the API (A8): see machines, tag them, give them away, forget them."""

from collections.abc import Iterable
from typing import Annotated

import msgspec
from litestar import Response, delete, get, patch
from litestar.datastructures import ResponseHeader
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from lpmos.control.access import CallerRequest, actor, needs
from lpmos.control.http.bodies import CHECK
from lpmos.control.http.conditional import ETAG, IfMatch, named_revision, tagged
from lpmos.control.http.paging import (
    LIMIT,
    Limit,
    Name,
    Offset,
    Search,
    Statuses,
    only_own,
    page_links,
    statuses,
)
from lpmos.control.http.problems import PROBLEMS
from lpmos.control.http.visible import until_shown
from lpmos.control.resources.regions import check_listed
from lpmos.control.views.machines import (
    MachineList,
    MachineView,
    machine_full,
    machine_summary,
)
from lpmos.core.fleet import Fleet
from lpmos.core.machineindex import MachineQuery, MachineSort
from lpmos.core.machines import Machines, StoredMachine
from lpmos.core.taskrow import row_of_task
from lpmos.model.access import Permission, sees
from lpmos.model.errors import InvalidInput, NotFound
from lpmos.model.machine import (
    IPV4_PATTERN,
    parse_idc,
    parse_ipv4,
    parse_sn,
    parse_tenant,
    tag_problems,
)
from lpmos.model.newtask import AllTags, TagKey, TagValue, TenantName

ETAG_OF_REPORTED = ResponseHeader(
    name="ETag",
    description="The revision of what is shown, for `If-Match`; none before its first report.",
    documentation_only=True,
)


Address = Annotated[
    str,
    msgspec.Meta(
        pattern=IPV4_PATTERN,
        max_length=15,
        extra_json_schema={"format": "ip-of-machine", "examples": ["192.0.2.70"]},
    ),
]


DuplicateParameter = Annotated[
    bool | None,
    QueryParameter(description="Only those that share a name with another, or only the others."),
]


class ChangeMachine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `PATCH` takes (RFC 7396): a tag with null is taken away, tags not named stay.

    `tenant` null makes it the provider's; `address` is an IPv4 address that DHCP reserves for it,
    null for none. Only the provider's users may change these two.
    """

    tags: Annotated[dict[TagKey, TagValue | None], AllTags] = {}
    tenant: TenantName | msgspec.UnsetType | None = msgspec.UNSET
    address: Address | msgspec.UnsetType | None = msgspec.UNSET


def check_change(change: ChangeMachine) -> None:
    """Check the values of a change.

    Raises:
        InvalidInput: names each wrong field.
    """
    problems = tag_problems(change.tags)
    if isinstance(change.tenant, str):
        try:
            parse_tenant(change.tenant)
        except InvalidInput as error:
            problems += error.problems
    if isinstance(change.address, str):
        try:
            parse_ipv4(change.address)
        except InvalidInput as error:
            problems += error.problems
    if problems:
        raise InvalidInput(*problems)


@get("/machines", responses=PROBLEMS, opt=needs(Permission.MACHINE_READ))
async def list_machines(  # noqa: PLR0917 - these are query parameters
    request: CallerRequest,
    fleet: NamedDependency[Fleet],
    idc: FromQuery[str | None] = None,
    text: Search = None,
    tag: Search = None,
    os: Search = None,
    status: Statuses = None,
    tenant: Name = None,
    duplicate: DuplicateParameter = None,
    sort: FromQuery[MachineSort] = "sn",
    limit: Limit = LIMIT,
    offset: Offset = 0,
) -> MachineList:
    """One page of the machines that match, by serial number.

    `text` is looked for in serial number, MACs, vendor, product and BMC address; `os` is what is
    installed, `debian` or `debian 12`; `status` is that of the present task; `duplicate`: whether
    another machine or report has the same serial number, UUID or MAC.
    """
    check_listed(fleet)
    query = MachineQuery(
        idc=idc,
        tenant=only_own(tenant, request.user.tenant),
        text=text,
        tag=tag,
        os=os,
        statuses=statuses(status),
        duplicate=duplicate,
        seen_by=request.user.tenant,
        sort=sort,
        limit=limit,
        offset=offset,
    )
    page, total = fleet.machine_page(query)
    rows = []
    for row in page:
        task = fleet.current_row(row.place)
        shown = task if task and sees(request.user.tenant, task.tenant) else None
        online = fleet.agent_online(*row.place)
        duplicates = fleet.is_duplicate(row.name, request.user.tenant)
        rows.append(machine_summary(row, shown, online=online, duplicate=duplicates))
    return MachineList(rows, total, limit, offset, page_links(request, limit, offset, total))


@get(
    "/machines/{idc:str}/{sn:str}",
    responses=PROBLEMS,
    response_headers=[ETAG_OF_REPORTED],
    opt=needs(Permission.MACHINE_READ),
)
async def show_machine(
    idc: FromPath[str],
    sn: FromPath[str],
    request: CallerRequest,
    machines: NamedDependency[Machines],
    fleet: NamedDependency[Fleet],
) -> Response[MachineView]:
    """One machine with its inventory, its present task and its past ones."""
    _check_names(idc, sn)
    found = await machines.read(idc, sn, request.user.tenant)
    return _answer(idc, sn, found, fleet, request.user.tenant)


@patch(
    "/machines/{idc:str}/{sn:str}",
    responses=PROBLEMS,
    response_headers=[ETAG],
    opt=needs(Permission.MACHINE_WRITE, **{CHECK: check_change}),
)
async def change_machine(  # noqa: PLR0917 - the framework hands them over by name
    idc: FromPath[str],
    sn: FromPath[str],
    data: JSONBody[ChangeMachine],
    request: CallerRequest,
    machines: NamedDependency[Machines],
    fleet: NamedDependency[Fleet],
    if_match: IfMatch = None,
) -> Response[MachineView]:
    """Set tags of a machine, whom it belongs to, and the address that DHCP reserves for it."""
    _check_names(idc, sn)
    found = await machines.change(
        idc,
        sn,
        by=actor(request),
        tags=data.tags,
        tenant=data.tenant,
        address=data.address,
        at_revision=named_revision(if_match),
    )
    await until_shown(fleet, found.revision)
    return _answer(idc, sn, found, fleet, request.user.tenant)


@delete("/machines/{idc:str}/{sn:str}", responses=PROBLEMS, opt=needs(Permission.MACHINE_WRITE))
async def forget_machine(  # noqa: PLR0917 - the framework hands them over by name
    idc: FromPath[str],
    sn: FromPath[str],
    request: CallerRequest,
    machines: NamedDependency[Machines],
    fleet: NamedDependency[Fleet],
    if_match: IfMatch = None,
) -> None:
    """Forget a machine without a task under way, with its past tasks and its BMC's credentials."""
    _check_names(idc, sn)
    revision = await machines.forget(
        idc, sn, by=actor(request), at_revision=named_revision(if_match)
    )
    await until_shown(fleet, revision)


def _check_names(idc: str, sn: str) -> None:
    """A name that no machine can have is one that does not exist."""
    try:
        parse_idc(idc)
        parse_sn(sn)
    except InvalidInput:
        raise NotFound(f"there is no machine {sn[:64]} in {idc[:32]}") from None


def _answer(
    idc: str, sn: str, found: StoredMachine, fleet: Fleet, tenant: str | None
) -> Response[MachineView]:
    task = found.task if found.task and sees(tenant, found.task.tenant) else None
    row = row_of_task(task, revision=found.task_revision) if task else None
    past = [
        each
        for each in fleet.tasks_of_machine(idc, sn)
        if sees(tenant, each.tenant) and not (found.task and each.task_id == found.task.task_id)
    ]
    online, duplicates = fleet.agent_online(idc, sn), fleet.duplicates(f"{idc}/{sn}", tenant)
    view = machine_full(idc, sn, found, row, past, online=online, duplicates=duplicates)
    return tagged(view, found.revision) if found.machine else Response(view)


class DuplicateCollector(Collector):
    """How many machines share a serial number, UUID or MAC with another, by data center."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def collect(self) -> Iterable[Metric]:
        """The gauge, as it is now."""
        gauge = GaugeMetricFamily(
            "lpmos_machines_duplicate",
            "Machines that share a serial number, UUID or MAC with another",
            labels=["idc"],
        )
        counts = self._fleet.count_duplicates()
        for idc in sorted(counts.keys() | {region.idc for region in self._fleet.regions()}):
            gauge.add_metric([idc], counts.get(idc, 0))
        yield gauge


MACHINE_CALLS = (list_machines, show_machine, change_machine, forget_machine)
