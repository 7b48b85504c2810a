"""`lpmos backup` on an object store: whole or not there, and errors that say what to do."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lpmos.app.backend import embedded_store
from lpmos.core.backup.making import make_backup
from lpmos.core.backup.objects import ObjectStore
from lpmos.core.backup.place import prune
from lpmos.lab.processes import HostProcesses
from lpmos.store.sqlite import SqliteStore
from tests.support.backups import everything, filled_state
from tests.support.clocks import HandClock
from tests.support.etcd import free_port
from tests.support.lpmos_command import LPMOS, Done, ended, started
from tests.support.object_server import KEY_ID, SECRET, ObjectServer
from tests.support.polling import until

TARGET = "s3://backups/site"
TIMEOUT_S = 120.0
MANY = 2500
"""Records of noise: the backup has 62 MB, that is 8 parts."""

VALUE_BYTES = 25_000


MEASURING = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


@pytest.fixture
async def server() -> AsyncIterator[ObjectServer]:
    async with ObjectServer() as running:
        yield running


@pytest.fixture
async def state(tmp_path: Path) -> Path:
    """A state directory with a store that has something of every kind."""
    return await filled_state(tmp_path / "state")


async def _ended(process: asyncio.subprocess.Process) -> Done:
    done = await ended(process)
    assert SECRET not in done.out + done.error
    return done


async def _backup(environment: dict[str, str], *arguments: str) -> Done:
    return await _ended(await started("backup", *arguments, environment=environment))


def _create(state: Path, target: str = TARGET) -> tuple[str, ...]:
    return ("create", "-q", "--state-dir", str(state), "--backup-target", target)


async def _noise(state: Path) -> None:
    store = await SqliteStore.open(state / "store.db")
    for number in range(MANY):
        await store.put(f"/os/noise/{number}", os.urandom(VALUE_BYTES))
    await store.close()


async def test_backup_in_an_object_store_is_listed_verified_and_restored(
    server: ObjectServer, state: Path, tmp_path: Path
) -> None:
    environment = server.environment()
    made = await _backup(environment, *_create(state))
    assert made.code == 0, made.error
    url = made.out.strip()
    assert url.startswith(f"{TARGET}/lpmos-")
    await server.spoil("site/notes.backup.zst")
    listed = await _backup(environment, "list", "-q", "--backup-target", TARGET)
    assert listed.out.split() == [url]
    good = await _backup(environment, "verify", url, "--by-restoring", "--json")
    assert good.code == 0 and json.loads(good.out)["manifest"]["counts"]["tasks"] == 4
    new = tmp_path / "new"
    back = await _backup(environment, "restore", url, "--state-dir", str(new), "--json")
    assert back.code == 0 and len(json.loads(back.out)["failed_tasks"]) == 2, back.error
    origin = await SqliteStore.open(state / "store.db")
    restored = await SqliteStore.open(new / "store.db")
    assert len((await everything(origin)).keys() - (await everything(restored)).keys()) == 1
    await origin.close()
    await restored.close()
    assert list((state / "backups").iterdir()) == []


async def _measured(server: ObjectServer, *arguments: str) -> tuple[str, int]:
    """What a command says, and the most memory that it took, in KiB."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", MEASURING, LPMOS, "backup", *arguments,
        env=kept | server.environment(), stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(TIMEOUT_S):
        out, _ = await process.communicate()
    assert process.returncode == 0
    *said, peak_kib = out.decode().split()
    return said[0] if said else "", int(peak_kib)


async def test_backup_of_many_parts_is_uploaded_with_constant_memory(
    server: ObjectServer, state: Path, tmp_path: Path
) -> None:
    await _noise(state)
    url, made_kib = await _measured(server, *_create(state))
    _, verified_kib = await _measured(server, "verify", url)
    # the pieces in flight take 32 MiB of it
    assert max(made_kib, verified_kib) < 300 * 1024


async def test_backup_whose_server_dies_in_the_middle_leaves_nothing_and_says_so(
    server: ObjectServer, state: Path
) -> None:
    await _noise(state)
    process = await started("backup", *_create(state), environment=server.environment())

    async def uploading() -> bool:
        return await server.uploads() > 0

    await until(uploading, TIMEOUT_S)
    await server.close()
    failed = await _ended(process)
    assert failed.code == 1 and "does not answer" in failed.error and TARGET in failed.error
    assert list((state / "backups").iterdir()) == []


async def test_backup_killed_in_the_middle_of_its_upload_is_not_there(
    server: ObjectServer, state: Path
) -> None:
    first = await _backup(server.environment(), *_create(state))
    await _noise(state)
    process = await started("backup", *_create(state), environment=server.environment())

    async def uploading() -> bool:
        return await server.uploads() > 0

    await until(uploading, TIMEOUT_S)
    process.kill()
    await process.wait()
    assert (await server.names()).count("<Key>") == 1
    listed = await _backup(server.environment(), "list", "-q", "--backup-target", TARGET)
    assert listed.out == first.out


@pytest.mark.parametrize(
    ("target", "changed", "said"),
    [
        ("s3://nothing/site", {}, "no such bucket: create it, or correct backup_target"),
        (TARGET, {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}"}, "does not answer"),
        (TARGET, {"AWS_ALLOW_HTTP": "false"}, "AWS_ALLOW_HTTP=true"),
    ],
)
async def test_backup_that_the_object_store_does_not_take_says_what_to_do(
    server: ObjectServer, state: Path, target: str, changed: dict[str, str], said: str
) -> None:
    refused = await _backup(server.environment() | changed, *_create(state, target))
    assert refused.code == 1 and said in refused.error and target in refused.error
    assert KEY_ID not in refused.error and "Debug" not in refused.error


async def test_backup_url_that_is_not_there_says_so(server: ObjectServer) -> None:
    missing = await _backup(server.environment(), "verify", f"{TARGET}/lpmos-x.backup.zst")
    assert missing.code == 1 and "there is no such backup" in missing.error


async def test_backup_with_keys_that_the_server_does_not_know_says_so(state: Path) -> None:
    async with ObjectServer(strict=True) as server:
        refused = await _backup(server.environment(), *_create(state))
    assert refused.code == 1 and "credentials are not taken" in refused.error
    assert KEY_ID not in refused.error


async def test_backups_of_an_object_store_are_pruned_by_the_cluster_and_the_newest_stay(
    server: ObjectServer, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    place, clock, names = ObjectStore(TARGET, tmp_path / "work"), HandClock(), []
    async with embedded_store(state) as store:
        for cluster in ("c", "else", "c", "c"):
            clock.move(hours=1)
            names.append((await make_backup(store, place, cluster=cluster, clock=clock)).name)
    assert await prune(place, 2, "c") == [names[0]]
    assert [each.name for each in await place.backups()] == [names[3], names[2], names[1]]
    await place.delete(names[0])


async def test_backup_on_schedule_goes_to_the_object_store(
    server: ObjectServer, state: Path
) -> None:
    async with HostProcesses() as processes:
        await processes.spawn(
            ["env", *(f"{name}={value}" for name, value in server.environment().items()),
             str(LPMOS), "up", "--state-dir", str(state),
             "--listen-addr", f"127.0.0.1:{free_port()}", "--dhcp-mode", "off",
             "--region-addr", "127.0.0.1", "--api-port", str(free_port()),
             "--backup-every-h", "1", "--backup-target", TARGET],
            log=state / "up.log",
        )  # fmt: skip

        async def made() -> bool:
            return "site/lpmos-" in await server.names()

        await until(made, TIMEOUT_S)
    assert SECRET not in (state / "up.log").read_text()
