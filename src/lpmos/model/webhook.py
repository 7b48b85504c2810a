"""A webhook, what it is interested in, and the life of one delivery to it.

A webhook is where notifications go: a receiver of ours over HTTP, or a mail or chat service. Its
URL and its signing secrets stand sealed in its document; `shown_url` is all of the URL that anybody
is shown again. A `Delivery` is one event for one webhook. It is `pending` until the receiver has
taken it (`sent`) or it was tried for `GIVE_UP_AFTER` (`failed`); a person may make it pending anew.
"""

import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec

from lpmos.model.audit import AuditEvent
from lpmos.model.errors import FieldProblem, InvalidInput
from lpmos.model.machine import parse_idc, parse_tenant

FIRST_RETRY_S = 5.0
RETRY_FACTOR = 3
LONGEST_RETRY_S = 14_400.0
JITTER = 0.2
"""A wait is longer or shorter by up to this part of it, so that receivers are not asked at once."""

FIRST_PAUSE_S = 1.0
PAUSE_FACTOR = 2
LONGEST_PAUSE_S = 300.0
"""A webhook that failed is left alone so long, beside the waits of its single deliveries."""

GIVE_UP_AFTER = timedelta(hours=24)
OLD_SECRET_FOR = timedelta(hours=24)
"""How long after a rotation the secret before still signs beside the new one."""

ATTEMPTS_KEPT = 10
ERROR_CHARACTERS = 300
HTTP_SCHEMES = ("http", "https")

_PATTERN = r"(\*|[a-z_]+)(\.(\*|[a-z_]+))*"
_NAME_PATTERN = r"[a-z0-9][a-z0-9-]{0,31}"

EventPattern = Annotated[str, msgspec.Meta(pattern=f"^{_PATTERN}$", max_length=64)]
"""`task.failed`, `task.*`, `*.created` or `*`: parts with dots between, each a word or a star."""

WebhookName = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=100,
        extra_json_schema={"format": "printable", "pattern": r"^\S(.*\S)?$"},
    ),
]
WebhookUrl = Annotated[
    str,
    msgspec.Meta(min_length=1, max_length=2048, extra_json_schema={"format": "receiver-url"}),
]
EventPatterns = Annotated[list[EventPattern], msgspec.Meta(min_length=1, max_length=20)]
Idc = Annotated[str, msgspec.Meta(pattern=f"^{_NAME_PATTERN}$")]


