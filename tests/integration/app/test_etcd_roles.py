"""The roles of etcd in docs/how-to/production.md are enough for an install, and not more."""

import json
import re
import shlex
import sys
from pathlib import Path

import httpx
import pytest

from lpmos.lab.api_client import ApiClient
from lpmos.lab.processes import HostProcesses
from lpmos.lab.simulated_images import make_simulated_images
from lpmos.lab.simulated_server import SimulatedServer
from lpmos.model.lifecycle import Status
from lpmos.model.newtask import NewTask
from lpmos.store import keys
from lpmos.store.api import PermissionDenied, Put
from lpmos.store.etcd import EtcdStore
from tests.support.etcd import EtcdServer, free_port
from tests.support.polling import until

TIMEOUT_S = 60.0
LPMOS = Path(sys.executable).with_name("lpmos")
PAGE = Path(__file__).parents[3] / "docs/how-to/production.md"
ROOT = "root:secret"
SN, MAC = "SN-1", "52:54:00:00:00:01"


def documented() -> list[list[str]]:
    """The etcdctl commands of the page, its loops unrolled."""
    text = PAGE.read_text()
    block = next(each for each in re.findall(r"```sh\n(.*?)```", text, re.S) if "role add" in each)

    def unrolled(loop: re.Match[str]) -> str:
        return "\n".join(loop[2].replace('"$prefix"', prefix) for prefix in loop[1].split())

    block = re.sub(r"for prefix in (.*?); do\n(.*?)\ndone", unrolled, block, flags=re.S)
    return [shlex.split(line)[1:] for line in block.splitlines()]


async def _secure(etcd: EtcdServer) -> None:
    """The documented roles, a user `control` and a user `dc1`."""
    for command in documented():
        await etcd.etcdctl(*command)
    for user, role in (("control", "lpmos-control"), ("dc1", "lpmos-dc1")):
        await etcd.etcdctl("user", "add", f"{user}:{user}-password")
        await etcd.etcdctl("user", "grant-role", user, role)
    await etcd.enable_auth("secret")


def _started(etcd: EtcdServer, user: str, directory: Path, *more: str) -> list[str]:
    """The flags of a part that is this user."""
    password = directory / f"{user}.password"
    password.write_text(f"{user}-password")
    return ["--etcd-endpoints", etcd.endpoint, "--etcd-user", user,
            "--etcd-password-file", str(password), "--state-dir", str(directory / user),
            "--log-format", "json", *more]  # fmt: skip


async def _token(url: str, state: Path) -> str:
    """The first administrator's access token, once it can sign in."""
    password = state / "admin.password"
    got: list[str] = []

    async def signed_in() -> bool:
        if not password.exists():
            return False
        login = {"username": "admin", "password": password.read_text().strip()}
        async with httpx.AsyncClient(base_url=url) as client:
            answer = await client.post("/api/v1/login", json=login)
        if answer.is_success:
            got.append(answer.json()["access_token"])
        return answer.is_success

    await until(signed_in, TIMEOUT_S)
    return got[0]


async def test_documented_roles_are_enough_for_an_install(tmp_path: Path) -> None:
    make_simulated_images(tmp_path / "images", 2_000_000)
    api_port, region_port = free_port(), free_port()
    url = f"http://127.0.0.1:{api_port}"
    async with EtcdServer() as etcd, HostProcesses() as processes:
        await _secure(etcd)
        control = _started(etcd, "control", tmp_path, "--listen-addr", f"127.0.0.1:{api_port}")
        region = _started(
            etcd, "dc1", tmp_path, "--idc", "dc1", "--region-addr", "127.0.0.1",
            "--api-port", str(region_port), "--dhcp-mode", "off",
            "--images-dir", str(tmp_path / "images"),
        )  # fmt: skip
        await processes.spawn([str(LPMOS), "control-plane", *control], log=tmp_path / "control.log")
        await processes.spawn([str(LPMOS), "region", *region], log=tmp_path / "region.log")
        async with ApiClient(url, await _token(url, tmp_path / "control")) as api:
            await _install(api, processes, f"http://127.0.0.1:{region_port}", tmp_path)
    for log in ("control.log", "region.log"):
        lines = [json.loads(line) for line in (tmp_path / log).read_text().splitlines()]
        assert not [line for line in lines if "permission" in json.dumps(line).lower()], log


async def test_documented_role_of_a_control_plane_is_enough_for_a_backup(tmp_path: Path) -> None:
    async with EtcdServer() as etcd, HostProcesses() as processes:
        await _secure(etcd)
        flags = _started(etcd, "control", tmp_path)
        flags = flags[: flags.index("--log-format")]
        log = tmp_path / "backup.log"
        made = await processes.spawn([str(LPMOS), "backup", "create", "-q", *flags], log=log)
        assert await made.wait() == 0, log.read_text()
        file = log.read_text().strip()
        restore = [str(LPMOS), "backup", "restore", file, "--yes", *flags]
        assert await (await processes.spawn(restore, log=log)).wait() == 0, log.read_text()


async def _install(
    api: ApiClient, processes: HostProcesses, region_url: str, directory: Path
) -> None:
    async def is_offered() -> bool:
        return any(region.online and region.offered for region in await api.regions())

    await until(is_offered, TIMEOUT_S)
    new = NewTask(idc="dc1", sn=SN, mac=MAC, os_type="debian", os_version="12")
    task_id = (await api.create_task(new)).task_id
    machine = SimulatedServer(
        SN, MAC, starter=processes, region_url=region_url, directory=directory
    )
    await machine.power_on()

    async def is_waiting() -> bool:
        return (await api.task(task_id)).status is Status.PENDING_APPROVAL

    await until(is_waiting, TIMEOUT_S)
    await api.approve(task_id, "fine")
    await machine.wait_up("sn-1", TIMEOUT_S)
    assert (await api.task(task_id)).status is Status.COMPLETED


@pytest.mark.parametrize(
    "key",
    [
        "/os/dc2/machines/SN-1/task",
        "/os/control/users/admin",
        "/os/control/bmc/dc1/SN-1",
        "/os-audit/head",
        "/os-election/control-plane/1",
        "/os/events/x",
    ],
)
async def test_region_reads_nothing_of_others(key: str) -> None:
    async with EtcdServer() as etcd:
        await _secure(etcd)
        store = await EtcdStore.connect([etcd.endpoint], user="dc1", password="dc1-password")
        try:
            assert await store.get("/os/dc1/machines/SN-1/task") is None
            with pytest.raises(PermissionDenied):
                await store.get(key)
        finally:
            await store.close()


async def test_region_may_set_a_failed_task_aside() -> None:
    async with EtcdServer() as etcd:
        await _secure(etcd)
        store = await EtcdStore.connect([etcd.endpoint], user="dc1", password="dc1-password")
        written = (
            keys.task("dc1", SN),
            keys.server("dc1", SN),
            keys.meta("dc1", SN),
            keys.dead_letter("dc1", "t"),
            keys.event("e"),
        )
        try:
            done = await store.txn([], [Put(key, b"{}") for key in written])
            assert done.succeeded
        finally:
            await store.close()
