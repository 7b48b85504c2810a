"""The region as a service: presence in the store, health, preparation, metrics, an orderly end."""

import asyncio
import os
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from lpmos.app.region import run_region
from lpmos.app.settings import load
from lpmos.app.settings_table import REGION
from lpmos.core.clock import utc_now
from lpmos.images.installers import Installers
from lpmos.model.errors import SettingsError
from lpmos.model.region import Capabilities, Heartbeat, RegionStatus
from lpmos.model.task import Task
from lpmos.region.dnsmasq import PROBE_FILE
from lpmos.region.presence import HEARTBEAT_S, Presence
from lpmos.region.probes import ProbeFailed, probe_dhcp, probe_tftp
from lpmos.region.settings import RegionSettings
from lpmos.region.sources import Sources
from lpmos.region.supervisor import Dnsmasq
from lpmos.region.tftp import SIGNED, prepare_root, prepare_signed
from lpmos.store import keys, records
from lpmos.store.sqlite import SqliteStore
from tests.support.builders import MAC, make_task
from tests.support.region import RunningRegion, fill, running, until

STOP_S = 15.0
"""Of the minute that the poll would take."""


@pytest.fixture
async def region(tmp_path: Path) -> AsyncIterator[RunningRegion]:
    async with running(tmp_path) as started:
        yield started


async def test_presence_is_in_the_store_with_a_lease(region: RunningRegion) -> None:
    kv = await region.store.get(keys.heartbeat("dc1"))
    assert kv is not None
    assert kv.lease
    heartbeat = records.decode(kv, Heartbeat)
    assert (heartbeat.identity, heartbeat.services["http"]) == ("test", "ok")
    assert heartbeat.api_url == region.url
    kv = await region.store.get(keys.capabilities("dc1"))
    assert kv is not None
    capabilities = records.decode(kv, Capabilities)
    manifest = region.catalog.find("debian", "12")
    assert manifest is not None
    assert [(each.name, each.sha256) for each in capabilities.images] == [
        (manifest.name, manifest.sha256)
    ]
    assert [(each.os_type, each.os_version) for each in capabilities.offered] == [("debian", "12")]
    assert region.fleet.region("dc1").online


async def test_presence_lease_lost_is_replaced(region: RunningRegion) -> None:
    kv = await region.store.get(keys.heartbeat("dc1"))
    assert kv is not None
    (first,) = (lease for lease in region.store.leases if lease.id == kv.lease)
    await region.embedded.delete(keys.region_status("dc1"))
    await first.revoke()

    async def back() -> bool:
        kv = await region.store.get(keys.heartbeat("dc1"))
        return kv is not None and kv.lease != first.id

    await until(back, "a heartbeat on a new lease")
    kv = await region.store.get(keys.region_status("dc1"))
    assert kv is not None
    assert records.decode(kv, RegionStatus).status == "online"


async def test_presence_new_image_is_offered(tmp_path: Path) -> None:
    async with running(tmp_path, images=False) as region:
        assert region.fleet.region("dc1").online
        fill(region.catalog, tmp_path)

        def offered() -> bool:
            capabilities = region.fleet.region("dc1").capabilities
            return capabilities is not None and bool(capabilities.offered)

        await until(offered, "the new image to be offered")


async def test_presence_ends_at_once_with_the_region(tmp_path: Path) -> None:
    async with running(tmp_path):
        pass
    store = await SqliteStore.open(tmp_path / "store.db")
    try:
        assert await store.get(keys.heartbeat("dc1")) is None
        kv = await store.get(keys.region_status("dc1"))
        assert kv is not None
        assert records.decode(kv, RegionStatus).status == "offline"
        assert await store.get(keys.capabilities("dc1")) is not None
    finally:
        await store.close()


@pytest.mark.parametrize("path", ["/health", "/api/v1/health", "/api/health"])
async def test_health_has_the_documented_shape(region: RunningRegion, path: str) -> None:
    status, health = await region.get(path)
    assert status == 200
    heartbeat = health.pop("last_heartbeat")
    assert heartbeat.endswith("Z")
    label = {"region_label": "dc1"} if path == "/api/health" else {}
    assert health == {
        "status": "healthy",
        "region_id": "dc1",
        "services": {"dhcp": "off", "tftp": "off", "http": "ok"},
        "etcd_connected": True,
        "outbox": {
            "offline_since": None,
            "waiting": 0,
            "size_bytes": 0,
            "oldest_at": None,
            "kept": 0,
            "handed_in": 0,
            "refused": 0,
        },
        "standing": None,
        "fetching": None,
        **label,
    }


async def test_health_while_the_store_is_away_is_degraded(region: RunningRegion) -> None:
    region.store.away = True
    await until(lambda: not region.fleet.connected, "the outage to be seen")
    status, health = await region.get("/health")
    assert (status, health["status"], health["etcd_connected"]) == (200, "degraded", False)


