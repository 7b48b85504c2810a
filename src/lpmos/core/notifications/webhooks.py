"""What people do with webhooks: make, change, delete, try them, and give them a new secret.

The URL and the secrets are sealed before they reach the store, each bound to its own place; only
sending opens them again. A tenant has its own webhooks only, and
what they may reach is narrower: what sends decides that (`Sender.refusal`).
"""

import base64
import re
import secrets
import uuid
from typing import Any, Protocol

import msgspec
import structlog

from lpmos.core.clock import Clock
from lpmos.core.documents import Documents, Held
from lpmos.core.secrets.box import SealedFields, SecretBox, context
from lpmos.core.tracing import caller
from lpmos.model.access import sees
from lpmos.model.audit import Actor, new_event_id
from lpmos.model.errors import (
    Conflict,
    FieldProblem,
    InvalidInput,
    NotFound,
    SecretError,
    TooBusy,
)
from lpmos.model.webhook import (
    OLD_SECRET_FOR,
    Attempt,
    NewWebhook,
    Outcome,
    Webhook,
    WebhookChange,
    check_webhook,
    redacted,
)
from lpmos.store import keys
from lpmos.store.api import Delete, Store
from lpmos.store.mirror import Mirror

log = structlog.get_logger()

PREFIX = keys.control("webhooks")
SEALED = SealedFields(PREFIX, ("url", "secret", "previous_secret"))
LIMIT = 25
"""How many webhooks one tenant, or the provider, has: an event is for at most twice as many."""

TESTS_AT_ONCE = 8
SECRET_BYTES = 32
SECRET_MARK = "whsec_"  # noqa: S105 - how secrets of the specification begin


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """One message on its way, with what its webhook keeps sealed.

    `secrets` are those that sign it, the newest first; `message_id` is the same at every try;
    `traceparent` names the span that it belongs to.
    """

    url: str
    secrets: tuple[str, ...] = ()
    tenant: str | None = None
    message_id: str
    payload: bytes
    traceparent: str | None = None

    def __repr__(self) -> str:
        return f"Letter({self.message_id})"


class Sender(Protocol):
    """What takes messages to receivers and services."""

    async def refusal(self, url: str, tenant: str | None) -> str | None:
        """Why a webhook of this tenant cannot have this URL; None where it can."""
        ...

    async def send(self, letter: Letter) -> Outcome:
        """Try once, within a bounded time; whatever goes wrong is told in the outcome."""
        ...


class MadeWebhook(msgspec.Struct, frozen=True):
    """A webhook and the secret that is told this once; None where it signs nothing."""

    held: Held[Webhook]
    secret: str | None


def webhook_documents(store: Store, mirror: Mirror, clock: Clock) -> Documents[Webhook]:
    """The collection of the webhooks."""
    return Documents(store, mirror, clock, prefix=PREFIX, kind=Webhook, noun="webhook")


