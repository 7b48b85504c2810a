"""`lpmos task …` as a person and a program use it."""

import json
import signal
from datetime import timedelta
from pathlib import Path
from typing import Any

from lpmos.core.taskindex import TaskQuery
from lpmos.model.diskplan import GIB, RootDiskHints, plan_disk
from lpmos.model.inventory import Disk
from lpmos.model.lifecycle import Status
from lpmos.model.task import StatusChange, Task, TaskError
from tests.integration.cli.conftest import Shell
from tests.support.builders import NOW, make_inventory, make_task
from tests.support.control_plane import RunningControlPlane
from tests.support.polling import until

CREATE = ("task", "create", "--idc", "dc1", "--os", "debian", "12")
SECOND = "0b0b6f5e-0000-4000-8000-000000000002"


async def put_waiting(control_plane: RunningControlPlane, **fields: Any) -> Task:
    """A task that waits for approval."""
    hardware = make_inventory()
    plan = plan_disk(hardware, "auto", RootDiskHints(), GIB)
    whole = {"status": Status.PENDING_APPROVAL, "hardware": hardware, "plan": plan, **fields}
    task = make_task(**whole)
    await control_plane.put_task(task)
    return task


async def test_task_create_sends_every_field(shell: Shell, tmp_path: Path) -> None:
    keys = tmp_path / "keys.pub"
    keys.write_text("# mine\nssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAbcdefgh me@desk\n")
    made = await shell.run(
        *CREATE, "--mac", "5254.0000.00AA", "--sn", "S1", "--hostname", "web-1", "--tag",
        "rack=7", "--tag", "spare", "--root-disk", "serial=D1", "--root-disk", "overwrite=yes",
        "--address", "192.0.2.10/24", "--gateway", "192.0.2.1", "--dns", "192.0.2.2",
        "--ssh-key-file", str(keys), "-q",
    )  # fmt: skip
    task = (await shell.run("task", "show", made.out.strip(), "--json")).json
    assert task["mac"] == "52:54:00:00:00:aa"
    assert task["tags"] == {"rack": "7", "spare": ""}
    assert task["root_disk"]["serial"] == "D1" and task["root_disk"]["overwrite"] is True
    assert task["network_config"] == {
        "address": "192.0.2.10/24", "gateway": "192.0.2.1", "dns": ["192.0.2.2"],
    }  # fmt: skip
    assert task["ssh_keys"][0].endswith("me@desk")


async def test_task_create_names_every_wrong_field(shell: Shell) -> None:
    refused = await shell.run(*CREATE, "--mac", "x", "--hostname", "-", code=2)
    assert refused.out == ""
    assert "  mac: 'x' is not a MAC address" in refused.err
    assert "  hostname: " in refused.err


async def test_task_create_twice_with_one_key_makes_one_task(shell: Shell) -> None:
    words = (*CREATE, "--mac", "52:54:00:00:00:01", "--idempotency-key", "order 17", "-q")
    first, again = await shell.run(*words), await shell.run(*words)
    assert first.out == again.out


async def test_task_create_for_a_machine_with_a_task_is_a_conflict(shell: Shell) -> None:
    words = (*CREATE, "--mac", "52:54:00:00:00:01")
    await shell.run(*words)
    refused = await shell.run(*words, code=5)
    assert refused.err.startswith("lpmos: ") and refused.out == ""


async def test_task_create_reads_the_whole_task_from_a_file(shell: Shell) -> None:
    body = {"idc": "dc1", "mac": "52:54:00:00:00:01", "os_type": "debian", "os_version": "12"}
    words = ("task", "create", "--from", "-", "--sn", "S9", "--json")
    made = await shell.run(*words, typed=json.dumps(body))
    assert (await shell.run("task", "show", "S9", "-q")).out.strip() == made.json["task_id"]


async def test_task_list_is_a_table_a_document_or_ids(
    shell: Shell, control_plane: RunningControlPlane
) -> None:
    task = make_task(hostname="evil\x1b[31m")
    await control_plane.put_task(task)
    table = await shell.run("task", "list")
    assert table.lines[0].split() == [
        "TASK", "IDC", "SN", "HOST", "OS", "STATUS", "%", "STAGE", "RATE", "CHANGED", "BY", "ERROR",
    ]  # fmt: skip
    assert table.lines[1].startswith("0b0b6f5e  dc1  SN-1  evil�[31m  debian 12  pending")
    assert "\x1b" not in table.out
    document = (await shell.run("task", "list", "--json")).json
    assert (document["total"], document["tasks"][0]["task_id"]) == (1, task.task_id)
    assert (await shell.run("task", "list", "-q")).out == f"{task.task_id}\n"
    assert (await shell.run("task", "list", "--status", "failed,rejected")).out == ""


