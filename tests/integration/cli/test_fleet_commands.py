"""Regions, machines, reports without a task, failed tasks, and the doctor by command."""

import asyncio
from pathlib import Path

from lpmos.control.tls import TlsFiles
from lpmos.core.clock import utc_now
from lpmos.model.machine import Machine
from lpmos.model.region import Heartbeat
from lpmos.store import keys, records
from tests.integration.cli.conftest import Shell
from tests.support.builders import NOW, make_inventory
from tests.support.certificates import Authority
from tests.support.control_plane import RunningControlPlane, running_with_debian
from tests.support.rules import make_report


async def put(control_plane: RunningControlPlane, key: str, document: object) -> None:
    revision = await control_plane.store.put(key, records.encode(document))  # type: ignore[arg-type]
    async with asyncio.timeout(60):
        await control_plane.fleet.wait_for_revision(revision)


async def put_machine(control_plane: RunningControlPlane, idc: str = "dc1") -> None:
    machine = Machine(
        idc=idc, sn="SN-1", macs=("52:54:00:00:00:01",), inventory=make_inventory(),
        first_seen_at=NOW, updated_at=NOW,
    )  # fmt: skip
    await put(control_plane, keys.meta(idc, "SN-1"), machine)


async def put_region(control_plane: RunningControlPlane, **services: str) -> None:
    beat = Heartbeat(idc="dc1", identity="a", at=utc_now(), services=services)
    await put(control_plane, keys.heartbeat("dc1"), beat)


async def test_region_is_listed_and_shown(shell: Shell, control_plane: RunningControlPlane) -> None:
    await put_region(control_plane, dhcp="ok", http="failed: timeout")
    assert (await shell.run("region", "list", "-q")).out == "dc1\n"
    shown = (await shell.run("region", "show", "dc1")).out
    assert "online" in shown and "failed: timeout" in shown and "debian 12" in shown
    await shell.run("region", "show", "nowhere", code=4)


async def test_machine_is_tagged_given_a_bmc_and_forgotten(
    shell: Shell, control_plane: RunningControlPlane
) -> None:
    await put_machine(control_plane)
    assert (await shell.run("machine", "list", "-q")).out == "dc1/SN-1\n"
    await shell.run("machine", "tag", "SN-1", "rack=7", "use=web")
    await shell.run("machine", "tag", "SN-1", "--remove", "use", "--tenant", "team-a")
    shown = (await shell.run("machine", "show", "dc1/SN-1", "--json")).json
    assert (shown["tags"], shown["tenant"]) == ({"rack": "7"}, "team-a")
    bmc = ("machine", "bmc", "SN-1")
    secret = "calvin-and-hobbes"
    set_ = await shell.run(
        *bmc, "--address", "192.0.2.9", "--user", "root", "--password-file", "-", typed=secret
    )
    assert "root at 192.0.2.9" in set_.out
    assert secret not in (await shell.run(*bmc, "--json")).out
    await shell.run(*bmc, "--remove", "--yes")
    await shell.run(*bmc, code=4)
    assert "/dev/vda" in (await shell.run("machine", "show", "SN-1")).out
    await shell.run("machine", "forget", "SN-1", code=2)
    await shell.run("machine", "forget", "SN-1", "--yes")
    await shell.run("machine", "show", "SN-1", code=4)


async def test_machine_of_two_data_centers_is_named_with_its_own(
    shell: Shell, control_plane: RunningControlPlane
) -> None:
    await put_machine(control_plane)
    await put_machine(control_plane, "dc2")
    several = await shell.run("machine", "show", "SN-1", code=2)
    assert "dc1/SN-1, dc2/SN-1" in several.err
    await shell.run("machine", "show", "dc2/SN-1")


async def test_unmatched_report_gets_a_task_or_is_dismissed(
    shell: Shell, control_plane: RunningControlPlane
) -> None:
    for number in (1, 2, 3):
        report = make_report(mac_address=f"52:54:00:00:00:0{number}", sn=f"SN-{number}")
        key = keys.unmatched("dc1", report.received_at, report.mac_address)
        await put(control_plane, key, report)
    found = (await shell.run("unmatched", "list", "--json")).json["reports"]
    first, second, third = (each["id"] for each in sorted(found, key=lambda each: each["sn"]))
    assert "/dev/vda" in (await shell.run("unmatched", "show", first)).out
    created = await shell.run("unmatched", "create", first, "--os", "debian", "12", "--json")
    assert created.json["sn"] == "SN-1"
    await shell.run(
        "task", "create", "--idc", "dc1", "--mac", "52:54:00:00:00:aa", "--sn", "SN-2", "--os",
        "debian", "12",
    )  # fmt: skip
    await shell.run("unmatched", "match", second, "SN-2")
    await shell.run("unmatched", "dismiss", third, code=2)
    await shell.run("unmatched", "dismiss", third, "--yes")
    assert (await shell.run("unmatched", "list", "-q")).out == ""


async def test_doctor_says_what_is_wrong_and_what_to_do(
    shell: Shell, control_plane: RunningControlPlane
) -> None:
    sick = await shell.run("doctor", "--remote", code=1)
    assert "wrong    region dc1     offline" in sick.out
    assert "→ start the regional client there: lpmos region --idc dc1" in sick.out
    await put_region(control_plane, dhcp="off", http="ok")
    well = await shell.run("doctor", "--remote", "--json")
    levels = {each["subject"]: each["level"] for each in well.json["findings"]}
    assert levels["store"] == levels["region dc1"] == levels["clock"] == "ok"


async def test_doctor_of_a_dead_server_says_so(shell: Shell) -> None:
    shell.environment["LPMOS_SERVER"] = "http://127.0.0.1:1"
    sick = await shell.run("doctor", "--remote", code=1)
    assert "is it running" in sick.out


async def test_doctor_without_a_login_shows_what_anybody_may_see(shell: Shell) -> None:
    del shell.environment["LPMOS_TOKEN"]
    sick = await shell.run("doctor", "--remote", code=1)
    assert "ok       store" in sick.out and "lpmos login; the rest needs it" in sick.out


async def test_commands_over_tls_trust_the_ca_that_they_are_given(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tls")
    pair = authority.issue("127.0.0.1")
    home = tmp_path / "home"
    home.mkdir()
    async with running_with_debian(tmp_path, tls=TlsFiles(pair.cert, pair.key)) as control_plane:
        shell = Shell(home, control_plane.url, control_plane.token)
        refused = await shell.run("task", "list", code=6)
        assert "name its CA with --ca FILE" in refused.err
        await shell.run("task", "list", "--ca", str(authority.ca))
        shell.environment["LPMOS_CA"] = str(authority.ca)
        await shell.run("task", "list")
        seen = await shell.try_("doctor", "--remote")
        assert "TLSv1.3" in seen.out and "certificate    ends in" in seen.out
