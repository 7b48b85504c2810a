"""What is kept of every change: who, what, when, from where, before and after, outcome (X5).

An `AuditEvent` goes into the very transaction of the change that it tells of; so there is none
without the other. The elected control plane later takes the events in order and chains each to the
one before by its digest (`AuditEntry`), and makes the notifications from them.
"""

import hashlib
import uuid
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal

import msgspec

FIRST_PREVIOUS = "0" * 64
"""What the first entry of all has as the digest of the one before."""


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


class Break(msgspec.Struct, frozen=True):
    """Where the chain does not hold, and why."""

    seq: int
    why: str


def new_event_id(at: datetime) -> str:
    """An id that sorts by time."""
    return f"{at:%Y%m%dT%H%M%S.%fZ}-{uuid.uuid4().hex[:12]}"


def chained(event: AuditEvent, seq: int, previous: str) -> AuditEntry:
    """The event as the entry after the one with the digest `previous`."""
    return AuditEntry(seq=seq, previous=previous, digest=_digest(seq, previous, event), event=event)


def breaks(entries: Iterable[AuditEntry], seq: int, previous: str) -> list[Break]:
    """Every place where `entries` is not the chain that goes on with `seq` after `previous`."""
    found: list[Break] = []
    for entry in entries:
        if entry.seq != seq:
            missing = f"{seq}" if entry.seq == seq + 1 else f"{seq} to {entry.seq - 1}"
            why = f"{missing} missing before it" if entry.seq > seq else "out of order"
            found.append(Break(entry.seq, why))
        elif entry.previous != previous:
            found.append(Break(entry.seq, "does not go on from the entry before"))
        if entry.digest != _digest(entry.seq, entry.previous, entry.event):
            found.append(Break(entry.seq, "was changed after it was written"))
        seq, previous = entry.seq + 1, entry.digest
    return found


def _digest(seq: int, previous: str, event: AuditEvent) -> str:
    """SHA-256 over the canonical JSON (sorted keys) of the link."""
    link = {"seq": seq, "previous": previous, "event": msgspec.to_builtins(event)}
    return hashlib.sha256(msgspec.json.encode(link, order="sorted")).hexdigest()