async def test_task_list_reads_all_pages(shell: Shell, tmp_path: Path) -> None:
    rows = [f"dc1,52:54:00:00:{n // 256:02x}:{n % 256:02x},S{n},debian,12" for n in range(1, 602)]
    file = tmp_path / "many.csv"
    file.write_text("idc,mac,sn,os_type,os_version\n" + "\n".join(rows))
    await shell.run("task", "bulk", str(file))
    assert len((await shell.run("task", "list", "-q")).lines) == 601
    short = await shell.run("task", "list")
    assert len(short.lines) == 101
    assert short.err.strip() == "100 of 601; --limit 601 shows all"
    assert len((await shell.run("task", "list", "--json", "--limit", "7")).json["tasks"]) == 7


async def test_task_approve_shows_the_disk_and_sends_its_digest(
    shell: Shell, control_plane: RunningControlPlane
) -> None:
    task = await put_waiting(control_plane)
    nobody = await shell.run("task", "approve", "SN-1", code=2)
    assert "/dev/vda" in nobody.err and "serial DISK01" in nobody.err
    assert "partition 3 root the rest ext4 at /" in nobody.err
    assert "add --yes" in nobody.err
    approved = await shell.run("task", "approve", "SN-1", "--yes", "--notes", "fine", "--json")
    assert [each["approval"]["notes"] for each in approved.json] == ["fine"]
    stored = control_plane.fleet.task(task.task_id)
    assert stored is not None and stored.status is Status.APPROVED
    again = await shell.run("task", "approve", "SN-1", "--yes", code=5)
    assert "lpmos: " in again.err


async def test_task_of_a_mirror_shows_every_disk_before_it_is_approved(
    shell: Shell, control_plane: RunningControlPlane
) -> None:
    disks = tuple(
        Disk(device=f"/dev/sd{name}", size_bytes=960 * 10**9, kind="ssd", serial=f"S-{name}",
             contents=("ext4",) if name == "b" else ())
        for name in "abc"
    )  # fmt: skip
    hardware = make_inventory(disks=disks)
    plan = plan_disk(hardware, "raid5", RootDiskHints(overwrite=True), GIB)
    await put_waiting(control_plane, hardware=hardware, plan=plan, disk_layout="raid5")
    shown = (await shell.run("task", "show", "SN-1")).out
    for text in ("/dev/sda", "/dev/sdb", "S-c", "nothing: it is blank", "└ md-root", "RAID 5"):
        assert text in shown
    asked = await shell.run("task", "approve", "SN-1", code=2)
    assert "Write /dev/sda, /dev/sdc, /dev/sdb of SN-1?" in asked.err
    assert "LOST: ext4" in asked.err


async def test_task_approve_of_a_machine_that_has_not_reported_says_why(
    shell: Shell, control_plane: RunningControlPlane
) -> None:
    await control_plane.put_task(make_task())
    refused = await shell.run("task", "approve", "SN-1", "--yes", code=5)
    assert "when its machine has reported its hardware" in refused.err


async def test_task_reject_needs_a_reason_and_keeps_it(
    shell: Shell, control_plane: RunningControlPlane
) -> None:
    await put_waiting(control_plane)
    await shell.run("task", "reject", "SN-1", code=2)
    await shell.run("task", "reject", "SN-1", "--reason", "wrong rack")
    shown = await shell.run("task", "show", "SN-1")
    assert "rejected" in shown.out and "wrong rack" in shown.out


async def test_task_cancel_of_several_asks_first(
    shell: Shell, control_plane: RunningControlPlane
) -> None:
    await control_plane.put_task(make_task())
    await control_plane.put_task(
        make_task(task_id=SECOND, sn="SN-2", mac="52:54:00:00:00:02", hostname="sn-2")
    )
    asked = await shell.run("task", "cancel", "SN-1", "SN-2", code=2)
    assert "Cancel these 2 tasks?" in asked.err
    done = await shell.run("task", "cancel", "SN-1", "SN-2", "--yes", "-q")
    assert len(done.lines) == 2
    assert len((await shell.run("task", "list", "--status", "cancelled", "-q")).lines) == 2


