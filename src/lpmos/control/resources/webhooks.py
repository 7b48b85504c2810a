"""The webhook calls of the API (A12): what is told where, how it went, and to try it.

A URL goes in and comes out only as its host; a signing secret comes out once, when it is made.
"""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from lpmos.control.access import CallerRequest, actor, needs
from lpmos.control.http.bodies import CHECK
from lpmos.control.http.conditional import ETAG, LOCATION, IfMatch, named_revision, tagged
from lpmos.control.http.problems import PROBLEMS
from lpmos.core.documents import Held
from lpmos.core.notifications.deliveries import Deliveries
from lpmos.core.notifications.webhooks import MadeWebhook, Webhooks
from lpmos.model.access import Permission
from lpmos.model.webhook import (
    Attempt,
    Delivery,
    DeliveryState,
    NewWebhook,
    Webhook,
    WebhookChange,
    check_webhook,
)

Limit = Annotated[int, QueryParameter(ge=1, le=500)]
Offset = Annotated[int, QueryParameter(ge=0, le=10_000_000)]


class WebhookView(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook; `url` is cut, `revision` is for `If-Match`."""

    webhook_id: str
    name: str
    url: str
    events: tuple[str, ...]
    idc: str | None
    tenant: str | None
    enabled: bool
    disabled_reason: str | None
    signed: bool
    url_set_at: datetime
    secret_set_at: datetime | None
    previous_secret_until: datetime | None
    waiting: int
    created_at: datetime
    created_by: str
    revision: int


class MadeWebhookView(WebhookView, frozen=True, kw_only=True):
    """A webhook with the secret that is shown this once; null where it signs nothing."""

    secret: str | None


class WebhookList(msgspec.Struct, frozen=True):
    """One page of webhooks, the oldest first; `total` are there."""

    webhooks: list[WebhookView]
    total: int
    limit: int
    offset: int


class DeliveryView(msgspec.Struct, frozen=True, kw_only=True):
    """One event for one webhook, with the newest attempts and what is sent."""

    event_id: str
    type: str
    status: DeliveryState
    created_at: datetime
    next_at: datetime | None
    done_at: datetime | None
    tries: int
    attempts: tuple[Attempt, ...]
    payload: dict[str, Any]


class DeliveryList(msgspec.Struct, frozen=True):
    """One page of deliveries, the newest event first; `total` match."""

    deliveries: list[DeliveryView]
    total: int
    limit: int
    offset: int


class TestResult(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a test: whether the receiver took it, else what it answered or why not."""

    accepted: bool
    status: int | None
    error: str | None
    duration_ms: int


@get("/webhooks", responses=PROBLEMS, opt=needs(Permission.WEBHOOK_READ))
async def list_webhooks(
    request: CallerRequest,
    webhooks: NamedDependency[Webhooks],
    deliveries: NamedDependency[Deliveries],
    limit: Limit = 50,
    offset: Offset = 0,
) -> WebhookList:
    """The webhooks of the caller's tenant; the provider's admins see all."""
    page, total = webhooks.page(request.user.tenant, limit, offset)
    return WebhookList([_view(held, deliveries) for held in page], total, limit, offset)


@post(
    "/webhooks",
    responses=PROBLEMS,
    response_headers=[ETAG, LOCATION],
    opt=needs(Permission.WEBHOOK_WRITE, **{CHECK: check_webhook}),
)
async def create_webhook(
    data: JSONBody[NewWebhook],
    request: CallerRequest,
    webhooks: NamedDependency[Webhooks],
    deliveries: NamedDependency[Deliveries],
) -> Response[MadeWebhookView]:
    """Make a webhook; the answer alone has the secret that its messages are signed with."""
    made = await webhooks.create(data, by=actor(request))
    answer = _made(made, deliveries, status_code=201)
    answer.headers["Location"] = f"/api/v1/webhooks/{made.held.name}"
    return answer


@get(
    "/webhooks/{webhook_id:str}",
    responses=PROBLEMS,
    response_headers=[ETAG],
    opt=needs(Permission.WEBHOOK_READ),
)
async def show_webhook(
    webhook_id: FromPath[str],
    request: CallerRequest,
    webhooks: NamedDependency[Webhooks],
    deliveries: NamedDependency[Deliveries],
) -> Response[WebhookView]:
    """One webhook."""
    held = await webhooks.find(webhook_id, request.user.tenant)
    return tagged(_view(held, deliveries), held.revision)


@patch(
    "/webhooks/{webhook_id:str}",
    responses=PROBLEMS,
    response_headers=[ETAG],
    opt=needs(Permission.WEBHOOK_WRITE, **{CHECK: check_webhook}),
)
async def change_webhook(  # noqa: PLR0917 - the framework hands them over by name
    webhook_id: FromPath[str],
    data: JSONBody[WebhookChange],
    request: CallerRequest,
    webhooks: NamedDependency[Webhooks],
    deliveries: NamedDependency[Deliveries],
    if_match: IfMatch = None,
) -> Response[WebhookView]:
    """Change what is given; what is missing stays as it is."""
    held = await webhooks.change(
        webhook_id, data, by=actor(request), at_revision=named_revision(if_match)
    )
    return tagged(_view(held, deliveries), held.revision)


@delete("/webhooks/{webhook_id:str}", responses=PROBLEMS, opt=needs(Permission.WEBHOOK_WRITE))
async def delete_webhook(
    webhook_id: FromPath[str],
    request: CallerRequest,
    webhooks: NamedDependency[Webhooks],
    if_match: IfMatch = None,
) -> None:
    """Delete a webhook with all its deliveries; what waits is not sent."""
    await webhooks.delete(webhook_id, by=actor(request), at_revision=named_revision(if_match))


@post(
    "/webhooks/{webhook_id:str}/test",
    responses=PROBLEMS,
    opt=needs(Permission.WEBHOOK_WRITE),
    status_code=200,
)
async def test_webhook(
    webhook_id: FromPath[str], request: CallerRequest, webhooks: NamedDependency[Webhooks]
) -> TestResult:
    """Send a message of the type `webhook.test` now, once, and say what came of it."""
    outcome = await webhooks.test(webhook_id, by=actor(request))
    attempt = outcome.attempt
    return TestResult(
        accepted=outcome.accepted,
        status=attempt.status,
        error=attempt.error,
        duration_ms=attempt.duration_ms,
    )


@post(
    "/webhooks/{webhook_id:str}/rotate-secret",
    responses=PROBLEMS,
    response_headers=[ETAG],
    opt=needs(Permission.WEBHOOK_WRITE),
    status_code=200,
)
async def rotate_webhook_secret(
    webhook_id: FromPath[str],
    request: CallerRequest,
    webhooks: NamedDependency[Webhooks],
    deliveries: NamedDependency[Deliveries],
    if_match: IfMatch = None,
) -> Response[MadeWebhookView]:
    """Make a new signing secret; for a day the one before signs beside it."""
    made = await webhooks.rotate_secret(
        webhook_id, by=actor(request), at_revision=named_revision(if_match)
    )
    return _made(made, deliveries, status_code=200)


@get(
    "/webhooks/{webhook_id:str}/deliveries",
    responses=PROBLEMS,
    opt=needs(Permission.WEBHOOK_READ),
)
async def list_deliveries(  # noqa: PLR0917 - these are query parameters
    webhook_id: FromPath[str],
    request: CallerRequest,
    webhooks: NamedDependency[Webhooks],
    deliveries: NamedDependency[Deliveries],
    status: FromQuery[DeliveryState | None] = None,
    limit: Limit = 50,
    offset: Offset = 0,
) -> DeliveryList:
    """The deliveries of a webhook: what waits, what was sent, what failed and why."""
    held = await webhooks.find(webhook_id, request.user.tenant)
    page, total = deliveries.page(held.name, status, limit, offset)
    return DeliveryList([_delivery(each.document) for each in page], total, limit, offset)


@post(
    "/webhooks/{webhook_id:str}/deliveries/{event_id:str}/redeliver",
    responses=PROBLEMS,
    opt=needs(Permission.WEBHOOK_WRITE),
    status_code=202,
)
async def redeliver(
    webhook_id: FromPath[str],
    event_id: FromPath[str],
    request: CallerRequest,
    webhooks: NamedDependency[Webhooks],
    deliveries: NamedDependency[Deliveries],
) -> DeliveryView:
    """Have a delivery sent again, or now where it waits; it keeps its message id."""
    held = await webhooks.find(webhook_id, request.user.tenant)
    again = await deliveries.redeliver(held.document, event_id, by=actor(request))
    return _delivery(again.document)


def _made(
    made: MadeWebhook, deliveries: Deliveries, *, status_code: int
) -> Response[MadeWebhookView]:
    fields = msgspec.structs.asdict(_view(made.held, deliveries))
    view = MadeWebhookView(**fields, secret=made.secret)
    return tagged(view, made.held.revision, status_code=status_code)


def _view(held: Held[Webhook], deliveries: Deliveries) -> WebhookView:
    webhook = held.document
    return WebhookView(
        webhook_id=held.name,
        name=webhook.name,
        url=webhook.shown_url,
        events=webhook.events,
        idc=webhook.idc,
        tenant=webhook.tenant,
        enabled=webhook.enabled,
        disabled_reason=webhook.disabled_reason,
        signed=webhook.is_http,
        url_set_at=webhook.url_set_at,
        secret_set_at=webhook.secret_set_at,
        previous_secret_until=webhook.previous_until,
        waiting=deliveries.index.waiting(held.name),
        created_at=webhook.created_at,
        created_by=webhook.created_by,
        revision=held.revision,
    )


def _delivery(delivery: Delivery) -> DeliveryView:
    return DeliveryView(
        event_id=delivery.event_id,
        type=delivery.type,
        status=delivery.state,
        created_at=delivery.created_at,
        next_at=delivery.next_at if delivery.state is DeliveryState.PENDING else None,
        done_at=delivery.done_at,
        tries=delivery.tries,
        attempts=delivery.attempts,
        payload=msgspec.json.decode(delivery.payload),
    )


WEBHOOK_CALLS = (
    list_webhooks,
    create_webhook,
    show_webhook,
    change_webhook,
    delete_webhook,
    test_webhook,
    rotate_webhook_secret,
    list_deliveries,
    redeliver,
)
