"""Windows at a region: one boot script for wimboot, and every call of Windows PE and its system."""

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from lxml import etree

from lpmos.core.clock import utc_now
from lpmos.core.secrets.box import SecretBox
from lpmos.core.tasks import Tasks
from lpmos.images.installers import InstallerFields, Installers
from lpmos.install import winpe
from lpmos.model.diskplan import GIB
from lpmos.model.inventory import Disk
from lpmos.model.lifecycle import Status
from lpmos.model.task import Task
from lpmos.region import grub
from lpmos.region.boot import Answer, Boot, Caller
from lpmos.region.dhcp_networks import DhcpNetwork, DhcpSettings
from tests.support.builders import MAC, actor, make_inventory, make_spec
from tests.support.region import AGENT_ID, RunningRegion, running, until
from tests.support.secret_keys import KeptKeys
from tests.support.windows import supplied

BOOT = f"/boot/ipxe?mac={MAC}&sn=SN-1"
PASSWORD = "Correct-Horse-1"
SETUP = {
    "users": [{"name": "administrator"}],
    "secrets": {"PASSWORD_ADMINISTRATOR": PASSWORD, "TOKEN": "s3cret & more"},
    "commands": ["echo %TOKEN%\nexit /b 0"],
}
OS: dict[str, Any] = {"os_type": "windows", "os_version": "server-2022"}
SIGNED = DhcpNetwork(interface="lo", mode="proxy", subnet="127.0.0.0/8", secure_boot=True)
LOADED = re.compile(r"^(?:kernel|initrd) --name (\S+) (\S+)", re.MULTILINE)


@pytest.fixture
async def region(tmp_path: Path) -> AsyncIterator[RunningRegion]:
    fields = InstallerFields(name="windows", family="windows", repository="/", **OS)
    Installers(tmp_path / "images").add(fields, *supplied(tmp_path))
    keys = KeptKeys()
    async with running(tmp_path, read_ring=keys.read) as region:
        region.tasks = Tasks(region.store, region.fleet, utc_now, secrets=SecretBox(keys.ring))
        yield region


async def reported(region: RunningRegion, boot_mode: str = "uefi", **hardware: Any) -> Task:
    spec = make_spec(**OS, hostname="web-1", setup=SETUP)
    task = await region.tasks.create(spec, by=actor("admin"))
    await region.task_in(task.task_id, "ready")
    disks = (Disk(device="/dev/vda", size_bytes=64 * GIB, kind="ssd", serial="DISK01"),)
    said = make_inventory(disks=disks, boot_mode=boot_mode, **hardware)
    status, body = await region.report(hardware=json.loads(msgspec.json.encode(said)))
    assert status == 200, body
    return task


async def approved(region: RunningRegion, **hardware: Any) -> Task:
    task = await reported(region, **hardware)
    await region.task_in(task.task_id, "pending_approval")
    await region.tasks.approve(task.task_id, by=actor("admin"), notes=None)
    return await region.task_in(task.task_id, "approved")


async def handed_over(region: RunningRegion, task: Task) -> None:
    assert (await region.claim(task))[0] == 200
    await region.task_in(task.task_id, "installing")
    word = {"mac_address": MAC, "task_id": task.task_id, "agent_id": AGENT_ID}
    said = {"status": "handing_over", "handover": "restart", "progress": 2, "message": "done"}
    assert (await region.post("/api/v1/agent/status", {**word, **said}))[0] == 200


async def loaded(region: RunningRegion) -> dict[str, bytes]:
    """What iPXE loads by the machine's boot script, by name."""
    found = {}
    for name, url in LOADED.findall((await region.text(BOOT))[1]):
        async with region.http.get(url) as answer:
            assert answer.status == 200, (name, await answer.text())
            found[name] = await answer.read()
    return found


def seed_of(files: dict[str, bytes]) -> str:
    match = re.search(rb'"lpmos_url=http://[^/]+(/installer/[^"]+)"', files[winpe.SCRIPT])
    assert match is not None
    return match[1].decode()


