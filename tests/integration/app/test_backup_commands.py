"""`lpmos backup` on real stores: from one kind to the other, killed, with a full disk, in use."""

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from lpmos.core.backup.directory import backups_in
from lpmos.core.backup.restoring import RestoreUnfinished, require_whole
from lpmos.core.backup.verification import verify
from lpmos.lab.processes import HostProcesses
from lpmos.model.access import Role
from lpmos.model.lifecycle import Status
from lpmos.store import keys
from lpmos.store.api import Store
from lpmos.store.etcd import EtcdStore
from lpmos.store.sqlite import SqliteStore
from tests.support.backups import everything, files_in, filled_state, task_id, task_key
from tests.support.control_plane import running
from tests.support.etcd import EtcdServer, free_port
from tests.support.lpmos_command import LPMOS, lpmos
from tests.support.polling import until
from tests.support.small_disk import report_of

TREE = Path(__file__).parents[3]
TIMEOUT_S = 60.0
MANY = 1500
VALUE = bytes(range(256)) * 100


@pytest.fixture
async def etcd() -> AsyncIterator[EtcdServer]:
    async with EtcdServer() as server:
        yield server


@pytest.fixture
async def state(tmp_path: Path) -> Path:
    """A state directory with a store that has something of every kind."""
    return await filled_state(tmp_path / "state")


async def contents(store: Store) -> dict[str, bytes]:
    found = await everything(store)
    await store.close()
    return found


def comparable(found: dict[str, bytes]) -> dict[str, bytes]:
    """Without what a restore adds and makes safe, which has tests of its own."""
    failed = [task_key(status) for status in (Status.APPROVED, Status.INSTALLING)]
    changed = (*failed, "/os/events/", "/os/dlq/", "/os/dc1/servers/", "/os/control/rules/")
    changed += ("/os/control/sessions/",)
    return {key: value for key, value in found.items() if not key.startswith(changed)}


async def test_backup_goes_from_the_embedded_store_to_etcd_and_back(
    state: Path, tmp_path: Path, etcd: EtcdServer
) -> None:
    cluster = ("--etcd-endpoints", etcd.endpoint)
    made = await lpmos("backup", "create", "-q", "--state-dir", str(state))
    assert made.code == 0, made.error
    first = made.out.strip()
    there = await lpmos("backup", "restore", first, *cluster, "--json")
    assert there.code == 0, there.error
    assert sorted(json.loads(there.out)["failed_tasks"]) == [
        task_id(Status.APPROVED), task_id(Status.INSTALLING)
    ]  # fmt: skip
    again = await lpmos("backup", "create", "-q", *cluster, "--state-dir", str(tmp_path / "b"))
    assert again.code == 0, again.error
    back = await lpmos("backup", "restore", again.out.strip(), "--state-dir", str(tmp_path / "new"))
    assert back.code == 0, back.error
    origin = await contents(await SqliteStore.open(state / "store.db"))
    in_etcd = await contents(await EtcdStore.connect([etcd.endpoint]))
    returned = await contents(await SqliteStore.open(tmp_path / "new" / "store.db"))
    assert comparable(in_etcd) == comparable(origin)
    assert {**in_etcd, **returned} == returned
    assert [key.startswith(keys.EVENTS) for key in returned.keys() - in_etcd.keys()] == [True]


async def test_restored_store_has_a_control_plane_that_lists_its_tasks(
    state: Path, tmp_path: Path
) -> None:
    made = await lpmos("backup", "create", "-q", "--state-dir", str(state))
    new = tmp_path / "new"
    assert (await lpmos("backup", "restore", made.out.strip(), "--state-dir", str(new))).code == 0
    store = await SqliteStore.open(new / "store.db")
    async with running(store) as control_plane:
        token = await control_plane.as_user([Role.ADMIN])
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(base_url=control_plane.url, headers=headers) as client:
            answer = await client.get("/api/v1/tasks")
        listed = {task["task_id"]: task["status"] for task in answer.json()["tasks"]}
    await store.close()
    assert listed == {
        task_id(Status.PENDING_APPROVAL): "pending_approval",
        task_id(Status.APPROVED): "failed",
        task_id(Status.INSTALLING): "failed",
        task_id(Status.COMPLETED): "completed",
    }


async def _writing(directory: Path, there_were: int) -> bool:
    return len(files_in(directory)) > there_were


async def test_backup_killed_on_the_way_leaves_the_good_one_and_the_next_succeeds(
    state: Path,
) -> None:
    directory = state / "backups"
    assert (await lpmos("backup", "create", "--state-dir", str(state))).code == 0
    good = backups_in(directory)
    store = await SqliteStore.open(state / "store.db")
    for number in range(MANY):
        await store.put(f"/os/noise/{number}", VALUE)
    await store.close()
    for _ in range(3):
        left = files_in(directory)
        process = await asyncio.create_subprocess_exec(
            LPMOS, "backup", "create", "--state-dir", str(state)
        )

        await until(partial(_writing, directory, len(left)), TIMEOUT_S)
        process.kill()
        await process.wait()
        assert backups_in(directory) == good
    assert (await lpmos("backup", "create", "--state-dir", str(state))).code == 0
    newest, oldest = backups_in(directory)
    assert oldest == good[0] and newest.manifest.records == oldest.manifest.records + MANY
    await verify(Path(newest.where))