async def test_preparation_of_what_was_pending_before_the_start(tmp_path: Path) -> None:
    task = make_task()
    store = await SqliteStore.open(tmp_path / "store.db")
    await store.put(keys.task("dc1", task.sn), records.encode(task))
    await store.close()
    async with running(tmp_path) as region:
        await region.task_in(task.task_id, "ready")


async def test_preparation_without_image_or_agent_fails_with_what_to_do(tmp_path: Path) -> None:
    async with running(tmp_path, images=False) as region:
        task = await put(region, make_task())
        failed = await region.task_in(task.task_id, "failed")
        assert failed.error is not None
        assert "no image of debian 12" in failed.error.reason
        assert "lpmos image build debian" in (failed.error.hint or "")
        fill(region.catalog, tmp_path)
        (tmp_path / "images" / "agent" / "x86_64").unlink()
        task = await put(region, make_task(sn="SN-2", task_id=make_task().task_id[:-1] + "2"))
        failed = await region.task_in(task.task_id, "failed")
        assert failed.error is not None
        assert "lpmos image build-agent" in (failed.error.hint or "")


async def test_preparation_goes_on_after_an_outage(region: RunningRegion) -> None:
    region.store.away = True
    await asyncio.sleep(0)
    pending = make_task(sn="SN-8", mac="52:54:00:00:00:08")
    await region.embedded.put(keys.task("dc1", "SN-8"), records.encode(pending))
    await region.task_in(pending.task_id, "ready")  # here; the store hears of it later
    assert (await region.get("/health"))[1]["outbox"]["waiting"] == 1
    region.store.away = False

    async def handed_in() -> bool:
        return (await region.stored_task(pending)).status.value == "ready"

    await until(handed_in, "the word of it in the store")


async def test_preparation_of_one_damaged_machine_holds_up_no_other(tmp_path: Path) -> None:
    spoilt = make_task()
    whole = make_task(sn="SN-2", mac="52:54:00:00:00:02", task_id=make_task().task_id[:-1] + "2")
    store = await SqliteStore.open(tmp_path / "store.db")
    await store.put(keys.server("dc1", spoilt.sn), b"no entry")
    for task in (spoilt, whole):
        await store.put(keys.task("dc1", task.sn), records.encode(task))
    await store.close()
    async with running(tmp_path) as region:
        await region.task_in(whole.task_id, "ready")
        assert (await region.stored_task(spoilt)).status.value == "pending"
        await region.store.delete(keys.server("dc1", spoilt.sn))
        later = make_task(sn="SN-3", mac="52:54:00:00:00:03")
        later = await put(region, msgspec.structs.replace(later, task_id=later.task_id[:-1] + "3"))
        await region.task_in(later.task_id, "ready")
        await region.task_in(spoilt.task_id, "ready")


async def test_images_that_cannot_be_read_for_a_while_end_nothing(region: RunningRegion) -> None:
    images, aside = region.state_dir.parent / "images", region.state_dir.parent / "aside"
    images.rename(aside)
    images.write_text("in the way")
    before = await heartbeat_at(region)
    task = await put(region, make_task())
    await region.task_in(task.task_id, "pending")
    assert (await region.get("/health"))[0] == 200
    images.unlink()
    aside.rename(images)
    await region.task_in(task.task_id, "ready")

    async def written() -> bool:
        return await heartbeat_at(region) > before

    await until(written, "the next heartbeat")


async def test_no_descriptors_for_a_while_end_nothing(region: RunningRegion) -> None:
    assert (await region.get("/health"))[0] == 200  # this connection stays open
    with no_more_descriptors():
        status, health = await region.health_that_is("unhealthy")
        for probe in (probe_tftp("127.0.0.1", PROBE_FILE), probe_dhcp("127.0.0.1")):
            with pytest.raises(ProbeFailed, match="Too many open files"):
                await probe
    assert (status, health["status"]) == (503, "unhealthy")
    assert "Too many open files" in health["services"]["http"]
    assert (await region.fresh_health())[0] == 200


async def test_dnsmasq_that_cannot_be_started_is_tried_again(tmp_path: Path) -> None:
    config = tmp_path / "dnsmasq.conf"
    config.write_text("port=0\nlog-facility=-\nuser=root\ngroup=root\n")
    dnsmasq = Dnsmasq(config, idc="dc1")
    with capture_logs() as logs, no_more_descriptors():
        running_dnsmasq = asyncio.create_task(dnsmasq.run())
        await until(lambda: bool(logs), "the first try")
        assert dnsmasq.pid is None
    try:
        await until(lambda: dnsmasq.pid is not None, "dnsmasq to be started")
        assert dnsmasq.restarts == 1
    finally:
        running_dnsmasq.cancel()
        await asyncio.gather(running_dnsmasq, return_exceptions=True)


