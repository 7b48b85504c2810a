"""`lpmos control-plane` and `lpmos region` as processes of their own, meeting in a real etcd."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import aiohttp
import pytest

from lpmos.app.admin import signer_from
from lpmos.lab.api_client import ApiClient
from lpmos.lab.errors import ApiRefused
from lpmos.lab.processes import HostProcesses
from lpmos.lab.simulated_images import make_simulated_images
from lpmos.lab.simulated_server import SimulatedServer
from lpmos.model.lifecycle import Status
from lpmos.model.newtask import NewTask
from tests.support.etcd import EtcdServer, free_port

TIMEOUT_S = 60.0
POLL_S = 0.1
LPMOS = Path(sys.executable).with_name("lpmos")
SN, MAC = "SN-1", "52:54:00:00:00:01"


class Parts(NamedTuple):
    etcd: EtcdServer
    processes: HostProcesses
    api: ApiClient
    api_url: str
    region_url: str
    directory: Path


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not await condition():  # noqa: ASYNC110 - it asks other processes
            await asyncio.sleep(POLL_S)


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    make_simulated_images(tmp_path / "images", 2_000_000)
    api_port, region_port = free_port(), free_port()
    api_url = f"http://127.0.0.1:{api_port}"
    async with EtcdServer() as etcd, HostProcesses() as processes:
        store = ("--etcd-endpoints", etcd.endpoint)
        await processes.spawn(
            [str(LPMOS), "control-plane", *store, "--listen-addr", f"127.0.0.1:{api_port}",
             "--state-dir", str(tmp_path / "control")],
            log=tmp_path / "control.log",
        )  # fmt: skip
        await processes.spawn(
            [str(LPMOS), "region", "--idc", "dc1", *store, "--region-addr", "127.0.0.1",
             "--api-port", str(region_port), "--dhcp-mode", "off",
             "--images-dir", str(tmp_path / "images"), "--state-dir", str(tmp_path / "region")],
            log=tmp_path / "region.log",
        )  # fmt: skip
        async with ApiClient(api_url) as api:
            await until(lambda: _signed_in(api, tmp_path / "control/admin.password"))
            parts = Parts(
                etcd, processes, api, api_url, f"http://127.0.0.1:{region_port}", tmp_path
            )
            await until(lambda: _online(parts))
            yield parts


async def _signed_in(api: ApiClient, password_file: Path) -> bool:
    """Sign in as the first administrator, once there is one."""
    try:
        await api.sign_in("admin", _written(password_file))
    except FileNotFoundError:
        return False
    except ApiRefused as error:
        assert error.status in (0, 401, 503)
        return False
    return True


def _written(file: Path) -> str:
    return file.read_text().strip()


async def _online(parts: Parts) -> bool:
    try:
        return any(region.online and region.offered for region in await parts.api.regions())
    except ApiRefused as error:
        assert error.status in (0, 503)
        return False


async def _is(parts: Parts, task_id: str, status: Status) -> bool:
    return (await parts.api.task(task_id)).status is status


def server(parts: Parts) -> SimulatedServer:
    return SimulatedServer(
        SN, MAC, starter=parts.processes, region_url=parts.region_url, directory=parts.directory
    )


NEW = NewTask(idc="dc1", sn=SN, mac=MAC, os_type="debian", os_version="12")


async def test_parts_on_etcd_install_a_machine_from_task_to_its_own_disk(parts: Parts) -> None:
    task_id = (await parts.api.create_task(NEW)).task_id
    machine = server(parts)
    await machine.power_on()
    await until(lambda: _is(parts, task_id, Status.PENDING_APPROVAL))
    await parts.api.approve(task_id, "fine")
    await machine.wait_up("sn-1", TIMEOUT_S)
    assert [change.status for change in (await parts.api.task(task_id)).status_history] == [
        Status.PENDING, Status.READY, Status.BOOTING, Status.PENDING_APPROVAL, Status.APPROVED,
        Status.INSTALLING, Status.COMPLETED,
    ]  # fmt: skip


async def test_parts_on_etcd_a_store_killed_in_the_middle_is_waited_for(parts: Parts) -> None:
    task_id = (await parts.api.create_task(NEW)).task_id
    machine = server(parts)
    await machine.power_on()
    await until(lambda: _is(parts, task_id, Status.PENDING_APPROVAL))
    await parts.etcd.kill()
    async with aiohttp.ClientSession(
        parts.api_url, headers={"Authorization": f"Bearer {_token(parts)}"}
    ) as session:
        async with session.put(
            f"/api/v1/tasks/{task_id}/approve", json={"approved": True}
        ) as answer:
            assert answer.status == 503 and int(answer.headers["Retry-After"]) > 0
            assert (await answer.json())["code"] in ("store-unavailable", "store-ambiguous")
        async with session.get(f"/api/v1/tasks/{task_id}") as answer:
            assert answer.status == 200  # reads come from memory
    machine.check()
    await parts.etcd.start()
    await until(lambda: _is(parts, task_id, Status.PENDING_APPROVAL))
    await until(lambda: _approved(parts, task_id))
    await machine.wait_up("sn-1", TIMEOUT_S)
    await until(lambda: _is(parts, task_id, Status.COMPLETED))


async def _approved(parts: Parts, task_id: str) -> bool:
    """Approve; while the control plane has not found the store again it says so."""
    try:
        await parts.api.approve(task_id, "fine")
    except ApiRefused as error:
        assert error.status in (0, 503)
        return False
    return True


def _token(parts: Parts) -> str:
    """A token signed with the key: it is good though the store is away."""
    signer = signer_from(parts.directory / "control/auth.key")
    return signer.issue("ops", "admin", timedelta(hours=1))