async def test_plan_marks_the_disk_and_never_asks_for_kexec(region: RunningRegion) -> None:
    task = await approved(region)
    assert task.plan is not None and task.plan.whole_image and task.plan.partitions == ()
    installer = (await region.plan_of(task))["installer"]
    assert task.intent is not None
    assert installer["disk_mark"] == task.intent.intent_id
    assert (installer["handover"], installer["kernel_arguments"]) == ("restart", "")


async def test_windows_goes_from_one_boot_script_to_a_system_that_says_it_came_up(
    region: RunningRegion, tmp_path: Path
) -> None:
    task = await approved(region)
    await region.plan_of(task)
    await handed_over(region, task)
    files = await loaded(region)
    assert list(files) == [
        "wimboot", "BCD", "boot.sdi", "curl.exe", "winpeshl.ini", "lpmos.cmd", "boot.wim",
    ]  # fmt: skip
    for name in ("wimboot", "BCD", "boot.sdi", "curl.exe", "boot.wim"):
        assert files[name] == (tmp_path / name).read_bytes()
    await until(lambda: not waits(region, task), "the region to know that the script was given")
    assert "lpmos_nonce=" in (await region.text(BOOT))[1]

    seed, script = seed_of(files), files["lpmos.cmd"].decode()
    assert f'set "lpmos_mark={task.intent.intent_id}"' in script  # type: ignore[union-attr]
    answer = (await region.text(f"{seed}/answer"))[1]
    assert etree.fromstring(answer.encode()) is not None and PASSWORD in answer
    assert (await region.get(f"{seed}/progress?stage=downloading&percent=30&message=1"))[0] == 200
    image = re.search(r'"lpmos_install=([^"]+)"', script)
    assert image is not None
    async with region.http.get(image[1], headers={"Range": "bytes=100-"}) as part:
        assert part.status == 206
        assert await part.read() == (tmp_path / "install.wim").read_bytes()[100:]
    digest = hashlib.sha256((tmp_path / "install.wim").read_bytes()).hexdigest()
    assert f'set "lpmos_digest={digest}"' in script

    fetched = dict(re.findall(r'"%lpmos_url%/(windows/([^"]+))"', script))
    system = {name: (await region.text(f"{seed}/{path}"))[1] for path, name in fetched.items()}
    assert system["step-01.cmd"] == "echo %TOKEN%\r\nexit /b 0\r\n"
    assert 'set "TOKEN=s3cret & more"' in system["values.cmd"]
    assert PASSWORD not in "".join(system.values()) + script
    assert (await region.get(f"{seed}/installed"))[0] == 200
    started = await region.stored_task(task)
    assert started.handed_over_at is not None and started.status is Status.INSTALLING
    said = re.search(r"echo (\{.*?\})\r", system["first-boot.cmd"])
    assert said is not None
    assert (await region.post("/api/v1/installed", json.loads(said[1])))[0] == 200
    assert (await region.stored_task(task)).status is Status.COMPLETED


def waits(region: RunningRegion, task: Task) -> bool:
    known = region.fleet.task(task.task_id)
    return bool(known and known.handover and known.handover.script_waits)


