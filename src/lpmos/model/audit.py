"""What is kept of every change: who, what, when, from where, before and after, outcome (X5).

An `AuditEvent` goes into the very transaction of the change that it tells of; so there is none
without the other. The elected control plane later takes the events in order and chains each to the
one before by its digest (`AuditEntry`), and makes the notifications from them. How the chain is
checked is in `lpmos.model.auditcheck`.
"""

import hashlib
import uuid
from datetime import datetime
from typing import Any, Literal

import msgspec

FIRST_PREVIOUS = "0" * 64
"""What the first entry of all has as the digest of the one before."""

FIRST_SEQ = 1
TRIMMED = "audit.trimmed"
DAMAGED = "audit.damaged"
EVENT_LIMIT_BYTES = 32_768
SHOWN_BYTES = 1_000
"""How long a value of `before` or `after` may be where the whole is too long."""


class Actor(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who does something: a user, a rule (`rule:NAME`), a region (`region:IDC`), or `system`."""

    name: str
    tenant: str | None = None
    credential: str | None = None
    address: str | None = None
    request_id: str | None = None


SYSTEM = Actor(name="system")


class AuditEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that was done, or refused.

    `action` is `thing.verb` (`user.changed`), or for a task's step `task.STATUS`; `target` is
    `thing/id`. `before` and `after` hold what changed, without anything secret.
    """

    event_id: str
    at: datetime
    action: str
    actor: Actor
    target: str
    tenant: str | None = None
    idc: str | None = None
    sn: str | None = None
    outcome: Literal["done", "refused"] = "done"
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    reason: str | None = None


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One link of the chain; `digest` is over `seq`, `previous` and the event."""

    seq: int
    previous: str
    digest: str
    event: AuditEvent


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """Where the chain ends: its last entry; `batch` is the first of those written with that one."""

    seq: int = 0
    digest: str = FIRST_PREVIOUS
    batch: int = 1


class Anchor(msgspec.Struct, frozen=True, kw_only=True):
    """Where the chain begins: its first kept entry, and the digest of the one before."""

    first_seq: int = FIRST_SEQ
    previous: str = FIRST_PREVIOUS


def new_event_id(at: datetime) -> str:
    """An id that sorts by time."""
    return f"{at:%Y%m%dT%H%M%S.%fZ}-{uuid.uuid4().hex[:12]}"


def chained(event: AuditEvent, seq: int, previous: str) -> AuditEntry:
    """The event as the entry after the one with the digest `previous`."""
    return AuditEntry(seq=seq, previous=previous, digest=_digest(seq, previous, event), event=event)


def holds(entry: AuditEntry) -> bool:
    """Whether the entry is as it was written."""
    return entry.digest == _digest(entry.seq, entry.previous, entry.event)


def trimmed(anchor: Anchor, entries: int, at: datetime) -> AuditEvent:
    """The event that tells that the `entries` oldest entries were deleted, up to `anchor`."""
    return AuditEvent(
        event_id=new_event_id(at),
        at=at,
        action=TRIMMED,
        actor=SYSTEM,
        target="audit/chain",
        after={**msgspec.to_builtins(anchor), "entries": entries},
    )


def fitted(event: AuditEvent) -> AuditEvent:
    """The event in at most `EVENT_LIMIT_BYTES`: long values are replaced by their digests."""
    if len(msgspec.json.encode(event)) <= EVENT_LIMIT_BYTES:
        return event
    return msgspec.structs.replace(
        event,
        before=_shortened(event.before),
        after=_shortened(event.after),
        reason=event.reason and event.reason[:SHOWN_BYTES],
    )


def _shortened(fields: dict[str, Any] | None) -> dict[str, Any] | None:
    if fields is None:
        return None
    short = {name: _short(value) for name, value in fields.items()}
    whole = len(msgspec.json.encode(short)) <= EVENT_LIMIT_BYTES // 3
    return short if whole else {"left out": _named(fields)}


def _short(value: object) -> object:
    return value if len(msgspec.json.encode(value)) <= SHOWN_BYTES else _named(value)


def _named(value: object) -> str:
    """What stands for a value that is too long to be kept: enough to recognise it."""
    text = msgspec.json.encode(value, order="sorted")
    return f"{len(text)} bytes with SHA-256 {hashlib.sha256(text).hexdigest()}"


def _digest(seq: int, previous: str, event: AuditEvent) -> str:
    """SHA-256 over the canonical JSON (sorted keys) of the link."""
    link = {"seq": seq, "previous": previous, "event": msgspec.to_builtins(event)}
    return hashlib.sha256(msgspec.json.encode(link, order="sorted")).hexdigest()