class NewWebhook(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `POST /webhooks` takes; `url` is `https://…`, or one of a mail or chat service."""

    name: WebhookName
    url: WebhookUrl
    events: EventPatterns
    idc: Idc | None = None
    tenant: Annotated[str, msgspec.Meta(pattern=f"^{_NAME_PATTERN}$")] | None = None
    enabled: bool = True


class WebhookChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `PATCH /webhooks/{id}` takes: what is missing stays, `"idc": null` takes it away."""

    name: WebhookName | msgspec.UnsetType = msgspec.UNSET
    url: WebhookUrl | msgspec.UnsetType = msgspec.UNSET
    events: EventPatterns | msgspec.UnsetType = msgspec.UNSET
    idc: Idc | msgspec.UnsetType | None = msgspec.UNSET
    enabled: bool | msgspec.UnsetType = msgspec.UNSET


class Webhook(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where notifications of some events go.

    `url`, `secret` and `previous_secret` are sealed. Only a receiver over HTTP has secrets; the
    previous one signs beside it until `previous_until`.
    """

    webhook_id: str
    name: str
    url: str
    shown_url: str
    events: tuple[str, ...]
    idc: str | None = None
    tenant: str | None = None
    enabled: bool = True
    disabled_reason: str | None = None
    secret: str | None = None
    previous_secret: str | None = None
    previous_until: datetime | None = None
    url_set_at: datetime
    secret_set_at: datetime | None = None
    created_at: datetime
    created_by: str

    def audited(self) -> dict[str, Any]:
        """All of it but what is sealed."""
        names = ("name", "shown_url", "events", "idc", "tenant", "enabled", "disabled_reason")
        times = ("url_set_at", "secret_set_at")
        shown: dict[str, Any] = {name: getattr(self, name) for name in names}
        shown |= {name: time.isoformat() for name in times if (time := getattr(self, name))}
        return {name: value for name, value in shown.items() if value is not None}

    @property
    def is_http(self) -> bool:
        """Whether it is a receiver of our signed messages, not a mail or chat service."""
        return self.shown_url.partition(":")[0] in HTTP_SCHEMES

    def wants(self, event: AuditEvent) -> bool:
        """Whether this event shall be told to it.

        What was refused is in the audit log only: a receiver need not know that a `task.approved`
        may not have happened.
        """
        return (
            self.enabled
            and event.outcome == "done"
            and (self.tenant is None or self.tenant == event.tenant)
            and (self.idc is None or self.idc == event.idc)
            and matches(self.events, event.action)
        )


class DeliveryState(StrEnum):
    """How far a delivery is."""

    PENDING = "pending"
    SENT = "sent"
    FAILED = "failed"


class Attempt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One try: what the receiver answered, or why there is no answer."""

    at: datetime
    duration_ms: int
    status: int | None = None
    error: str | None = None


class Delivery(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One event for one webhook; `payload` is the body, the same at every try.

    `traceparent` is the span that it belongs to, where it is of a task. `tries` counts since it
    became pending, `attempts` are the newest of all.
    """

    webhook_id: str
    event_id: str
    type: str
    tenant: str | None = None
    payload: msgspec.Raw
    state: DeliveryState = DeliveryState.PENDING
    created_at: datetime
    next_at: datetime
    give_up_at: datetime
    tries: int = 0
    attempts: tuple[Attempt, ...] = ()
    done_at: datetime | None = None
    traceparent: str | None = None

    def audited(self) -> dict[str, Any]:
        """What a person changes of it."""
        return {"state": self.state.value, "type": self.type}


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one try.

    `accepted`: the receiver has it. `gone`: the receiver wants nothing any more (HTTP 410).
    `retry_after_s`: how long it asks to be left alone.
    """

    attempt: Attempt
    accepted: bool = False
    gone: bool = False
    retry_after_s: float | None = None


def check_webhook(given: NewWebhook | WebhookChange) -> None:
    """Check what the types cannot say.

    Raises:
        InvalidInput: names every wrong field.
    """
    problems: list[FieldProblem] = []
    if given.name and not (given.name.isprintable() and given.name.strip() == given.name):
        problems.append(FieldProblem("name", "has control characters, or blanks around it"))
    for number, pattern in enumerate(given.events or ()):
        if not re.fullmatch(_PATTERN, pattern):
            problems.append(FieldProblem(f"events.{number}", "is no pattern such as 'task.*'"))
    tenant = given.tenant if isinstance(given, NewWebhook) else None
    for parse, text in ((parse_idc, given.idc), (parse_tenant, tenant)):
        try:
            if text:
                parse(text)
        except InvalidInput as error:
            problems.extend(error.problems)
    if problems:
        raise InvalidInput(*problems)


def matches(patterns: Iterable[str], action: str) -> bool:
    """Whether one of the patterns names this action; a star is any one part, at the end any."""
    return any(_matches(pattern.split("."), action.split(".")) for pattern in patterns)


def _matches(pattern: list[str], parts: list[str]) -> bool:
    if pattern[-1] == "*" and len(parts) > len(pattern):
        parts = parts[: len(pattern)]
    return len(parts) == len(pattern) and all(
        wanted in ("*", part) for wanted, part in zip(pattern, parts, strict=True)
    )


def redacted(url: str) -> str:
    """What may be shown of a URL: its scheme, and for HTTP its host; tokens stand elsewhere.

    Raises:
        ValueError: it is no URL.
    """
    parts = urlsplit(url)
    if parts.scheme not in HTTP_SCHEMES:
        return f"{parts.scheme}://…"
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}{f':{parts.port}' if parts.port else ''}/…"


def new_delivery(
    webhook: Webhook,
    event: AuditEvent,
    payload: bytes,
    now: datetime,
    *,
    full: bool = False,
    traceparent: str | None = None,
) -> Delivery:
    """The delivery of an event to a webhook; `full`: too many wait for it, this one is failed."""
    refused = Attempt(at=now, duration_ms=0, error="not tried: too many deliveries wait before it")
    return Delivery(
        webhook_id=webhook.webhook_id,
        event_id=event.event_id,
        type=event.action,
        tenant=webhook.tenant,
        payload=msgspec.Raw(payload),
        state=DeliveryState.FAILED if full else DeliveryState.PENDING,
        created_at=now,
        next_at=now,
        give_up_at=now + GIVE_UP_AFTER,
        attempts=(refused,) if full else (),
        done_at=now if full else None,
        traceparent=traceparent,
    )


def after_attempt(delivery: Delivery, outcome: Outcome, now: datetime, chance: float) -> Delivery:
    """The delivery after one try.

    Args:
        delivery: as it was.
        outcome: what came of the try.
        now: when it ended.
        chance: 0 to 1, spreads the next try by `JITTER`.
    """
    tried = msgspec.structs.replace(
        delivery,
        tries=delivery.tries + 1,
        attempts=(*delivery.attempts, outcome.attempt)[-ATTEMPTS_KEPT:],
    )
    if outcome.accepted:
        return msgspec.structs.replace(tried, state=DeliveryState.SENT, done_at=now)
    if outcome.gone or now >= delivery.give_up_at:
        return msgspec.structs.replace(tried, state=DeliveryState.FAILED, done_at=now)
    wait_s = max(retry_delay_s(tried.tries, chance), outcome.retry_after_s or 0.0)
    next_at = min(now + timedelta(seconds=wait_s), delivery.give_up_at)
    return msgspec.structs.replace(tried, next_at=next_at)


def retry_delay_s(tries: int, chance: float) -> float:
    """How long to wait after so many tries (from 1) in vain; `chance` is 0 to 1."""
    wait_s: float = min(FIRST_RETRY_S * RETRY_FACTOR ** min(tries - 1, 32), LONGEST_RETRY_S)
    return wait_s * (1 + JITTER * (2 * chance - 1))


def webhook_delay_s(failures: int, chance: float) -> float:
    """How long a webhook is left alone after so many failures (from 1); `chance` is 0 to 1."""
    wait_s: float = min(FIRST_PAUSE_S * PAUSE_FACTOR ** min(failures - 1, 32), LONGEST_PAUSE_S)
    return wait_s * (1 + JITTER * (2 * chance - 1))


def pending_again(delivery: Delivery, now: datetime) -> Delivery:
    """The delivery as a person starts it anew: due now, with all its time before it."""
    return msgspec.structs.replace(
        delivery,
        state=DeliveryState.PENDING,
        next_at=now,
        give_up_at=now + GIVE_UP_AFTER,
        tries=0,
        done_at=None,
    )


def given_up(delivery: Delivery, why: str, now: datetime) -> Delivery:
    """The delivery failed without another try."""
    last = Attempt(at=now, duration_ms=0, error=why)
    return msgspec.structs.replace(
        delivery,
        state=DeliveryState.FAILED,
        attempts=(*delivery.attempts, last)[-ATTEMPTS_KEPT:],
        done_at=now,
    )


def parse_retry_after(text: str | None, now: datetime) -> float | None:
    """Seconds to wait as a `Retry-After` field says (RFC 9110 section 10.2.3); None: it says none.

    Both of its forms are understood: seconds, and a date of the preferred format. It is cut at
    `GIVE_UP_AFTER`.
    """
    text = (text or "").strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        wait_s = float(text)
    else:
        try:
            at = datetime.strptime(text, "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=now.tzinfo)
        except ValueError:
            return None
        wait_s = (at - now).total_seconds()
    return min(max(wait_s, 0.0), GIVE_UP_AFTER.total_seconds())