async def test_backup_with_a_full_disk_leaves_the_good_one_and_says_so(
    state: Path, tmp_path: Path
) -> None:
    (small := tmp_path / "small").mkdir()
    module = "tests.support.backup_full_disk"
    report = await report_of(module, str(state), str(small), disk=small, size_mb=2)
    assert report == {"error": "No space left on device", "kept": True, "good": True, "files": 1}


def _change(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-100] ^= 1
    file.write_bytes(content)


async def test_backup_verify_of_a_file_that_was_changed_says_so(state: Path) -> None:
    made = await lpmos("backup", "create", "-q", "--state-dir", str(state))
    file = Path(made.out.strip())
    good = await lpmos("backup", "verify", str(file), "--by-restoring", "--json")
    assert good.code == 0 and json.loads(good.out)["manifest"]["counts"]["tasks"] == 4
    _change(file)
    bad = await lpmos("backup", "verify", str(file))
    assert bad.code == 1 and str(file) in bad.error
    assert (await lpmos("backup", "restore", str(file), "--state-dir", str(state / "x"))).code == 1


async def test_restore_into_etcd_that_is_in_use_is_refused(
    state: Path, tmp_path: Path, etcd: EtcdServer
) -> None:
    made = await lpmos("backup", "create", "-q", "--state-dir", str(state))
    store = await EtcdStore.connect([etcd.endpoint])
    leadership = await store.elect("control-plane", "host:1", 30)
    restore = ("backup", "restore", made.out.strip(), "--etcd-endpoints", etcd.endpoint)
    refused = await lpmos(*restore)
    assert refused.code == 5 and "host:1" in refused.error
    await leadership.resign()
    lease = await store.grant(30)
    await store.put(keys.heartbeat("dc1"), b"{}", lease=lease.id)
    refused = await lpmos(*restore)
    assert refused.code == 5 and keys.heartbeat("dc1") in refused.error
    await store.put("/os/tasks/x", b"{}")
    assert (await lpmos(*restore, "--force", "--replace", "--yes")).code == 0
    assert await store.get("/os/tasks/x") is None
    await store.close()


async def test_restore_killed_on_the_way_is_done_again_from_the_same_file(
    state: Path, etcd: EtcdServer
) -> None:
    store = await SqliteStore.open(state / "store.db")
    for number in range(MANY):
        await store.put(f"/os/noise/{number}", VALUE)
    await store.close()
    made = await lpmos("backup", "create", "-q", "--state-dir", str(state))
    restore = ("backup", "restore", made.out.strip(), "--etcd-endpoints", etcd.endpoint)
    process = await asyncio.create_subprocess_exec(LPMOS, *restore)
    target = await EtcdStore.connect([etcd.endpoint])

    async def begun() -> bool:
        return bool((await target.range("/os/", limit=1, keys_only=True)).kvs)

    await until(begun, TIMEOUT_S)
    process.kill()
    await process.wait()
    with pytest.raises(RestoreUnfinished):
        await require_whole(target)
    assert (await lpmos(*restore)).code == 5
    assert (await lpmos(*restore, "--replace", "--yes")).code == 0
    await require_whole(target)
    origin = await contents(await SqliteStore.open(state / "store.db"))
    assert comparable(await contents(target)) == comparable(origin)


async def test_restore_that_is_not_over_keeps_a_control_plane_from_starting(
    state: Path,
) -> None:
    store = await SqliteStore.open(state / "store.db")
    await store.put(keys.RESTORING, b"a.backup.zst")
    await store.close()
    up = await lpmos(
        "up", "--state-dir", str(state), "--listen-addr", f"127.0.0.1:{free_port()}",
        "--region-addr", "127.0.0.1", "--api-port", str(free_port()), "--dhcp-mode", "off",
    )  # fmt: skip
    assert up.code == 5 and "a.backup.zst" in up.error and "--replace" in up.error


async def test_backup_of_a_running_control_plane_is_made_on_schedule(state: Path) -> None:
    url = f"127.0.0.1:{free_port()}"
    async with HostProcesses() as processes:
        await processes.spawn(
            [str(LPMOS), "up", "--state-dir", str(state), "--listen-addr", url,
             "--dhcp-mode", "off", "--region-addr", "127.0.0.1",
             "--api-port", str(free_port()), "--backup-every-h", "1", "--backup-keep", "1"],
            log=state / "up.log",
        )  # fmt: skip

        async def made() -> bool:
            return bool(backups_in(state / "backups"))

        await until(made, TIMEOUT_S)
    (backup,) = backups_in(state / "backups")
    assert backup.manifest.counts["tasks"] == 4
    await verify(Path(backup.where))
