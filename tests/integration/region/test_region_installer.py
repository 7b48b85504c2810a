"""The hand-over to a distribution's installer and all that it says, over real HTTP and a store."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from lpmos.agent.console import Console
from lpmos.agent.options import Options
from lpmos.agent.pace import Pace
from lpmos.agent.run import run_agent
from lpmos.agent.session import EXIT_INSTALLED
from lpmos.control.views.outlook import waits_for
from lpmos.core.fleet import TaskChange
from lpmos.images.installers import InstallerFields, Installers
from lpmos.model.diskplan import GIB, StorageLayout
from lpmos.model.evidence import Evidence
from lpmos.model.explain import explain
from lpmos.model.installer import InstallerManifest
from lpmos.model.lifecycle import Status
from lpmos.model.situation import Situation
from lpmos.model.task import Task
from lpmos.region.boot import Answer, Boot, Caller
from lpmos.region.installer_api import LOG_CALLS_A_MINUTE, LOG_LINES
from lpmos.store import keys, records
from tests.support.builders import MAC, actor
from tests.support.region import AGENT_ID, RunningRegion, running, until

OS = {"os_type": "debian", "os_version": "13"}
BOOT = f"/boot/ipxe?mac={MAC}&sn=SN-1"
KERNEL, INITRD = b"kernel" * 1000, b"initrd" * 30_000
SEED = re.compile(r"url=http://[^/\s]+(/installer/[^/\s]+)/answer")


@pytest.fixture
async def region(tmp_path: Path) -> AsyncIterator[RunningRegion]:
    add_installer(tmp_path)
    async with running(tmp_path) as region:
        yield region


def add_installer(directory: Path) -> InstallerManifest:
    for name, content in (("linux", KERNEL), ("initrd.gz", INITRD)):
        (directory / name).write_bytes(content)
    fields = InstallerFields(
        name="debian-13",
        family="debian",
        repository="http://127.0.0.1:9/debian",
        required_bytes=GIB,
        **OS,
    )
    return Installers(directory / "images").add(
        fields, directory / "linux", directory / "initrd.gz"
    )


async def approved(region: RunningRegion, **fields: Any) -> Task:
    task = await region.create_task(**{**OS, **fields})
    assert (await region.report())[0] == 200
    await region.task_in(task.task_id, "pending_approval")
    await region.tasks.approve(task.task_id, by=actor("admin"), notes=None)
    return await region.task_in(task.task_id, "approved")


def seed_of(text: str) -> str:
    found = SEED.search(text)
    assert found is not None, text
    return found[1]


async def claimed(region: RunningRegion) -> tuple[Task, str]:
    """A task that is being installed, and where its installer's answers are."""
    task = await approved(region)
    seed = seed_of((await region.plan_of(task))["installer"]["kernel_arguments"])
    assert (await region.claim(task))[0] == 200
    return await region.task_in(task.task_id, "installing"), seed


async def hand_over(region: RunningRegion, task: Task, by: str) -> tuple[int, dict[str, Any]]:
    word = {"mac_address": MAC, "task_id": task.task_id, "agent_id": AGENT_ID}
    said = {"status": "handing_over", "handover": by, "progress": 2, "message": "done"}
    return await region.post("/api/v1/agent/status", {**word, **said})


async def test_simulated_machine_goes_through_its_installer_to_a_completed_task(
    region: RunningRegion,
) -> None:
    mac = "52:54:00:00:00:77"
    task = await region.create_task(**OS, mac=mac, sn="SIM-7")
    options = Options(regional_url=region.url, mac=mac, sn="SIM-7", simulate=True)
    running_agent = asyncio.create_task(
        asyncio.to_thread(run_agent, options, Console(), None, Pace(scale=0.05))
    )
    await region.task_in(task.task_id, "pending_approval")
    await region.tasks.approve(task.task_id, by=actor("admin"), notes=None)
    assert await running_agent == EXIT_INSTALLED
    done = await region.stored_task(task)
    assert done.status is Status.COMPLETED
    assert done.handover is not None and done.handover.by == "kexec"
    steps = [each.step for each in done.progress]
    stages = ["partitioning", "downloading", "installing", "configuring", "restarting"]
    assert steps == ["handing_over", *stages]
    assert "read its answer file" in "\n".join(done.logs)


