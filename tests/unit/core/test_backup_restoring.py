"""A backup holds what a store has, and is restored without the right to install anything."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from lpmos.app.backend import embedded_store
from lpmos.core.agentrun import AgentRun
from lpmos.core.agents import Agents
from lpmos.core.audit.chain import AuditChain
from lpmos.core.audit.reader import AuditReader
from lpmos.core.backup.content import SESSIONS
from lpmos.core.backup.directory import Directory, backups_in
from lpmos.core.backup.form import read_manifest
from lpmos.core.backup.making import make_backup
from lpmos.core.backup.place import Backup, prune
from lpmos.core.backup.restoring import (
    CODE,
    NotEmpty,
    RestoreUnfinished,
    require_whole,
    restore,
)
from lpmos.core.backup.verification import prove, verify
from lpmos.core.fleet import Fleet
from lpmos.core.taskrow import row_of_document
from lpmos.model.audit import AuditEvent
from lpmos.model.auditcheck import ChainCheck
from lpmos.model.bootplan import BootLocalDisk, UnknownMachines
from lpmos.model.errors import Conflict, DamagedBackup
from lpmos.model.lifecycle import Status
from lpmos.model.machine import ServerEntry
from lpmos.model.retry import TRANSIENT
from lpmos.model.rule import Rule
from lpmos.model.task import Task
from lpmos.store import keys, records
from lpmos.store.api import Store, Unavailable
from lpmos.store.mirror import Mirror
from lpmos.store.sqlite import SqliteStore
from tests.support.backups import ENTRIES, everything, files_in, fill, task_id, task_key
from tests.support.clocks import HandClock
from tests.support.faulty_store import FaultyStore
from tests.support.newer_version import is_kept, write_as_newer
from tests.support.notifications import TIMEOUT_S, leading
from tests.support.polling import until

CLOCK = HandClock()


@pytest.fixture
async def other(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """An empty store."""
    (tmp_path / "other").mkdir()
    async with embedded_store(tmp_path / "other") as store:
        assert isinstance(store, SqliteStore)
        yield store


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = await SqliteStore.open(tmp_path / "store.db")
    await fill(opened)
    yield opened
    await opened.close()


@pytest.fixture
async def backup(store: Store, tmp_path: Path) -> Backup:
    return await made(store, tmp_path / "backups")


def _path(backup: Backup) -> Path:
    return Path(backup.where)


async def made(store: Store, directory: Path) -> Backup:
    return await make_backup(store, Directory(directory), cluster="c", clock=CLOCK)


async def _task(store: Store, status: Status) -> Task:
    kv = await store.get(task_key(status))
    assert kv is not None
    return records.decode(kv, Task)


async def test_backup_holds_all_but_what_lives_and_sessions(
    store: SqliteStore, backup: Backup
) -> None:
    there = await everything(store)
    counts = backup.manifest.counts
    assert backup.manifest.records == len(there) - 2
    assert counts["tasks"] == 4 and counts["audit entries"] == ENTRIES
    assert counts["other"] == 2 and "control plane's own" not in counts
    assert _path(backup).stat().st_mode & 0o777 == 0o600


async def test_backup_is_of_one_revision_whatever_is_written_meanwhile(
    store: SqliteStore, tmp_path: Path
) -> None:
    before = await everything(store)

    async def after_the_last_page(path: Path) -> None:
        await store.put("/os/late", b"")

    backup = await make_backup(
        store, Directory(tmp_path / "b"), cluster="c", clock=CLOCK, check=after_the_last_page
    )
    assert backup.manifest.records == len(before) - 2
    assert backup.manifest.revision == (await store.status()).revision - 1


async def test_backup_that_is_proved_is_as_the_store_and_leaves_nothing_behind(
    backup: Backup,
) -> None:
    verdict = await prove(_path(backup), embedded_store)
    assert verdict.manifest == backup.manifest
    assert files_in(_path(backup).parent) == [_path(backup).name]


async def test_backup_verify_names_documents_that_cannot_be_read(
    store: SqliteStore, tmp_path: Path
) -> None:
    await store.put(keys.control("users", "broken"), b"{")
    verdict = await verify(_path(await made(store, tmp_path / "b")))
    # what `fill` has of no document's type is not promised to be one
    assert list(verdict.faults) == [keys.control("users", "broken")] and verdict.faulty == 1


async def test_backup_of_a_store_that_goes_away_leaves_the_others_alone(
    store: SqliteStore, backup: Backup
) -> None:
    faulty = FaultyStore(store)
    faulty.away = True
    with pytest.raises(Unavailable):
        await made(faulty, _path(backup).parent)
    assert files_in(_path(backup).parent) == [_path(backup).name]


async def test_backup_that_its_check_refuses_gets_no_name(
    store: SqliteStore, backup: Backup
) -> None:
    async def refuse(path: Path) -> None:
        raise DamagedBackup(str(path))

    with pytest.raises(DamagedBackup):
        await make_backup(
            store, Directory(_path(backup).parent), cluster="c", clock=CLOCK, check=refuse
        )
    assert files_in(_path(backup).parent) == [_path(backup).name]


async def test_backup_prune_keeps_the_newest_and_what_is_of_another_cluster(
    store: SqliteStore, tmp_path: Path
) -> None:
    clock, directory = HandClock(), tmp_path / "b"
    paths = []
    for cluster in ("c", "else", "c", "c"):
        clock.move(hours=1)
        made_now = await make_backup(store, Directory(directory), cluster=cluster, clock=clock)
        paths.append(_path(made_now))
    (directory / "notes.backup.zst").write_bytes(b"mine")
    assert await prune(Directory(directory), 2, "c") == [paths[0].name]
    assert [_path(each) for each in backups_in(directory)] == [paths[3], paths[2], paths[1]]
    assert (directory / "notes.backup.zst").exists()


async def test_restore_is_equal_key_by_key_but_for_what_would_install(
    store: SqliteStore, backup: Backup, other: SqliteStore
) -> None:
    restored = await restore(other, _path(backup), CLOCK)
    assert restored is not None
    before, after = await everything(store), await everything(other)
    changed = {task_key(Status.APPROVED), task_key(Status.INSTALLING)}
    changed |= {keys.server("dc1", f"SN-{s.value}") for s in (Status.APPROVED, Status.INSTALLING)}
    changed |= {keys.control("rules", "all")}
    left_out = {keys.heartbeat("dc1"), SESSIONS + "one"}
    same = before.keys() - changed - left_out
    assert {key: after[key] for key in same} == {key: before[key] for key in same}
    letters = {keys.dead_letter("dc1", each) for each in restored.failed}
    new = after.keys() - before.keys() - letters
    assert all(key.startswith(keys.EVENTS) for key in new) and len(new) == 3
    assert not left_out & after.keys()
    await require_whole(other)


async def test_restore_approved_and_installing_tasks_have_failed_without_an_intent(
    backup: Backup, other: SqliteStore
) -> None:
    restored = await restore(other, _path(backup), CLOCK)
    assert restored is not None
    assert set(restored.failed) == {task_id(Status.APPROVED), task_id(Status.INSTALLING)}
    for status in (Status.APPROVED, Status.INSTALLING):
        task = await _task(other, status)
        assert (task.status, task.intent) == (Status.FAILED, None)
        assert task.error is not None and task.error.code == CODE and task.error.hint
        assert task.status_history[-1].by == "system"
        server = await other.get(keys.server("dc1", task.sn))
        assert server is not None and records.decode(server, ServerEntry).status == "failed"
        assert await other.get(keys.dead_letter("dc1", task.task_id)) is not None
    assert (await _task(other, Status.COMPLETED)).status is Status.COMPLETED
    assert (await _task(other, Status.PENDING_APPROVAL)).approval is None


def test_restore_what_failed_so_is_not_tried_again_by_itself() -> None:
    assert CODE not in TRANSIENT


async def test_restore_disables_rules_and_says_which(backup: Backup, other: SqliteStore) -> None:
    restored = await restore(other, _path(backup), CLOCK)
    assert restored is not None and restored.disabled == ["all"]
    for name in ("all", "off"):
        kv = await other.get(keys.control("rules", name))
        assert kv is not None and not records.decode(kv, Rule).fields.enabled


async def test_restore_keeps_what_a_newer_version_wrote(
    store: SqliteStore, other: SqliteStore, tmp_path: Path
) -> None:
    """And nothing of it is allowed: no rule nor job either of which this version knows a part."""
    task, rule = task_key(Status.APPROVED), keys.control("rules", "all")
    await write_as_newer(store, task)
    job = await store.get(task_key(Status.INSTALLING))
    assert job is not None
    unread = {**msgspec.json.decode(job.value), "job": {"steps": [{"step": "newer"}]}}
    unread["updated_at"] = "2026-01-01T00:00:00Z"
    await store.put(job.key, msgspec.json.encode(unread))
    kv = await store.get(rule)
    assert kv is not None
    await store.put(rule, kv.value.replace(b'"fields":{', b'"fields":{"unless":"true",'))
    backup = await made(store, tmp_path / "b")
    restored = await restore(other, _path(backup), CLOCK)
    assert restored is not None and restored.disabled == ["all"]
    assert await is_kept(other, task) and (await _task(other, Status.APPROVED)).intent is None
    kept = await other.get(rule)
    assert kept is not None
    fields = msgspec.json.decode(kept.value)["fields"]
    assert (fields["unless"], fields["enabled"]) == ("true", False)
    assert set(restored.failed) == {task_id(Status.APPROVED), task_id(Status.INSTALLING)}
    job = await other.get(job.key)
    assert job is not None
    failed = msgspec.json.decode(job.value)
    assert (failed["status"], failed["intent"], failed["error"]["code"]) == ("failed", None, CODE)
    assert failed["job"] == unread["job"]
    assert [each["status"] for each in failed["status_history"]] == ["installing", "failed"]
    assert failed["status_history"][-1]["by"] == "system"
    assert failed["status_history"][-1]["timestamp"] == failed["updated_at"]
    assert failed["updated_at"] != unread["updated_at"]
    letter = await other.get(keys.dead_letter("dc1", task_id(Status.INSTALLING)))
    server = await other.get(keys.server("dc1", unread["sn"]))
    assert letter is not None and letter.value == job.value
    assert server is not None and records.decode(server, ServerEntry).status == "failed"
    assert row_of_document(job).status is Status.FAILED
    events = [records.decode(kv, AuditEvent) for kv in (await other.range(keys.EVENTS)).kvs]
    assert {each.target for each in events if each.action == "task.failed"} == {
        f"task/{each}" for each in restored.failed
    }


async def test_restore_tells_of_itself(backup: Backup, other: SqliteStore) -> None:
    await restore(other, _path(backup), CLOCK)
    kvs = (await other.range(keys.EVENTS)).kvs
    events = [records.decode(kv, AuditEvent) for kv in kvs]
    assert sorted(event.action for event in events) == [
        "backup.restored", "task.failed", "task.failed", "user.changed",
    ]  # fmt: skip
    (told,) = (event for event in events if event.action == "backup.restored")
    assert told.after is not None and told.after["failed_tasks"] == 2


async def test_restore_the_audit_chain_holds_afterwards(backup: Backup, other: SqliteStore) -> None:
    await restore(other, _path(backup), CLOCK)
    check, page = ChainCheck(), await AuditReader(other).chain(from_seq=1, limit=1000)
    assert [*check.page(page), *check.end()] == []
    assert check.entries == ENTRIES


async def test_restore_into_a_store_with_something_is_refused(
    backup: Backup, other: SqliteStore
) -> None:
    await other.put("/os/dc1/machines/SN/meta", b"{}")
    with pytest.raises(NotEmpty, match="1 machines"):
        await restore(other, _path(backup), CLOCK)
    asked: list[dict[str, int]] = []

    def no(counts: dict[str, int]) -> bool:
        asked.append(counts)
        return False

    assert await restore(other, _path(backup), CLOCK, agree=no) is None
    assert asked == [{"machines": 1}]
    assert list(await everything(other)) == ["/os/dc1/machines/SN/meta"]


async def test_restore_that_is_agreed_to_leaves_nothing_of_what_was_there(
    backup: Backup, other: SqliteStore
) -> None:
    for number in range(300):
        await other.put(f"/os/old/{number}", b"")
    assert await restore(other, _path(backup), CLOCK, agree=lambda _: True)
    assert not [key for key in await everything(other) if key.startswith("/os/old/")]


async def test_restore_of_a_damaged_file_writes_nothing(backup: Backup, other: SqliteStore) -> None:
    _path(backup).write_bytes(_path(backup).read_bytes()[:-5])
    assert read_manifest(_path(backup)) == backup.manifest
    with pytest.raises(DamagedBackup):
        await restore(other, _path(backup), CLOCK)
    assert await everything(other) == {}


async def test_restore_that_is_cut_off_is_noticed_and_can_be_done_again(
    backup: Backup, other: SqliteStore
) -> None:
    with pytest.raises(Unavailable):
        await restore(_CutAfter(other, 2), _path(backup), CLOCK)
    with pytest.raises(RestoreUnfinished, match="not over"):
        await require_whole(other)
    assert await restore(other, _path(backup), CLOCK, agree=lambda _: True)
    await require_whole(other)


class _CutAfter(FaultyStore):
    """Goes away after so many transactions."""

    def __init__(self, store: Store, txns: int) -> None:
        super().__init__(store)
        self._left = txns
        self.before_txn = [self._count] * 1000

    async def _count(self) -> None:
        self._left -= 1
        if self._left == 0:
            self.away = True


async def test_restored_events_are_chained_after_the_log(
    backup: Backup, other: SqliteStore
) -> None:
    """The elected control plane goes on where the log of the backup ends."""
    await restore(other, _path(backup), CLOCK)
    mirror = Mirror(other, keys.ROOT)
    leadership = await leading(other)
    chain = AuditChain(other, mirror, CLOCK)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(mirror.run()), group.create_task(chain.lead(leadership))]

        async def chained() -> bool:
            return not (await other.range(keys.EVENTS)).kvs

        await until(chained, TIMEOUT_S)
        for task in tasks:
            task.cancel()
    check, page = ChainCheck(), await AuditReader(other).chain(from_seq=1, limit=1000)
    assert [*check.page(page), *check.end()] == []
    assert check.entries == ENTRIES + 4


@pytest.mark.parametrize("status", [Status.APPROVED, Status.INSTALLING])
async def test_restored_machine_boots_its_own_disk_and_no_agent_gets_to_install(
    backup: Backup, other: SqliteStore, status: Status
) -> None:
    await restore(other, _path(backup), CLOCK)
    mirror = Mirror(other, keys.ROOT)
    fleet = Fleet(mirror)
    agents = Agents(other, fleet, CLOCK, idc="dc1", unknown=UnknownMachines.DISCOVER)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(mirror.run())
        async with asyncio.timeout(TIMEOUT_S):
            await mirror.wait_ready()
        task = await _task(other, status)
        plan, _ = await agents.boot("52:54:00:00:00:77", task.sn)
        assert isinstance(plan, BootLocalDisk)
        run = AgentRun(mac=task.mac, agent_id="run-1")
        for intent_id in (None, "right"):
            with pytest.raises(Conflict):
                await agents.claim(run, task.task_id, intent_id)
        running.cancel()


@pytest.mark.parametrize(
    "key",
    [
        keys.AUDIT_HEAD,
        task_key(Status.APPROVED),
        keys.server("dc1", "SN-approved"),
        keys.control("rules", "all"),
    ],
)
async def test_damaged_record_is_backed_up_and_restored_as_it_is(
    store: SqliteStore, other: SqliteStore, tmp_path: Path, key: str
) -> None:
    await store.put(key, b"\xff{")
    backup = await made(store, tmp_path / "b")
    verdict = await prove(_path(backup), embedded_store)
    assert list(verdict.faults) == [key]
    assert backup.manifest.counts["audit entries"] == ENTRIES
    assert await restore(other, _path(backup), CLOCK)
    kv = await other.get(key)
    assert kv is not None and (kv.value == b"\xff{" or key.startswith("/os/dc1/servers/"))