async def test_task_rollback_says_what_the_machine_does_next(
    shell: Shell, control_plane: RunningControlPlane
) -> None:
    failed = make_task(status=Status.FAILED, error=TaskError(reason="broken"))
    await control_plane.put_task(failed)

    said = await shell.run("task", "rollback", "SN-1")

    assert f"rolled back {failed.task_id}" in said.out
    assert "without a task" in said.out


async def test_task_retry_makes_a_new_task(
    shell: Shell, control_plane: RunningControlPlane
) -> None:
    failed = make_task(status=Status.FAILED, error=TaskError(reason="boom", hint="look"))
    await control_plane.put_task(failed)
    shown = await shell.run("task", "show", "SN-1")
    assert "boom" in shown.out and "what to do  look" in shown.out
    (new,) = (await shell.run("task", "retry", "SN-1", "--json")).json
    assert new["retry_of"] == failed.task_id


async def test_task_decisions_go_on_after_a_refusal(
    shell: Shell, control_plane: RunningControlPlane
) -> None:
    await put_waiting(control_plane)
    done = await shell.run(
        "task", "reject", "nobody", "SN-1", "--reason", "no", "--json", code=1
    )  # fmt: skip
    assert [each["approval"]["reason"] for each in done.json] == ["no"]
    assert done.err.splitlines()[0].startswith("nobody: no task has 'nobody'")
    assert done.err.splitlines()[1] == "lpmos: 1 of 2 were refused"


async def test_task_logs_are_lines(shell: Shell, control_plane: RunningControlPlane) -> None:
    await control_plane.put_task(make_task(logs=("one", "two \x1b[2J")))
    assert (await shell.run("task", "logs", "SN-1")).lines == ["one", "two �[2J"]


async def test_explain_says_what_a_task_waits_for_and_who_decides(
    shell: Shell, control_plane: RunningControlPlane
) -> None:
    await put_waiting(control_plane)
    said = (await shell.run("explain", "SN-1")).out
    assert "a person: lpmos task approve" in said and "Somebody has to approve" in said
    assert "The region is off line" in said
    assert (await shell.run("explain", "SN-1", "--json")).json["status"] == "pending_approval"


async def test_explain_and_show_have_the_boot_of_a_finished_task(
    shell: Shell, control_plane: RunningControlPlane
) -> None:
    seen = {"boot.dhcp": 1, "boot.address": 4, "boot.agent": 43}
    boot = {name: NOW + timedelta(seconds=s) for name, s in seen.items()}
    changes = ((Status.PENDING, 0), (Status.BOOTING, 9), (Status.COMPLETED, 200))
    history = (
        StatusChange(status=status, timestamp=NOW + timedelta(seconds=s)) for status, s in changes
    )
    task = make_task(status=Status.COMPLETED, status_history=tuple(history), boot=boot)
    await control_plane.put_task(task)
    shown = (await shell.run("task", "show", "SN-1")).lines
    assert any("boot.address" in line and "3 s" in line for line in shown)
    parts = [line.split() for line in (await shell.run("explain", "SN-1")).lines]
    assert ["boot", *("42", "s") * 3, "1"] in parts
    document = (await shell.run("task", "show", "SN-1", "--json")).json
    assert document["durations"]["boot.address"] == 3
    assert [entry["event"] for entry in document["timeline"]] == [
        *("pending", "boot.dhcp", "boot.address", "booting", "boot.agent", "completed")
    ]


async def test_task_names_that_mean_several_or_none_are_refused(
    shell: Shell, control_plane: RunningControlPlane
) -> None:
    await control_plane.put_task(make_task())
    await control_plane.put_task(make_task(task_id=SECOND, sn="SN-2", mac="52:54:00:00:00:02"))
    several = await shell.run("task", "show", "0b0b6f5e", code=2)
    assert SECOND in several.err
    await shell.run("task", "show", "nobody", code=4)
    await shell.run("task", "show", SECOND.replace("2", "3"), code=4)


