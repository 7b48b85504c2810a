"""The region as a service: presence in the store, health, preparation, metrics, an orderly end."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lpmos.model.errors import SettingsError
from lpmos.model.region import Capabilities, Heartbeat, RegionStatus
from lpmos.model.task import Task
from lpmos.region.tftp import prepare_root
from lpmos.store import keys, records
from lpmos.store.sqlite import SqliteStore
from tests.support.builders import MAC, make_task
from tests.support.region import RunningRegion, fill, running, until


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
    kv = await region.store.get(keys.capabilities("dc1"))
    assert kv is not None
    capabilities = records.decode(kv, Capabilities)
    assert [(each.os_type, each.os_version) for each in capabilities.offered] == [("debian", "12")]
    assert region.fleet.region("dc1").online


async def test_presence_lease_lost_is_replaced(region: RunningRegion) -> None:
    (first,) = region.store.leases
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
    await region.task_in(pending.task_id, "pending")
    region.store.away = False
    await region.task_in(pending.task_id, "ready")


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
    assert asyncio.get_running_loop().time() - began < 8
    await asyncio.gather(poll, return_exceptions=True)


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


def test_prepare_root_without_boot_loaders_names_the_package(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="apt-get install ipxe"):
        prepare_root(tmp_path / "tftp", tmp_path)


async def put(region: RunningRegion, task: Task) -> Task:
    await region.store.put(keys.task(task.idc, task.sn), records.encode(task))
    return task
