"""A store with something of every kind in it, for tests of backups; and what a store holds."""

from pathlib import Path

from lpmos.core.backup.content import PREFIXES, SESSIONS
from lpmos.model.audit import Head
from lpmos.model.lifecycle import Status
from lpmos.model.machine import ServerEntry
from lpmos.model.task import Approval, Intent, Task
from lpmos.store import keys, records
from lpmos.store.api import Lease, Store
from lpmos.store.sqlite import SqliteStore
from tests.support.audit import make_chain, make_event
from tests.support.builders import NOW, make_task, make_user
from tests.support.rules import make_rule

ENTRIES = 250
"""More than one chunk of the audit log."""

STATUSES = (Status.PENDING_APPROVAL, Status.APPROVED, Status.INSTALLING, Status.COMPLETED)


def task_id(status: Status) -> str:
    """The id of the task of this status."""
    return f"{STATUSES.index(status):08d}-0000-4000-8000-000000000000"


def task_key(status: Status) -> str:
    """Its key."""
    return keys.task("dc1", f"SN-{status.value}")


def _task(status: Status) -> Task:
    approval = Approval(approved=True, status="approved", approved_by="anna", approved_at=NOW)
    decided = status is not Status.PENDING_APPROVAL
    return make_task(
        task_id=task_id(status),
        sn=f"SN-{status.value}",
        status=status,
        approval=approval if decided else None,
        intent=Intent(intent_id="right") if decided else None,
    )


async def fill(store: Store) -> Lease:
    """Put it all there; the lease is that of the keys that only live."""
    for status in STATUSES:
        task = _task(status)
        entry = ServerEntry(sn=task.sn, status=status.value, mac=task.mac, added_at=NOW)
        await store.put(task_key(status), records.encode(task))
        await store.put(keys.server("dc1", task.sn), records.encode(entry))
    await store.put(keys.control("users", "anna"), records.encode(make_user(name="anna")))
    await store.put(keys.control("rules", "all"), records.encode(make_rule()))
    await store.put(keys.control("rules", "off"), records.encode(make_rule(enabled=False)))
    await store.put(SESSIONS + "one", b"{}")
    await store.put(keys.GLOBAL_CONFIG, bytes(range(256)))
    await store.put(keys.migrated("one"), b"{}")
    event = make_event(event_id="20260102T030405.000000Z-00000000ffff")
    await store.put(keys.event(event.event_id), records.encode(event))
    entries = make_chain([make_event(event_id=f"e{number}") for number in range(ENTRIES)])
    for entry_of_log in entries:
        await store.put(keys.audit_entry(entry_of_log.seq), records.encode(entry_of_log))
    head = Head(seq=entries[-1].seq, digest=entries[-1].digest, batch=1)
    await store.put(keys.AUDIT_HEAD, records.encode(head))
    lease = await store.grant(30)
    await store.put(keys.heartbeat("dc1"), b"{}", lease=lease.id)
    return lease


async def everything(store: Store) -> dict[str, bytes]:
    """All keys that are LPMOS's, and their values."""
    found: dict[str, bytes] = {}
    for prefix in (*PREFIXES, "/os-election/"):
        async for page in store.list(prefix):
            found |= {kv.key: kv.value for kv in page.kvs}
    return found


def files_in(directory: Path) -> list[str]:
    """The names in a directory, hidden ones too."""
    return sorted(path.name for path in directory.iterdir())


async def filled_state(directory: Path) -> Path:
    """A new state directory whose store has something of every kind."""
    directory.mkdir()  # noqa: ASYNC240 - once, in a test
    opened = await SqliteStore.open(directory / "store.db")
    lease = await fill(opened)
    await lease.revoke()
    await opened.close()
    return directory