async def test_log_of_windows_goes_into_the_tasks_without_its_secrets(
    region: RunningRegion,
) -> None:
    task = await approved(region)
    await region.plan_of(task)
    await handed_over(region, task)
    seed = seed_of(await loaded(region))
    text = f"net user administrator {PASSWORD}\r\ns3cret & more\r\nThe disk is \xff offline\r\n"
    told = {
        name: re.search(r'(/log\?[^"]+)"', body) for name, body in await scripts_of(region, seed)
    }
    assert told["lpmos.cmd"] and told["first-boot.cmd"]
    assert "file=step.log&first=1" in told["first-boot.cmd"][1]
    at = f"{region.url}{seed}{told['lpmos.cmd'][1]}"
    for _ in range(2):  # curl asks again where an answer is lost
        async with region.http.post(at, data=text.encode("latin-1")) as answer:
            assert answer.status == 200
    assert (await region.get(f"{seed}/failed?message=diskpart"))[0] == 200
    await region.task_in(task.task_id, "failed")
    log = (await region.text(f"/api/v1/tasks/{task.task_id}/log"))[1]
    assert "net user administrator ********" in log and "offline" in log
    assert PASSWORD not in log and "s3cret" not in log
    stored = "\n".join((await region.stored_task(task)).logs)
    assert stored.count("out.txt: net user administrator ********") == 1
    assert stored.count("out.txt: ********") == 1


async def scripts_of(region: RunningRegion, seed: str) -> list[tuple[str, str]]:
    """The batch files of Windows PE and of the first start, as they are served."""
    names = (winpe.SCRIPT, winpe.FIRST)
    return [(name, (await region.text(f"{seed}/windows/{name}"))[1]) for name in names]


async def test_script_is_given_once_however_often_it_is_asked_for(region: RunningRegion) -> None:
    task = await approved(region)
    await region.plan_of(task)
    await handed_over(region, task)
    texts = await asyncio.gather(*(region.text(BOOT) for _ in range(8)))
    assert sum("wimboot" in text for _, text in texts) == 1


async def test_file_of_windows_that_is_not_there_is_not_found(region: RunningRegion) -> None:
    task = await approved(region)
    await region.plan_of(task)
    await handed_over(region, task)
    seed = seed_of(await loaded(region))
    assert (await region.text(f"{seed}/windows/step-09.cmd"))[0] == 404


async def test_machine_with_secure_boot_is_refused_at_its_report(region: RunningRegion) -> None:
    task = await reported(region, secure_boot=True)
    failed = await region.task_in(task.task_id, "failed")
    assert failed.error is not None and failed.intent is None
    assert "cannot install this machine" in failed.error.reason
    assert "Secure Boot" in failed.error.reason


async def test_uefi_machine_of_a_network_for_secure_boot_is_refused_at_its_report(
    region: RunningRegion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(region.region, "_dhcp", DhcpSettings(networks=(SIGNED,)))
    task = await reported(region, secure_boot=False)
    failed = await region.task_in(task.task_id, "failed")
    assert failed.error is not None and failed.intent is None
    assert "127.0.0.0/8 on lo has secure_boot = true" in failed.error.reason


async def test_bios_machine_of_a_network_for_secure_boot_gets_its_plan(
    region: RunningRegion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(region.region, "_dhcp", DhcpSettings(networks=(SIGNED,)))
    await region.plan_of(await approved(region, boot_mode="bios"))


async def test_network_that_became_one_for_secure_boot_after_the_approval_gives_no_plan(
    region: RunningRegion, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = await approved(region)
    monkeypatch.setattr(region.region, "_dhcp", DhcpSettings(networks=(SIGNED,)))
    _, body = await region.get(f"/api/v1/agent/approval/{MAC}?task_id={task.task_id}&wait=0")
    assert body.get("plan") is None and "secure_boot = true" in body["reason"]
    await region.task_in(task.task_id, "failed")


async def test_grub_that_asks_for_windows_fails_the_task_at_once(
    region: RunningRegion, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Boot.answer

    async def by_grub(boot: Boot, query: Mapping[str, str], caller: Caller) -> Answer:
        return await asked(boot, query, caller._replace(words=grub))

    task = await approved(region)
    await region.plan_of(task)
    await handed_over(region, task)
    monkeypatch.setattr(Boot, "answer", by_grub)
    status, text = await region.text(BOOT)
    assert status == 409 and "gets GRUB" in text and "wimboot " not in text
    failed = await region.task_in(task.task_id, "failed")
    assert failed.error is not None and failed.error.code == "windows-needs-ipxe"
