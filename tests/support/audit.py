"""Events, and chains of them, for tests of the audit log."""

from collections.abc import Sequence
from typing import Any

import msgspec

from lpmos.model.audit import Anchor, AuditEntry, AuditEvent, Head, chained
from lpmos.model.auditcheck import ChainPage
from tests.support.builders import NOW, actor


def make_event(**fields: Any) -> AuditEvent:
    """Somebody changed a user."""
    whole = AuditEvent(
        event_id="20260102T030405.000000Z-000000000000",
        at=NOW,
        action="user.changed",
        actor=actor("admin"),
        target="user/anna",
    )
    return msgspec.structs.replace(whole, **fields)


def make_chain(events: Sequence[AuditEvent], anchor: Anchor | None = None) -> list[AuditEntry]:
    """The events chained from `anchor` on."""
    anchor = anchor or Anchor()
    entries: list[AuditEntry] = []
    seq, previous = anchor.first_seq, anchor.previous
    for event in events:
        entries.append(chained(event, seq, previous))
        seq, previous = seq + 1, entries[-1].digest
    return entries


def pages_of(
    entries: Sequence[AuditEntry], anchor: Anchor | None = None, *, size: int = 3
) -> list[ChainPage]:
    """The chain as the API gives it, `size` entries a page."""
    anchor = anchor or Anchor()
    head = Head(seq=entries[-1].seq, digest=entries[-1].digest) if entries else Head()
    cut = [tuple(entries[at : at + size]) for at in range(0, max(1, len(entries)), size)]
    return [ChainPage(anchor=anchor, head=head, entries=each) for each in cut]