CSV = """\
idc,mac,sn,os_type,os_version,tags.rack
dc1,52:54:00:00:00:01,S1,debian,12,7
dc1,52:54:00:00:00:02,S2,debian,12,7
dc1,x,S3,debian,12,7
dc1,52:54:00:00:00:04,S1,debian,12,7
dc1,52:54:00:00:00:05,S5,beos,5,7
"""


async def test_task_bulk_names_each_wrong_row_and_makes_the_others(
    shell: Shell, tmp_path: Path
) -> None:
    file = tmp_path / "rack.csv"
    file.write_text(CSV)
    tried = await shell.run("task", "bulk", str(file), "--dry-run", "--part-rows", "1", code=1)
    assert "1 would create" in tried.out and "mac: 'x' is not a MAC address" in tried.out
    assert "'S1' is in row 1 too" in tried.out
    assert (await shell.run("task", "list", "-q")).out == ""
    none = await shell.run("task", "bulk", str(file), "--atomic", "--json", code=1)
    assert none.json["counts"] == {"invalid": 3}
    made = await shell.run("task", "bulk", str(file), "--json", code=1)
    assert made.json["counts"] == {"invalid": 4, "created": 1}
    assert [row["line"] for row in made.json["rows"]] == [2, 3, 4, 5, 6]


async def test_task_bulk_repeated_makes_nothing_twice(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "rack.csv"
    file.write_text("\n".join(CSV.splitlines()[:3]))
    first = await shell.run("task", "bulk", str(file), "-q")
    again = await shell.run("task", "bulk", str(file))
    assert len(first.lines) == 2
    assert again.lines == ["2 rows: 2 exists"]
    fresh = await shell.run("task", "bulk", str(file), "--run", "two", code=1)
    assert "2 conflict" in fresh.out


async def test_task_bulk_of_what_is_no_csv_says_why(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "rack.csv"
    file.write_text("idc;mac\n")
    refused = await shell.run("task", "bulk", str(file), code=2)
    assert "separated by ';'; use ','" in refused.err


async def test_task_bulk_that_was_interrupted_is_completed_by_the_same_command(
    shell: Shell, control_plane: RunningControlPlane, tmp_path: Path
) -> None:
    file = tmp_path / "rack.csv"
    rows = [f"dc1,52:54:00:00:01:{n:02x},S{n},debian,12" for n in range(200)]
    file.write_text("idc,mac,sn,os_type,os_version\n" + "\n".join(rows))
    words = ("task", "bulk", str(file), "--part-rows", "1")
    process = await shell.start(*words)

    async def begun() -> bool:
        return control_plane.fleet.tasks(TaskQuery())[1] > 5

    await until(begun)
    process.send_signal(signal.SIGINT)
    out, err = await process.communicate()
    assert (process.returncode, out, b"Traceback" in err) == (130, b"", False)
    made = control_plane.fleet.tasks(TaskQuery())[1]
    assert 5 < made < 200
    again = (await shell.run(*words, "--json")).json
    assert again["counts"] == {"exists": made, "created": 200 - made}


async def test_task_log_is_whole_where_the_region_answers_and_says_where_not(
    shell: Shell, control_plane: RunningControlPlane
) -> None:
    await control_plane.put_task(make_task(logs=("one", "two"), log_count=9))
    newest = await shell.run("task", "logs", "SN-1")
    assert newest.lines == ["one", "two"] and "7 older lines" in newest.err
    assert (await shell.run("task", "logs", "SN-1", "--json")).json["next"] == 9
    whole = (await shell.run("task", "logs", "SN-1", "--full")).lines
    assert "offline" in whole[0] and whole[1:] == ["one", "two"]
    await shell.run("task", "logs", "SN-1", "--full", "--follow", code=2)


async def test_task_statistics_are_shown(shell: Shell, control_plane: RunningControlPlane) -> None:
    await put_waiting(control_plane)
    shown = (await shell.run("task", "statistics", "--hours", "1")).out
    assert "pending_approval=1" in shown and "debian 12" in shown and "dc1" in shown
    assert (await shell.run("task", "statistics", "--json")).json["hours"] == 6


async def test_task_compare_without_an_earlier_report_says_so(
    shell: Shell, control_plane: RunningControlPlane
) -> None:
    await put_waiting(control_plane)
    assert "no two reports" in (await shell.run("task", "compare", "SN-1")).err
    assert (await shell.run("task", "compare", "SN-1", "--json")).json["changes"] is None
