"""Whole regions that copy images: what they offer, and tasks that wait for an image."""

import asyncio
import shutil
from pathlib import Path

import httpx

from lpmos.control.config import ControlConfig
from lpmos.images.catalog import Catalog
from lpmos.model.access import Role
from lpmos.model.lifecycle import Status
from lpmos.region.image_fetching import ImageFetching
from lpmos.store import keys, records
from tests.integration.control.test_images_api import CONTENT, UPLOADS, new_upload
from tests.support import control_plane as control_planes
from tests.support import region as regions
from tests.support.builders import actor, make_spec, make_task
from tests.support.etcd import free_port
from tests.support.image_copy import (
    BYTES_PER_SECOND,
    LARGE,
    copying,
    image_source,
    part_of,
    port_of,
)
from tests.support.region import until
from tests.support.throttled_proxy import ThrottledProxy


async def test_tasks_whose_image_is_fetched_still_wait_for_it(tmp_path: Path) -> None:
    """As with a client that takes over and has less than the one before it."""
    async with (
        image_source(tmp_path) as source,
        ThrottledProxy(port_of(source), BYTES_PER_SECOND) as proxy,
    ):
        source.add_agent()
        source.add_image("debian-12", LARGE)
        images = tmp_path / "images"
        copy = copying(proxy.endpoint, source.token, images)
        assert copy.brings("agent", None)  # nothing was listed yet
        async with regions.running(tmp_path, images=False, fetching=lambda _: copy) as region:

            async def fetches() -> bool:
                return copy.state.current == "debian-12" and part_of(images) > 0

            waits = make_task(status=Status.PENDING)
            await region.store.put(keys.task("dc1", waits.sn), records.encode(waits))
            await until(fetches, "the image to be fetched")
            assert (await region.stored_task(waits)).status == "pending"
            status, problem = await region.report()
            assert (status, problem["code"]) == (503, "occupied")
            await region.task_in(waits.task_id, "ready")
            assert not copy.brings(None, ("debian", "12"))
            await region.report()
            await region.task_in(waits.task_id, "pending_approval")
            await region.tasks.approve(waits.task_id, by=actor("admin"), notes=None)
            approved = await region.task_in(waits.task_id, "approved")
            (manifest,) = Catalog(images).manifests()
            shutil.rmtree(Catalog(images).path(manifest).parent)
            await until(fetches, "the image to be fetched again")
            path = f"/api/v1/agent/approval/{approved.mac}?task_id={approved.task_id}&wait=0"
            assert await region.get(path) == (200, {"status": "pending"})
            status, problem = await region.report()
            assert (status, problem["code"]) == (503, "occupied")
            assert "fetches still what SN-1 is installed from" in problem["detail"]
            begun = asyncio.create_task(region.plan_of(approved, wait_s=20))
            assert (await begun)["image"]["name"] == "debian-12"


async def test_an_uploaded_image_is_offered_by_the_region_and_a_task_before_that_says_how_far_it_is(
    tmp_path: Path,
) -> None:
    token, port = tmp_path / "token", free_port()
    async with ThrottledProxy(port, 1_200) as proxy:

        def made(_: object) -> ImageFetching:
            return copying(proxy.endpoint, token, tmp_path / "images")

        async with (
            regions.running(tmp_path, images=False, fetching=made) as region,
            control_planes.running(
                region.store,
                port=port,
                config=ControlConfig(images_dir=tmp_path / "source"),
            ) as control,
        ):
            token.write_text(await control.as_user([Role.VIEWER]))
            headers = {"Authorization": f"Bearer {control.token}"}
            async with httpx.AsyncClient(base_url=control.url, headers=headers) as api:
                begun = (await api.post(UPLOADS, json=new_upload())).json()
                piece = {"Upload-Offset": "0", "Content-Type": "application/octet-stream"}
                path = f"{UPLOADS}/{begun['upload_id']}"
                assert (await api.patch(path, content=CONTENT, headers=piece)).status_code == 200

                async def fetches() -> bool:
                    shown = (await api.get("/api/v1/regions/dc1")).json()["fetching"]
                    return bool(shown and shown["current"] == "debian-13")

                await until(fetches, "the region to say that it fetches")
                spec = {"idc": "dc1", "sn": "SN-1", "mac": make_spec().mac, "hostname": "web-1"}
                task = {**spec, "os_type": "debian", "os_version": "13"}
                refused = await api.post("/api/v1/tasks", json=task)
                assert refused.status_code == 422
                assert "it fetches the image debian-13" in refused.text

                async def offered() -> bool:
                    shown = (await api.get("/api/v1/regions/dc1")).json()
                    return [each["os_version"] for each in shown["offered"]] == ["13"]

                await until(offered, "the region to offer it")
                assert (await api.post("/api/v1/tasks", json=task)).status_code == 201
                status, health = await region.get("/health")
                assert (status, health["fetching"]["arriving"]) == (200, [])
                _, metrics = await region.text("/metrics")
                assert "lpmos_region_images_waiting 0.0" in metrics
                total = f"lpmos_region_images_fetched_bytes_total {float(len(CONTENT))}"
                assert total in metrics