class Webhooks:
    """The use cases; who may do what is decided before."""

    def __init__(
        self, documents: Documents[Webhook], sender: Sender, box: SecretBox, clock: Clock
    ) -> None:
        self.documents = documents
        self._sender = sender
        self._box = box
        self._clock = clock
        self._tests = 0

    def page(self, tenant: str | None, limit: int, offset: int) -> tuple[list[Held[Webhook]], int]:
        """One page of what users of `tenant` see, oldest first, and how many there are."""
        seen = [held for held in self.documents.all() if sees(tenant, held.document.tenant)]
        seen.sort(key=lambda held: (held.document.created_at, held.name))
        return seen[offset : offset + limit], len(seen)

    async def find(self, webhook_id: str, tenant: str | None) -> Held[Webhook]:
        """The webhook.

        Raises:
            NotFound: there is none, or it is another tenant's.
        """
        if re.fullmatch("[0-9a-f]{32}", webhook_id):
            held = await self.documents.read(webhook_id)
            if sees(tenant, held.document.tenant):
                return held
        raise NotFound(f"there is no webhook {webhook_id[:64]}")

    async def create(self, new: NewWebhook, *, by: Actor) -> MadeWebhook:
        """A new webhook, of the actor's tenant where it has one.

        Raises:
            InvalidInput: names every wrong field.
            Conflict: there are `LIMIT` already.
        """
        check_webhook(new)
        if by.tenant is not None and new.tenant not in (None, by.tenant):
            raise InvalidInput(FieldProblem("tenant", f"must be {by.tenant}"))
        tenant = by.tenant or new.tenant
        await self._check_url(new.url, tenant)
        owned = sum(1 for held in self.documents.all() if held.document.tenant == tenant)
        if owned >= LIMIT:
            raise Conflict(f"there are {LIMIT} webhooks already; delete one, or widen another")
        webhook_id, now = uuid.uuid4().hex, self._clock()
        webhook = Webhook(
            webhook_id=webhook_id,
            name=new.name,
            url=self._sealed(webhook_id, "url", new.url),
            shown_url=redacted(new.url),
            events=tuple(new.events),
            idc=new.idc,
            tenant=tenant,
            enabled=new.enabled,
            url_set_at=now,
            created_at=now,
            created_by=by.name,
        )
        secret = None
        if webhook.is_http:
            secret = _new_secret()
            sealed = self._sealed(webhook_id, "secret", secret)
            webhook = msgspec.structs.replace(webhook, secret=sealed, secret_set_at=now)
        return MadeWebhook(await self.documents.create(webhook_id, webhook, by=by), secret)

    async def change(
        self, webhook_id: str, change: WebhookChange, *, by: Actor, at_revision: int | None = None
    ) -> Held[Webhook]:
        """Change what is given; who enables a webhook forgets why it was disabled.

        Raises:
            NotFound: there is none, or it is another tenant's.
            InvalidInput: names every wrong field.
            CasConflict: it is not at `at_revision`.
        """
        check_webhook(change)
        held = await self.find(webhook_id, by.tenant)
        fields: dict[str, Any] = {
            name: value
            for name in ("name", "idc", "enabled")
            if (value := getattr(change, name)) is not msgspec.UNSET
        }
        if change.events is not msgspec.UNSET:
            fields["events"] = tuple(change.events)
        if change.url is not msgspec.UNSET:
            await self._check_url(change.url, held.document.tenant)
            shown = redacted(change.url)
            fields |= {"shown_url": shown, "url_set_at": self._clock()}
            fields["url"] = self._sealed(webhook_id, "url", change.url)
            if msgspec.structs.replace(held.document, shown_url=shown).is_http != (
                held.document.is_http
            ):
                problem = "a receiver over HTTP stays one, as does a service; make another webhook"
                raise InvalidInput(FieldProblem("url", problem))
        if change.enabled is True:
            fields["disabled_reason"] = None

        def changed(webhook: Webhook) -> Webhook:
            after = msgspec.structs.replace(webhook, **fields)
            return webhook if after == webhook else after

        return await self.documents.change(webhook_id, changed, by=by, at_revision=at_revision)

    async def delete(self, webhook_id: str, *, by: Actor, at_revision: int | None = None) -> None:
        """Delete it with all its deliveries; raises as `change`."""
        await self.find(webhook_id, by.tenant)
        deliveries = Delete(keys.control("deliveries", f"{webhook_id}/"), prefix=True)
        await self.documents.delete(webhook_id, by=by, at_revision=at_revision, also=[deliveries])

    async def rotate_secret(
        self, webhook_id: str, *, by: Actor, at_revision: int | None = None
    ) -> MadeWebhook:
        """A new secret; the one before signs beside it for `OLD_SECRET_FOR`.

        Raises:
            NotFound: there is none, or it is another tenant's.
            Conflict: it is not one that signs.
            CasConflict: it is not at `at_revision`.
        """
        held = await self.find(webhook_id, by.tenant)
        if not held.document.is_http:
            raise Conflict("only messages to http and https receivers are signed")
        secret, now = _new_secret(), self._clock()

        def rotated(webhook: Webhook) -> Webhook:
            before = self._open(webhook, "secret")
            return msgspec.structs.replace(
                webhook,
                secret=self._sealed(webhook_id, "secret", secret),
                secret_set_at=now,
                previous_secret=before and self._sealed(webhook_id, "previous_secret", before),
                previous_until=now + OLD_SECRET_FOR,
            )

        after = await self.documents.change(
            webhook_id, rotated, by=by, at_revision=at_revision, verb="secret_rotated"
        )
        return MadeWebhook(after, secret)

    async def test(self, webhook_id: str, *, by: Actor) -> Outcome:
        """Send a message of the type `webhook.test` now; also to a webhook that is disabled.

        Raises:
            NotFound: there is none, or it is another tenant's.
            TooBusy: `TESTS_AT_ONCE` are under way.
        """
        held = await self.find(webhook_id, by.tenant)
        if self._tests >= TESTS_AT_ONCE:
            raise TooBusy("other webhooks are being tested; try again in a few seconds")
        now = self._clock()
        message_id = new_event_id(now)
        data = {"event_id": message_id, "target": f"webhook/{webhook_id}", "by": by.name}
        message = {"type": "webhook.test", "timestamp": now, "data": data}
        self._tests += 1
        try:
            asked = caller()
            return await self.send(
                held.document,
                message_id,
                msgspec.json.encode(message),
                traceparent=str(asked) if asked else None,
            )
        finally:
            self._tests -= 1

    async def send(
        self, webhook: Webhook, message_id: str, payload: bytes, *, traceparent: str | None = None
    ) -> Outcome:
        """Try once to send a body to a webhook; whatever goes wrong is told in the outcome."""
        try:
            letter = self._letter(webhook, message_id, payload)
            letter = msgspec.structs.replace(letter, traceparent=traceparent)
        except SecretError as error:
            return Outcome(attempt=Attempt(at=self._clock(), duration_ms=0, error=str(error)))
        try:
            return await self._sender.send(letter)
        except Exception as error:  # noqa: BLE001 - one webhook's fault must not end the duties
            why = f"the control plane failed to send it: {type(error).__name__}"
            log.error("cannot send", webhook=webhook.name, error=type(error).__name__)  # noqa: TRY400 - the text may have secrets in it
            return Outcome(attempt=Attempt(at=self._clock(), duration_ms=0, error=why))

    def _letter(self, webhook: Webhook, message_id: str, payload: bytes) -> Letter:
        signing = [self._open(webhook, "secret")]
        if webhook.previous_until is not None and self._clock() < webhook.previous_until:
            signing.append(self._open(webhook, "previous_secret"))
        return Letter(
            url=self._open(webhook, "url") or "",
            secrets=tuple(secret for secret in signing if secret),
            tenant=webhook.tenant,
            message_id=message_id,
            payload=payload,
        )

    async def _check_url(self, url: str, tenant: str | None) -> None:
        try:
            redacted(url)
            refusal = await self._sender.refusal(url, tenant)
        except ValueError:
            refusal = "is no URL"
        if refusal:
            raise InvalidInput(FieldProblem("url", refusal))

    def _sealed(self, webhook_id: str, field: str, text: str) -> str:
        return self._box.seal(text, context(PREFIX + webhook_id, field))

    def _open(self, webhook: Webhook, field: str) -> str | None:
        sealed = getattr(webhook, field)
        return sealed and self._box.open(sealed, context(PREFIX + webhook.webhook_id, field))


def _new_secret() -> str:
    return SECRET_MARK + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
