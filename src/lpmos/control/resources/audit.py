"""The audit calls of the API (A12, X5): search the log, show an entry, read the chain itself.

A tenant's administrators read what concerns their tenant. The chain is for who verifies it, so it
is whole or it is nothing: it is shown to the provider's administrators only.
"""

from collections.abc import Iterable
from typing import Annotated, Literal

from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromQuery, PathParameter, QueryParameter
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from lpmos.control.access import CallerRequest, needs
from lpmos.control.http.parameters import Moment, moment
from lpmos.control.http.problems import PROBLEMS
from lpmos.core.audit.chain import AuditChain
from lpmos.core.audit.reader import AuditPage, AuditQuery, AuditReader
from lpmos.core.duties import Duties
from lpmos.model.access import Permission
from lpmos.model.audit import AuditEntry
from lpmos.model.auditcheck import ChainPage
from lpmos.model.errors import FieldProblem, InvalidInput

SEQ_LIMIT = 10**12 - 1

Word = Annotated[str | None, QueryParameter(min_length=1, max_length=256)]
Seq = Annotated[int, QueryParameter(ge=1, le=SEQ_LIMIT)]


@get("/audit", responses=PROBLEMS, opt=needs(Permission.AUDIT_READ))
async def search_audit(  # noqa: PLR0917 - these are query parameters
    request: CallerRequest,
    audit: NamedDependency[AuditReader],
    actor: Word = None,
    action: Word = None,
    target: Word = None,
    tenant: Word = None,
    idc: Word = None,
    sn: Word = None,
    outcome: FromQuery[Literal["done", "refused"] | None] = None,
    since: Moment = None,
    until: Moment = None,
    sort: FromQuery[Literal["-seq", "seq"]] = "-seq",
    from_seq: Annotated[int | None, QueryParameter(ge=1, le=SEQ_LIMIT)] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=500)] = 50,
) -> AuditPage:
    """Entries that match, the newest first (`sort=seq`: the oldest first).

    `action` is matched by how it begins. `next` is the `from_seq` of the following page; a page may
    have fewer entries than `limit`, even none, and a `next`.
    """
    query = AuditQuery(
        actor=actor,
        action=action,
        target=target,
        tenant=_tenant(request, tenant),
        idc=idc,
        sn=sn,
        outcome=outcome,
        since=moment(since, "since"),
        until=moment(until, "until"),
    )
    if sort == "seq":
        return await audit.oldest_first(query, from_seq=from_seq or 1, limit=limit)
    return await audit.newest_first(query, from_seq=from_seq, limit=limit)


@get("/audit/chain", responses=PROBLEMS, opt=needs(Permission.AUDIT_VERIFY))
async def read_audit_chain(
    audit: NamedDependency[AuditReader],
    from_seq: Seq = 1,
    limit: Annotated[int, QueryParameter(ge=1, le=1000)] = 500,
) -> ChainPage:
    """The chain as it is, upwards from `from_seq`, with its two ends: for who verifies it.

    What was deleted for its age is passed over: `anchor` says where the chain begins.
    """
    return await audit.chain(from_seq=from_seq, limit=limit)


@get("/audit/{seq:int}", responses=PROBLEMS, opt=needs(Permission.AUDIT_READ))
async def show_audit_entry(
    seq: Annotated[int, PathParameter(ge=1, le=SEQ_LIMIT)],
    request: CallerRequest,
    audit: NamedDependency[AuditReader],
) -> AuditEntry:
    """One entry."""
    return await audit.find(seq, request.user.tenant)


class AuditCollector(Collector):
    """What an operator watches of the log: whether somebody leads, and whether the log keeps up."""

    def __init__(self, chain: AuditChain, duties: Duties) -> None:
        self._chain = chain
        self._duties = duties

    def collect(self) -> Iterable[Metric]:
        """The gauges as they are now."""
        pending = GaugeMetricFamily(
            "lpmos_audit_pending_events", "Changes that are not in the audit log yet"
        )
        pending.add_metric([], self._chain.pending)
        yield pending
        leads = GaugeMetricFamily("lpmos_control_plane_leads", "1 on the elected control plane")
        leads.add_metric([], float(self._duties.leading))
        yield leads


def _tenant(request: CallerRequest, asked: str | None) -> str | None:
    """Whose entries are looked for: a tenant's user finds its tenant's only."""
    own = request.user.tenant
    if own is not None and asked not in (None, own):
        raise InvalidInput(FieldProblem("tenant", f"must be {own}"))
    return own or asked


AUDIT_CALLS = (search_audit, read_audit_chain, show_audit_entry)