async def test_install_by_an_installer_is_not_explained_by_its_agent_that_is_gone(
    region: RunningRegion,
) -> None:
    mac = "52:54:00:00:00:77"
    task = await region.create_task(**OS, mac=mac, sn="SIM-7")
    versions: list[Task] = []

    def keep(change: TaskChange) -> None:
        known = region.fleet.task(task.task_id)
        if known and known.handover and not known.starts_its_system and not known.finished:
            versions.append(known)

    region.fleet.subscribe(keep)
    options = Options(regional_url=region.url, mac=mac, sn="SIM-7", simulate=True)
    running_agent = asyncio.create_task(
        asyncio.to_thread(run_agent, options, Console(), None, Pace(scale=0.05))
    )
    await region.task_in(task.task_id, "pending_approval")
    await region.tasks.approve(task.task_id, by=actor("admin"), notes=None)
    assert await running_agent == EXIT_INSTALLED
    assert {each.progress[-1].step for each in versions} >= {"partitioning", "configuring"}
    for each in versions:
        later = each.updated_at + timedelta(minutes=4)
        now = Situation(task=each, since=each.since, now=later, seen=Evidence(mac=mac), agent=False)
        assert explain(now) == ()
        found = waits_for(each)
        assert found is not None and found.what.startswith("The installer of debian 13 is at work")


async def test_disks_that_the_installer_cannot_make_fail_the_task_before_it_is_approved(
    region: RunningRegion,
) -> None:
    task = await region.create_task(**OS)
    layout = StorageLayout(erase="discard")  # as from a control plane that lets it through
    put = records.encode(msgspec.structs.replace(task, disk_layout=layout))
    await region.store.put(keys.task(task.idc, task.sn), put)
    await until(
        lambda: getattr(region.fleet.task(task.task_id), "disk_layout", None) == layout,
        "its layout",
    )
    status, body = await region.report()
    assert (status, body["next_action"]) == (200, "stop")
    failed = await region.task_in(task.task_id, "failed")
    assert failed.error is not None and failed.approval is None
    assert "the installer debian-13 cannot make these disks: erase=discard" in failed.error.reason
    assert "by image" in str(failed.error.hint)


async def test_plan_of_an_installer_names_its_files_its_line_and_no_image(
    region: RunningRegion,
) -> None:
    task = await approved(region)
    plan = await region.plan_of(task)
    assert plan["image"] is None
    installer = plan["installer"]
    for name, content in (("kernel", KERNEL), ("initrd", INITRD)):
        async with region.http.get(region.url + installer[name]["url"]) as answer:
            assert await answer.read() == content
    assert "auto=true" in installer["kernel_arguments"]
    assert plan["disk"]["device"] == (await region.stored_task(task)).plan.device  # type: ignore[union-attr]


async def test_regions_kernel_arguments_end_the_line_of_agent_and_installer(tmp_path: Path) -> None:
    add_installer(tmp_path)
    async with running(tmp_path, kernel_arguments="console=ttyS1,115200n8 nomodeset") as region:
        assert " console=ttyS1,115200n8 nomodeset || goto again\n" in (await region.text(BOOT))[1]
        task = await approved(region, kernel_arguments="hugepages=16")
        installer = (await region.plan_of(task))["installer"]
        assert installer["kernel_arguments"].endswith(
            " console=ttyS0,115200n8 console=ttyS1,115200n8 nomodeset"
        )
        seed = seed_of(installer["kernel_arguments"])
        assert (await region.claim(task))[0] == 200
        await region.task_in(task.task_id, "installing")
        answer = (await region.text(f"{seed}/answer"))[1]
        assert "hugepages=16" in answer and "update-grub" in answer


async def test_token_of_an_installer_is_worth_nothing_before_the_claim_and_after_the_end(
    region: RunningRegion,
) -> None:
    task = await approved(region)
    seed = seed_of((await region.plan_of(task))["installer"]["kernel_arguments"])
    status, body = await region.get(f"{seed}/progress?stage=partitioning&percent=1")
    assert (status, body["code"]) == (409, "install-over")
    assert (await region.claim(task))[0] == 200
    await region.task_in(task.task_id, "installing")
    assert (await region.get(f"{seed}/progress?stage=partitioning&percent=3"))[0] == 200
    assert (await region.get(f"{seed}/failed?message=no%20disk"))[0] == 200
    failed = await region.task_in(task.task_id, "failed")
    assert failed.error is not None
    assert (failed.error.reason, failed.error.code) == (
        "the installer failed: no disk",
        "installer-failed",
    )
    assert (await region.text(f"{seed}/answer"))[0] == 409


