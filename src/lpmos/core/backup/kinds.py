"""What each key of a backup is, and the type that its value must be.

The rule: a key that no row names is kept as it is, under the kind `other`; a backup loses nothing
for being made by an older version than the one that wrote the key.
"""

import re
from collections.abc import Sequence
from typing import TypeVar

from lpmos.model.audit import Anchor, AuditEntry, AuditEvent, Head
from lpmos.model.machine import Machine, ServerEntry, UnmatchedReport
from lpmos.model.rule import Rule
from lpmos.model.task import Task, TaskPlace
from lpmos.model.template import Template
from lpmos.model.user import User
from lpmos.model.webhook import Delivery, Webhook
from lpmos.store import records
from lpmos.store.api import KV

T = TypeVar("T")

_CONTROL = r"/os/control/"
_NAME = r"[^/]+"
_KINDS: Sequence[tuple[str, str, type | None]] = (
    ("users", rf"{_CONTROL}users/{_NAME}", User),
    ("rules", rf"{_CONTROL}rules/{_NAME}", Rule),
    ("webhooks", rf"{_CONTROL}webhooks/{_NAME}", Webhook),
    ("deliveries", rf"{_CONTROL}deliveries/{_NAME}/{_NAME}", Delivery),
    ("control plane's own", rf"{_CONTROL}.+", None),
    ("templates", rf"/os/config/templates/{_NAME}", Template),
    ("events", rf"/os/events/{_NAME}", AuditEvent),
    ("places of tasks", rf"/os/tasks/{_NAME}", TaskPlace),
    ("unmatched reports", rf"/os/unmatched_reports/{_NAME}/{_NAME}", UnmatchedReport),
    ("dead letters", rf"/os/dlq/{_NAME}/{_NAME}", Task),
    ("servers", rf"/os/{_NAME}/servers/{_NAME}", ServerEntry),
    ("past tasks", rf"/os/{_NAME}/machines/{_NAME}/history/{_NAME}", Task),
    ("tasks", rf"/os/{_NAME}/machines/{_NAME}/task", Task),
    ("machines", rf"/os/{_NAME}/machines/{_NAME}/meta", Machine),
    ("audit entries", rf"/os-audit/entries/{_NAME}/{_NAME}", AuditEntry),
    ("ends of the audit log", r"/os-audit/head", Head),
    ("ends of the audit log", r"/os-audit/anchor", Anchor),
)
KINDS = tuple((kind, re.compile(pattern), document) for kind, pattern, document in _KINDS)
"""The word for each kind, the keys that are of it, and the type of their documents."""

OTHER = "other"


def kind_of(key: str) -> str:
    """The word for what the key holds; `OTHER` where nothing is known of it."""
    return _row(key)[0]


def fault_of(key: str, value: bytes) -> str | None:
    """Why the value is not what its key promises; None where it is, or nothing is promised."""
    document = _row(key)[1]
    if document is None:
        return None
    try:
        decoded(key, value, document)
    except records.DamagedRecord as error:
        return str(error)
    return None


def decoded(key: str, value: bytes, document: type[T]) -> T:
    """The document of a key.

    Raises:
        DamagedRecord: as `lpmos.store.records.decode`.
    """
    return records.decode(KV(key, value, 0, 0, 0), document)


def _row(key: str) -> tuple[str, type | None]:
    for kind, pattern, document in KINDS:
        if pattern.fullmatch(key):
            return kind, document
    return OTHER, None