async def test_presence_service_that_is_late_is_told_soon(
    region: RunningRegion, tmp_path: Path
) -> None:
    states = iter(("failed: not yet", "failed: not yet"))

    async def services() -> dict[str, str]:
        return {"dhcp": next(states, "ok")}

    settings = RegionSettings(
        idc="dc2", address="127.0.0.1", state_dir=tmp_path, identity="test", version="0.1.0"
    )
    sources = Sources(region.catalog, Installers(tmp_path))
    presence = Presence(
        settings, region.store, sources, utc_now, services, api_url="http://127.0.0.1:1"
    )
    began = asyncio.get_running_loop().time()
    present = asyncio.create_task(presence.run())

    async def told() -> bool:
        kv = await region.store.get(keys.heartbeat("dc2"))
        return kv is not None and records.decode(kv, Heartbeat).services == {"dhcp": "ok"}

    try:
        await until(told, "the service to be told")
        assert asyncio.get_running_loop().time() - began < 0.9 * HEARTBEAT_S
        kv = await region.store.get(keys.region_status("dc2"))
        assert kv is not None
        status = records.decode(kv, RegionStatus)
        assert (status.status, status.services["dhcp"].state) == ("online", "ok")
        assert kv.version == 3  # at the start, when it failed, when it did no more
    finally:
        present.cancel()
        await asyncio.gather(present, return_exceptions=True)


async def test_metrics_count_requests_and_bytes(region: RunningRegion) -> None:
    manifest = region.catalog.find("debian", "12")
    assert manifest is not None
    async with region.http.get(f"{region.url}/boot/images/{manifest.sha256}") as answer:
        await answer.read()
    await region.report()
    _, text = await region.text("/metrics")
    route = 'route="/boot/images/{sha256}"'
    assert f'lpmos_region_requests_total{{{route},status="200"}} 1.0' in text
    assert f"lpmos_region_sent_bytes_total{{{route}}} 300000.0" in text
    assert 'lpmos_region_reports_total{result="no task"} 1.0' in text


async def test_stop_with_a_long_poll_under_way_is_quick(tmp_path: Path) -> None:
    async with running(tmp_path) as region:
        await region.create_task()
        poll = asyncio.create_task(region.get(f"/api/v1/agent/approval/{MAC}?wait=60"))
        await asyncio.sleep(0.1)
        began = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - began < STOP_S
    assert await poll == (200, {"status": "pending"})


async def test_state_directory_that_is_a_file_is_said_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("in the way")
    with pytest.raises(SettingsError, match="--state-dir"):
        async with running(tmp_path):
            pass


async def test_images_directory_that_is_a_file_is_said_with_what_to_do(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.write_text("in the way")
    given = {"idc": "dc1", "region_addr": "127.0.0.1", "dhcp_mode": "off"}
    settings = load(REGION, {**given, "images_dir": str(images)}, {})
    store = await SqliteStore.open(tmp_path / "store.db")
    try:
        with pytest.raises(SettingsError, match="--images-dir"):
            async with asyncio.timeout(60):
                await run_region(settings, store, stands=False)
    finally:
        await store.close()


async def test_port_in_use_is_said_with_what_to_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ExceptionGroup) as caught:
            async with running(tmp_path, port=port):
                pass
    (error,) = caught.value.exceptions
    assert isinstance(error, SettingsError)
    assert f":{port}: " in str(error)
    assert "--api-port" in str(error)


def test_prepare_signed_copies_what_secure_boot_starts_by_its_names(tmp_path: Path) -> None:
    (tmp_path / "tftp").mkdir()
    source = {name: (tmp_path / f"{name}.signed", "a-package") for name in SIGNED}
    for name, (path, _) in source.items():
        path.write_text(name)
    assert prepare_signed(tmp_path / "tftp", tmp_path / "own", source) == set(SIGNED)
    assert (tmp_path / "tftp/shimx64.efi").read_text() == "shimx64.efi"
    assert "net_default_mac" in (tmp_path / "tftp/grub/grub.cfg").read_text()


def test_prepare_signed_without_its_files_names_the_package(tmp_path: Path) -> None:
    source = {"shimx64.efi": (tmp_path / "missing", "shim-signed")}
    with pytest.raises(SettingsError, match="apt-get install shim-signed"):
        prepare_signed(tmp_path, tmp_path / "own", source)


def test_prepare_root_on_a_disk_that_takes_no_more_leaves_what_is_there(tmp_path: Path) -> None:
    loaders = prepare_root(tmp_path / "tftp", tmp_path / "own")
    for name in (*loaders, PROBE_FILE):  # what a write would go through
        (tmp_path / f"tftp/.{name}.partial").mkdir()
    assert prepare_root(tmp_path / "tftp", tmp_path / "own") == loaders


def test_prepare_root_without_boot_loaders_names_the_package(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="apt-get install ipxe"):
        prepare_root(tmp_path / "tftp", tmp_path / "own", tmp_path)


@contextmanager
def no_more_descriptors() -> Iterator[None]:
    """This process opens no file and no socket until the block ends."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Path(os.devnull).open() as lowest:
        free = lowest.fileno()
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def heartbeat_at(region: RunningRegion) -> datetime:
    kv = await region.store.get(keys.heartbeat("dc1"))
    assert kv is not None
    return records.decode(kv, Heartbeat).at


async def put(region: RunningRegion, task: Task) -> Task:
    await region.store.put(keys.task(task.idc, task.sn), records.encode(task))
    return task