async def test_token_that_was_changed_or_is_shown_from_elsewhere_is_refused(
    region: RunningRegion,
) -> None:
    task, seed = await claimed(region)
    assert (await region.get(f"{seed[:-2]}xx/progress"))[0] == 401
    with capture_logs() as logs:
        assert (await region.get(f"{seed}/progress?stage=partitioning&percent=7"))[0] == 200
    token = seed.rpartition("/")[2]
    assert token not in repr(logs)
    assert token not in repr(await region.stored_task(task))


async def test_progress_of_an_installer_never_goes_back_and_is_in_the_log(
    region: RunningRegion,
) -> None:
    task, seed = await claimed(region)
    for word in ("stage=downloading&percent=40&message=base", "stage=installing&percent=10"):
        assert (await region.get(f"{seed}/progress?{word}"))[0] == 200
    now = await region.stored_task(task)
    assert [(each.step, each.percent) for each in now.progress] == [
        ("downloading", 40.0),
        ("installing", 40.0),
    ]
    status, log = await region.text(f"/api/v1/tasks/{task.task_id}/log")
    assert status == 200 and "[INFO] [installer] downloading 40 %: base" in log


@pytest.mark.parametrize(
    "query",
    ["stage=sleeping&percent=1", "stage=installing&percent=101", "stage=installing&percent=x",
     "stage=handing_over&percent=1"],
)  # fmt: skip
async def test_progress_that_makes_no_sense_is_refused_and_changes_nothing(
    region: RunningRegion, query: str
) -> None:
    task, seed = await claimed(region)
    before = await region.stored_task(task)
    assert (await region.get(f"{seed}/progress?{query}"))[0] == 422
    assert await region.stored_task(task) == before


async def test_restart_gives_one_boot_script_of_the_installer_and_then_the_agents(
    region: RunningRegion,
) -> None:
    task, _ = await claimed(region)
    assert (await hand_over(region, task, "restart"))[0] == 200
    first = (await region.text(BOOT))[1]
    assert "/boot/installers/" in first and "auto=true" in first
    noted = await region.stored_task(task)
    assert noted.handover is not None and noted.handover.script_at is not None
    await until(lambda: not waits(region, task), "the region to know that the script was given")
    second = (await region.text(BOOT))[1]
    assert "lpmos_nonce=" in second and "/boot/installers/" not in second


def waits(region: RunningRegion, task: Task) -> bool:
    known = region.fleet.task(task.task_id)
    return bool(known and known.handover and known.handover.script_waits)


