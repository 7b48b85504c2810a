"""The calls about a machine's management controller; its password goes in and never comes out."""

from datetime import datetime
from typing import Annotated

import msgspec
from litestar import Response, delete, get, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from lpmos.control.access import CallerRequest, actor, needs
from lpmos.control.http.bodies import CHECK
from lpmos.control.http.conditional import ETAG, IfMatch, named_revision, tagged
from lpmos.control.http.problems import PROBLEMS
from lpmos.core.bmc import BmcCredentials, Bmcs, parse_address
from lpmos.core.documents import Held
from lpmos.model.access import Permission

_PRINTABLE = r"^[^\x00-\x1f\x7f]*$"


class SetBmc(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a controller is reached; `address` is an IP address or a host name."""

    address: Annotated[
        str, msgspec.Meta(min_length=1, max_length=253, extra_json_schema={"format": "host"})
    ]
    username: Annotated[str, msgspec.Meta(min_length=1, max_length=128, pattern=_PRINTABLE)]
    password: Annotated[str, msgspec.Meta(min_length=1, max_length=256, pattern=_PRINTABLE)]


class BmcView(msgspec.Struct, frozen=True, kw_only=True):
    """A controller without its password."""

    idc: str
    sn: str
    address: str
    username: str
    password_set: bool
    password_set_at: datetime


def check_bmc(body: SetBmc) -> None:
    """What the types do not say; raises `InvalidInput`."""
    parse_address(body.address)


@get(
    "/machines/{idc:str}/{sn:str}/bmc",
    responses=PROBLEMS,
    response_headers=[ETAG],
    opt=needs(Permission.MACHINE_READ),
)
async def show_bmc(
    idc: FromPath[str], sn: FromPath[str], request: CallerRequest, bmcs: NamedDependency[Bmcs]
) -> Response[BmcView]:
    """The address and user of a machine's controller."""
    held = await bmcs.read(idc, sn, request.user.tenant)
    return tagged(_view(idc, sn, held), held.revision)


@put(
    "/machines/{idc:str}/{sn:str}/bmc",
    responses=PROBLEMS,
    response_headers=[ETAG],
    opt=needs(Permission.MACHINE_WRITE, **{CHECK: check_bmc}),
)
async def put_bmc(  # noqa: PLR0917 - the framework hands them over by name
    idc: FromPath[str],
    sn: FromPath[str],
    data: JSONBody[SetBmc],
    request: CallerRequest,
    bmcs: NamedDependency[Bmcs],
    if_match: IfMatch = None,
) -> Response[BmcView]:
    """Set the credentials of a machine's controller; they are stored encrypted."""
    held = await bmcs.put(
        idc,
        sn,
        address=parse_address(data.address),
        username=data.username,
        password=data.password,
        by=actor(request),
        at_revision=named_revision(if_match),
    )
    return tagged(_view(idc, sn, held), held.revision)


@delete("/machines/{idc:str}/{sn:str}/bmc", responses=PROBLEMS, opt=needs(Permission.MACHINE_WRITE))
async def delete_bmc(
    idc: FromPath[str],
    sn: FromPath[str],
    request: CallerRequest,
    bmcs: NamedDependency[Bmcs],
    if_match: IfMatch = None,
) -> None:
    """Forget the credentials of a machine's controller."""
    await bmcs.delete(idc, sn, by=actor(request), at_revision=named_revision(if_match))


def _view(idc: str, sn: str, held: Held[BmcCredentials]) -> BmcView:
    document = held.document
    return BmcView(
        idc=idc,
        sn=sn,
        address=document.address,
        username=document.username,
        password_set=True,
        password_set_at=document.password_set_at,
    )


BMC_CALLS = (show_bmc, put_bmc, delete_bmc)