async def test_restart_that_comes_over_ipv6_waits_and_loses_no_script(
    region: RunningRegion, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Boot.answer

    async def over_ipv6(boot: Boot, query: Mapping[str, str], caller: Caller) -> Answer:
        return await asked(boot, query, caller._replace(address="fd78::1abc"))

    task, _ = await claimed(region)
    assert (await hand_over(region, task, "restart"))[0] == 200
    with monkeypatch.context() as patch:
        patch.setattr(Boot, "answer", over_ipv6)
        status, text = await region.text(BOOT)
    assert status == 200 and "works over IPv4" in text and "/boot/installers/" not in text
    assert "/boot/installers/" in (await region.text(BOOT))[1]


async def test_restart_asked_for_many_times_at_once_gives_one_script_of_the_installer(
    region: RunningRegion,
) -> None:
    task, _ = await claimed(region)
    assert (await hand_over(region, task, "restart"))[0] == 200
    texts = await asyncio.gather(*(region.text(BOOT) for _ in range(8)))
    assert sum("/boot/installers/" in text for _, text in texts) == 1


async def test_machine_that_netboots_in_the_middle_of_its_installer_fails_its_task(
    region: RunningRegion,
) -> None:
    task, seed = await claimed(region)
    assert (await hand_over(region, task, "kexec"))[0] == 200
    assert (await region.get(f"{seed}/progress?stage=installing&percent=70"))[0] == 200
    assert "/boot/installers/" not in (await region.text(BOOT))[1]
    await region.report(agent_id="c" * 32)
    failed = await region.task_in(task.task_id, "failed")
    assert failed.error is not None and failed.error.code == "machine-restarted"


async def test_machine_boots_its_disk_once_its_installer_is_done(region: RunningRegion) -> None:
    task, seed = await claimed(region)
    assert (await hand_over(region, task, "kexec"))[0] == 200
    script = (await region.text(f"{seed}/first-boot"))[1]
    assert script.startswith("#!/bin/sh") and task.task_id in script
    assert (await region.get(f"{seed}/installed"))[0] == 200
    assert (await region.get(f"{seed}/installed"))[0] == 200
    await until(
        lambda: bool((t := region.fleet.task(task.task_id)) and t.starts_its_system), "the word"
    )
    assert "exit 1" in (await region.text(BOOT))[1]


async def test_lines_of_an_installers_own_log_go_into_the_tasks_log(region: RunningRegion) -> None:
    task, seed = await claimed(region)
    lines = b"anna: retrieving\n\x1b[31mpartman: done\n"
    async with region.http.post(f"{region.url}{seed}/log", data=lines) as answer:
        assert answer.status == 200
    log = (await region.text(f"/api/v1/tasks/{task.task_id}/log"))[1]
    assert "[INFO] [installer] anna: retrieving" in log and "partman: done" in log
    assert "\x1b" not in log


async def hand_in(region: RunningRegion, seed: str, query: str, text: str) -> int:
    async with region.http.post(f"{region.url}{seed}/log?{query}", data=text.encode()) as answer:
        return answer.status


async def test_lines_that_are_handed_in_twice_are_in_the_task_and_in_its_file_once(
    region: RunningRegion,
) -> None:
    task, seed = await claimed(region)
    token = seed.rpartition("/")[2]
    first = f"Nov 21 10:00:01 kernel: Command line: url=http://r{seed}/answer\none\n"
    for _ in range(2):
        assert await hand_in(region, seed, "file=syslog&first=1", first) == 200
    assert await hand_in(region, seed, "file=syslog&first=2", "one\ntwo\n") == 200
    assert await hand_in(region, seed, "file=y2log&first=4", "[WARN] three") == 200
    wanted = [
        "[INFO] [kernel] syslog: Nov 21 10:00:01 kernel: Command line: url=http://r/installer/TOKEN/answer",
        "[INFO] [installer] syslog: one",
        "[INFO] [installer] syslog: two",
        "[WARN] [installer] y2log: three",
    ]
    stored = await region.stored_task(task)
    assert [line.split(" ", 1)[1] for line in stored.logs][-4:] == wanted
    assert stored.log_marks == {"installer": 4}
    log = (await region.text(f"/api/v1/tasks/{task.task_id}/log"))[1]
    assert [line.split(" ", 1)[1] for line in log.splitlines()][-4:] == wanted
    assert token not in log


async def test_log_shows_no_token_of_another_and_no_part_of_one(region: RunningRegion) -> None:
    task, seed = await claimed(region)
    token = seed.rpartition("/")[2]
    others, none = f"GET /installer/{'0' * 16}.abc.def/log", "/var/log/installer/syslog"
    text = f"url=http://r{seed[:-40]}\n{others}\n{none}\n"
    assert await hand_in(region, seed, "first=1", text) == 200
    log = (await region.text(f"/api/v1/tasks/{task.task_id}/log"))[1]
    said = [line.split(" ", 3)[3] for line in log.splitlines()][-3:]
    assert said == ["url=http://r/installer/TOKEN", "GET /installer/TOKEN/log", none]
    assert token[:24] not in log


async def test_log_of_too_many_lines_is_refused_and_says_how_many_it_may_have(
    region: RunningRegion,
) -> None:
    _, seed = await claimed(region)
    assert await hand_in(region, seed, "first=1", "\n" * LOG_LINES) == 200
    async with region.http.post(f"{region.url}{seed}/log", data=b"\n" * (LOG_LINES + 1)) as answer:
        assert (answer.status, str(LOG_LINES) in await answer.text()) == (413, True)


async def test_lines_of_a_log_are_no_progress_and_move_no_deadline(region: RunningRegion) -> None:
    task, seed = await claimed(region)
    assert (await region.get(f"{seed}/progress?stage=downloading&percent=40&message=x"))[0] == 200
    before = await region.stored_task(task)
    assert await hand_in(region, seed, "first=1", "a line\n") == 200
    after = await region.stored_task(task)
    assert (after.progress, after.updated_at) == (before.progress, before.updated_at)
    assert "a line" in after.logs[-1]


@pytest.mark.parametrize("query", ["first=0", "first=x", "file=..%2Fx"])
async def test_log_with_words_that_make_no_sense_is_refused(
    region: RunningRegion, query: str
) -> None:
    _, seed = await claimed(region)
    assert await hand_in(region, seed, query, "a line\n") == 422


async def test_log_that_comes_too_often_is_refused_for_now(region: RunningRegion) -> None:
    _, seed = await claimed(region)
    calls = [hand_in(region, seed, "", "") for _ in range(LOG_CALLS_A_MINUTE + 1)]
    assert 429 in await asyncio.gather(*calls)
