"""The scripts of answer files as shells run them: disks are found, and steps run."""

import os
import re
import subprocess
from pathlib import Path

import msgspec
import pytest
import yaml

from lpmos.install import answers
from lpmos.install.answers import samples, scripts
from lpmos.install.answers.order import InstallerUrls, Order, order_of
from lpmos.install.network import netplan, networkmanager
from lpmos.model.installer import Family
from lpmos.model.network import Bridge, Ethernet, Network, Route, Vlan, layout
from lpmos.model.setup import CloudInit, Setup, TaskSecrets
from lpmos.model.task import Task
from tests.support.answer_scripts import (
    FINISH,
    SHELLS,
    SIZE_BYTES,
    TIMEOUT_S,
    Machine,
    Region,
    answer_scripts,
)
from tests.support.answers import READERS, SHELL_FAMILIES, answer_task


def disks_script(task: Task, urls: InstallerUrls) -> str:
    """The functions, the search, and what was found."""
    of = answers.FAMILIES["rhel"]
    order = order_of(task, samples.manifest_of(of, *of.releases[1]), urls, TaskSecrets())
    number = range(1, len(order.disks.disks) + 1)
    said = " ".join(f"$lpmos_disk{each}" for each in number)
    return (
        f"mkdir -p {scripts.PLACE}\n{scripts.hooks(order)}\n"
        f"{scripts.find_disks(order)}echo {said}\n"
    )


def planned(task: Task, *disks: dict[str, str | None]) -> Task:
    """The task with these identities for the disks of its plan."""
    assert task.plan is not None
    first, *others = disks
    members = tuple(
        msgspec.structs.replace(member, **other)
        for member, other in zip(task.plan.members, others, strict=True)
    )
    plan = msgspec.structs.replace(task.plan, members=members, **first)
    return msgspec.structs.replace(task, plan=plan)


@pytest.mark.parametrize("shell", SHELLS)
def test_disks_are_found_by_what_sysfs_says_whatever_they_are_called(
    shell: list[str], machine: Machine, region: Region
) -> None:
    machine.add_disk("vdb", SIZE_BYTES, {"serial": b"VIRT-1"})
    page = b"\0\x80\0\x14" + b"  SCSI  SERIAL  1   " + b"\0"
    machine.add_disk(
        "sdc", SIZE_BYTES, {"device/vpd_pg80": page, "device/wwid": b"naa.5000C500A1B2C3D4\n"}
    )
    machine.add_disk("sdd", SIZE_BYTES, {"device/vpd_pg80": page.replace(b"1", b"2")})
    nvme = {"device/serial": b"NVME0001       \n", "wwid": b"eui.0025385B01234567\n"}
    machine.add_disk("nvme0n1", SIZE_BYTES, nvme)
    machine.add_disk("sr0", SIZE_BYTES, {"serial": b"VIRT-1"})
    task = planned(
        answer_task(layout="raid5"),
        {"device": "/dev/vda", "serial": "VIRT-1", "wwn": None},
        {"device": "/dev/sda", "serial": "SCSI SERIAL 1", "wwn": "0x5000c500a1b2c3d4"},
        {"device": "/dev/sdb", "serial": "NVME0001", "wwn": "eui.0025385B01234567"},
    )
    done = machine.run(shell, disks_script(task, region.urls))
    assert (done.stdout, done.returncode) == ("/dev/vdb /dev/sdc /dev/nvme0n1\n", 0), done.stderr


@pytest.mark.parametrize("shell", SHELLS)
def test_disk_that_is_not_there_or_twice_ends_the_install_and_says_so(
    shell: list[str], machine: Machine, region: Region
) -> None:
    task = planned(answer_task(), {"device": "/dev/vda", "serial": "IT'S & 1"})
    machine.add_disk("vda", SIZE_BYTES, {"serial": b"another"})
    machine.add_disk("vdb", SIZE_BYTES // 2, {"serial": b"IT'S & 1"})
    done = machine.run(shell, disks_script(task, region.urls))
    assert done.returncode == 1
    assert done.stdout == ""
    (said,) = region.said("failed")
    assert (
        said["message"]
        == f"no disk here has {SIZE_BYTES} bytes, the serial number 'IT'S & 1' and the WWN ''"
    )

    (machine.place / "tmp/lpmos/end").unlink()
    for name in ("sda", "sdb"):
        machine.add_disk(name, SIZE_BYTES, {"serial": b"IT'S & 1"})
    assert machine.run(shell, disks_script(task, region.urls)).returncode == 1
    assert region.said("failed")[1]["message"] == (
        "several disks are the one of the plan (IT'S & 1): /dev/sda /dev/sdb"
    )


@pytest.mark.parametrize("shell", SHELLS)
def test_disk_without_identity_is_found_by_its_size_and_model_alone(
    shell: list[str], machine: Machine, region: Region
) -> None:
    nameless = {"device": "/dev/vda", "serial": None, "wwn": None, "model": "GOOD"}
    task = planned(answer_task(), nameless)
    machine.add_disk("vda", SIZE_BYTES, {"device/model": b"OTHER"})
    machine.add_disk("vdb", SIZE_BYTES, {"device/model": b"GOOD   "})
    assert machine.run(shell, disks_script(task, region.urls)).stdout == "/dev/vdb\n"
    machine.add_disk("vdc", SIZE_BYTES, {"device/model": b"GOOD"})
    assert machine.run(shell, disks_script(task, region.urls)).returncode == 1
    assert "several disks are the one of the plan" in str(region.heard)


@pytest.mark.parametrize("family", SHELL_FAMILIES)
def test_early_scripts_name_the_disks_of_this_boot_to_the_installer(
    family: Family, machine: Machine, region: Region
) -> None:
    for letter, name in zip("ab", ("sdx", "sdy"), strict=True):
        machine.add_disk(name, SIZE_BYTES, {"serial": f"DISK-{letter}".encode()})
    told = machine.place / "told"
    machine.add_program("debconf-set", f'printf "%s %s\\n" "$1" "$2" >>{told}')
    machine.add_program("systemd-run", f'[ "$4" != {machine.place}{scripts.PLACE}/watch.sh ]')
    profile = machine.place / "tmp/profile/autoinst.xml"
    profile.parent.mkdir(parents=True)
    profile.write_text("<device>/dev/lpmos-disk-02</device>")
    found = answer_scripts(family, answer_task(layout="raid1"), region, TaskSecrets())
    early = found[:2] if family == "debian" else found[:1]
    autoinstall = machine.place / "autoinstall.yaml"
    autoinstall.write_text("path: /dev/lpmos-disk-01\n")
    machine.add_program("mount", "exit 1")
    for script in early:
        done = machine.run(
            ["bash"] if family in ("rhel", "suse") else ["sh"],
            script.replace("/autoinstall.yaml", str(autoinstall)),
        )
        assert done.returncode == 0, done.stderr
    match family:
        case "debian":
            assert "partman-auto/disk /dev/sdx /dev/sdy\n" in told.read_text()
            assert " . 1 2 0 ext4 / /dev/sdx4#/dev/sdy4 .\n" in told.read_text()
        case "ubuntu":
            assert autoinstall.read_text() == "path: /dev/sdx\n"
        case "rhel":
            commands = (machine.place / "tmp/lpmos/disks.ks").read_text()
            assert commands.startswith("ignoredisk --only-use=sdx,sdy\n")
            assert "part raid.204 --size=1024 --grow --ondisk=sdy\n" in commands
        case "suse":
            modified = profile.with_name("modified.xml").read_text()
            assert modified == "<device>/dev/sdy</device>"
    assert region.said("progress")[0]["message"] == "the installer runs"


def late_script(task: Task, machine: Machine, region: Region, secrets: TaskSecrets) -> str:
    of = answers.FAMILIES["rhel"]
    order = order_of(task, samples.manifest_of(of, *of.releases[1]), region.urls, secrets)
    ending = scripts.Ending(target=str(machine.target), files=scripts.authorized_keys(order))
    write_hooks(order, machine)
    return scripts.late(order, ending)


def write_hooks(order: Order, machine: Machine) -> None:
    """What the first script leaves for the last one."""
    (machine.place / "tmp/lpmos").mkdir(parents=True)
    (machine.place / "tmp/lpmos/hooks.sh").write_text(
        scripts.hooks(order).replace(scripts.PLACE, f"{machine.place}{scripts.PLACE}")
    )


@pytest.mark.parametrize("shell", SHELLS)
def test_late_script_writes_files_runs_the_steps_and_says_that_it_is_done(
    shell: list[str], machine: Machine, region: Region
) -> None:
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1 it's %end $HOME"
    out = machine.target / "out"
    command = f"printf '%s\\n' \"$TOKEN\" 'a\n%end\nb' >{out}"
    task = answer_task(ssh_keys=(key,), setup=Setup(commands=(command,)))
    secrets = TaskSecrets(values={"TOKEN": "it's\n%end"})
    done = machine.run(shell, late_script(task, machine, region, secrets))
    assert done.returncode == 0, (machine.place / "tmp/lpmos/late.log").read_text()
    keys = machine.target / "root/.ssh/authorized_keys"
    assert (keys.read_text(), keys.stat().st_mode & 0o777) == (f"{key}\n", 0o600)
    assert out.read_text() == "it's\n%end\na\n%end\nb\n"
    assert (machine.target / "first-boot").read_text() == "first boot\n"
    assert not (machine.target / "var/lib/lpmos-step.sh").exists()
    assert [path for path, _ in region.heard] == [
        *("/progress", "/progress", "/progress"),
        *("/first_boot", "/installed"),
    ]
    percents = [float(query["percent"]) for query in region.said("progress")]
    assert percents == sorted(percents)


@pytest.mark.parametrize("shell", SHELLS)
def test_late_script_whose_step_fails_tells_the_end_of_its_output_without_secrets(
    shell: list[str], machine: Machine, region: Region
) -> None:
    command = "echo the token is $TOKEN; echo 50% & more; wait; false; echo unreached"
    task = answer_task(setup=Setup(commands=(command,), secret_names=("TOKEN",)))
    secrets = TaskSecrets(values={"TOKEN": "s3cret-1"})
    done = machine.run(shell, late_script(task, machine, region, secrets))
    assert done.returncode == 1
    assert region.said("installed") == []
    (said,) = region.said("failed")
    first, *rest = said["message"].split("\n")
    assert first == "the installed system could not be finished"
    assert "50%" in rest
    assert not any("s3cret" in line or "unreached" in line for line in rest[:-1])
    assert rest[-1].startswith("failed: command 1 of 1: echo the token is")


NETPLAN = "etc/netplan/00-installer-config.yaml"
CLOUD = "etc/cloud/cloud.cfg.d"
OWN = "network: {version: 2, ethernets: {eth0: {dhcp4: true}}}\n"
DISABLED = {"config": "disabled"}


@pytest.mark.parametrize("cloud_init", [None, CloudInit(user_data="#cloud-config\n{}\n")])
@pytest.mark.parametrize(
    "left",
    [
        pytest.param((NETPLAN, f"{CLOUD}/50-curtin-networking.cfg"), id="20.04"),
        pytest.param((NETPLAN, "etc/netplan/00-installer-config-wifi.yaml"), id="22.04"),
        pytest.param((f"{CLOUD}/90-installer-network.cfg",), id="24.04"),
        pytest.param((NETPLAN,), id="26.04"),
        pytest.param((), id="nothing"),
    ],
)
def test_ubuntu_has_the_network_of_the_task_alone_whatever_its_installer_left(
    left: tuple[str, ...], cloud_init: CloudInit | None, machine: Machine, region: Region
) -> None:
    links = (
        Ethernet(name="lan0"),
        Vlan(name="vlan10", over="lan0", id=10),
        Bridge(name="br0", members=("vlan10",), dhcp=True),
    )
    task = answer_task(network_config=Network(links=links), setup=Setup(cloud_init=cloud_init))
    of = answers.FAMILIES["ubuntu"]
    order = order_of(task, samples.manifest_of(of, *of.releases[2]), region.urls, TaskSecrets())
    write_hooks(order, machine)
    machine.add_program("curtin", "exit 0")
    for path in left:
        (machine.target / path).parent.mkdir(parents=True, exist_ok=True)
        (machine.target / path).write_text(OWN)
    _, late, _ = answer_scripts("ubuntu", task, region, TaskSecrets())
    done = machine.run(["sh"], late.replace("target=/target", f"target={machine.target}"))
    assert done.returncode == 0, (machine.place / "tmp/lpmos/late.log").read_text()

    (file,) = netplan.files(layout(task.network_config, task.mac))
    (written,) = (machine.target / "etc/netplan").iterdir()
    assert written == machine.target / file.path.removeprefix("/")
    assert (written.read_text(), written.stat().st_mode & 0o777) == (file.content, 0o600)
    assert "br0" in yaml.safe_load(file.content)["network"]["bridges"]
    said = [yaml.safe_load(each.read_text()) for each in (machine.target / CLOUD).iterdir()]
    assert {"network": DISABLED} in said
    assert all(each["network"] == DISABLED for each in said)


@pytest.mark.parametrize("shell", SHELLS)
def test_debians_logs_in_the_new_system_do_not_keep_the_commands(
    shell: list[str], machine: Machine, region: Region
) -> None:
    early, *_ = answer_scripts("debian", answer_task(), region, TaskSecrets())
    assert machine.run(shell, early).returncode == 0
    steps = machine.place / FINISH.lstrip("/")
    for name in ("94save-logs", "95umount"):
        (steps / name).touch()
    kept = machine.target / "var/log/installer"
    (kept / "cdebconf").mkdir(parents=True)
    head = "Nov 22 21:26:20 preseed: "
    (kept / "syslog").write_text(
        f"{head}running preseed command preseed/late_command: b=a; printf: 'it: hidden'\n{head}b\n"
    )
    question = "Name: preseed/{}\nTemplate: preseed/{}\nValue: {}\nOwners: d-i\n"
    failed = "Name: preseed/command_failed\nOwners: d-i\nVariables:\n CODE = 1\n COMMAND = {}\n"
    (kept / "cdebconf/questions.dat").write_text(
        question.format("late_command", "late_command", "printf 'it: hidden'")
        + "\n"
        + question.format("url", "url", "http://192.0.2.1/answer")
        + "\n"
        + failed.format("printf 'it: hidden'")
    )
    _, step, _ = sorted(steps.iterdir())
    assert os.access(step, os.X_OK)
    script = step.read_text().replace("/target", str(machine.target))
    done = machine.run(shell, script)
    assert done.returncode == 0, done.stderr
    assert (kept / "syslog").read_text() == (
        f"{head}running preseed command preseed/late_command: left out\n{head}b\n"
    )
    assert (kept / "cdebconf/questions.dat").read_text() == (
        question.format("late_command", "late_command", "left out")
        + "\n"
        + question.format("url", "url", "http://192.0.2.1/answer")
        + "\n"
        + failed.format("left out")
    )


BASE = "main-menu[3]: INFO: Menu item 'bootstrap-base' selected\n"
PACKAGE = "{0}: Selecting previously unselected package a\n{0}: Unpacking a (1)\n{0}: Setting up a"


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("log", "state"),
    [
        ("main-menu[3]: INFO: Menu item 'netcfg' selected", ""),
        ("main-menu[3]: INFO: Menu item 'partman-base' selected", "partitioning 5 partman-base\n"),
        (BASE, "downloading 20 bootstrap-base: 0 steps of packages\n"),
        (f"{BASE}{PACKAGE.format('debootstrap')}\n" * 9,
         "downloading 22 bootstrap-base: 18 steps of packages\n"),
        (BASE + f"{PACKAGE.format('debootstrap')}\n{PACKAGE.format('in-target')}\n" * 9,
         "downloading 24 bootstrap-base: 36 steps of packages\n"),
        (f"{PACKAGE.format('in-target')}\n" * 400 + "x: Menu item 'pkgsel' selected",
         "installing 88 pkgsel: 800 steps of packages\n"),
        ("x: Menu item 'grub-installer' selected", "installing 89 grub-installer\n"),
    ],
    ids=["before", "disks", "retrieving", "base", "kernel", "more than usual", "boot loader"],
)  # fmt: skip
def test_debians_progress_counts_the_packages_of_every_step(
    shell: list[str], log: str, state: str, machine: Machine, region: Region
) -> None:
    (machine.place / "var/log").mkdir(parents=True)
    (machine.place / "tmp/lpmos").mkdir()
    (machine.place / "var/log/syslog").write_text(f"{log}\n")
    early, *_ = answer_scripts("debian", answer_task(), region, TaskSecrets())
    said = early.partition("lpmos_state() {\n")[2].partition("\n}\nlpmos_watch\n")[0]
    done = machine.run(shell, said.replace("/var/log/", f"{machine.place}/var/log/"))
    assert (done.stdout, done.returncode) == (state, 0), done.stderr


SUBIQUITY = "var/log/installer/subiquity-server-debug.log"
CURTIN = "var/log/installer/curtin-install.log"


def installer_logs(machine: Machine, **texts: str) -> None:
    """Logs as Ubuntu's installer leaves them: its own one is a link to that of its process."""
    folder = machine.place / "var/log/installer"
    folder.mkdir(parents=True)
    (machine.place / SUBIQUITY).symlink_to(folder / "subiquity-server-debug.log.1")
    for path, name in ((SUBIQUITY, "subiquity"), (CURTIN, "curtin")):
        if name in texts:
            (machine.place / path).write_text(texts[name])


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("subiquity", "curtin", "state"),
    [
        ("start: subiquity/extract_autoinstall: ", "", ""),
        ("start: subiquity/Package/load_autoinstall_data: ", "", ""),
        ("start: subiquity/Install/install/curtin_install: installing", "start: cmd-install: ", ""),
        ("", "start: cmd-install/stage-partitioning/builtin/x: y", "partitioning 10 "),
        ("", "start: cmd-install/stage-partitioning: a\nstart: cmd-install/stage-extract: b",
         "downloading 30 "),
        ("", "start: cmd-install/stage-curthooks/builtin: c", "installing 65 "),
        ("start: subiquity/Install/install/postinstall: final",
         "start: cmd-install/stage-curthooks: c", "installing 80 "),
        ("start: subiquity/Install/install/postinstall/install_tree/unpacking: ",
         "start: cmd-install/stage-curthooks: c", "installing 85 "),
        ("start: subiquity/Install/install/postinstall/run_unattended_upgrades: ",
         "start: cmd-install/stage-curthooks: c", "installing 87 "),
    ],
)  # fmt: skip
def test_ubuntus_progress_is_what_its_installer_does_and_not_what_it_reads(
    shell: list[str], subiquity: str, curtin: str, state: str, machine: Machine, region: Region
) -> None:
    installer_logs(machine, subiquity=f"{subiquity}\n", curtin=f"{curtin}\n")
    (machine.place / "tmp/lpmos").mkdir()
    early, *_ = answer_scripts("ubuntu", answer_task(), region, TaskSecrets())
    said = early.partition("lpmos_state() {\n")[2].partition("\n}\nlpmos_watch\n")[0]
    assert said
    done = machine.run(shell, said.replace("/var/log/", f"{machine.place}/var/log/"))
    assert (done.returncode, done.stdout.startswith(state)) == (0, True), done.stderr
    assert bool(done.stdout) == bool(state)


def test_ubuntus_log_is_seen_to_grow_behind_the_link_that_names_it(region: Region) -> None:
    early, *_ = answer_scripts("ubuntu", answer_task(), region, TaskSecrets())
    assert "lpmos_signs='/var/log/installer/subiquity-server-debug.log.*'\n" in early


@pytest.mark.parametrize("shell", SHELLS)
def test_ubuntus_failure_names_the_step_that_failed_and_the_end_of_curtins_log(
    shell: list[str], machine: Machine, region: Region
) -> None:
    command = f"['systemd-run', {'x' * 300}, 'apt-config']"
    failed = f"ERROR root:38 finish: subiquity/{{}}: FAIL: Command {command} returned 3"
    chatter = "".join(f"DEBUG route_change {number}\n" for number in range(200))
    logs = f"{failed.format('Mirror/apply')}\n{failed.format('apply')}\n{chatter}"
    installer_logs(machine, subiquity=f"{chatter}{logs}start: subiquity/Error/run: \n")
    order = order_of(
        answer_task(),
        samples.manifest_of(answers.FAMILIES["ubuntu"], "ubuntu", "24.04"),
        region.urls,
        TaskSecrets(),
    )
    write_hooks(order, machine)
    machine.add_program("journalctl", '[ "$8" = subiquity_log.1 ] && echo no valid sources')
    *_, script = answer_scripts("ubuntu", answer_task(), region, TaskSecrets())
    script = script.replace("/var/log/", f"{machine.place}/var/log/")
    done = machine.run(shell, script)
    assert (done.returncode, done.stderr) == (0, "")
    (machine.place / CURTIN).write_text("no space left on the device\n")
    (machine.place / "tmp/lpmos/end").unlink()
    machine.run(shell, script)
    first, second = (each["message"].split("\n") for each in region.said("failed"))
    assert first[:2] == ["the installer gave up", "no valid sources"]
    assert first[2].startswith("subiquity/apply: Command ['systemd-run', xxx")
    assert first[2].endswith("xxx, 'apt-config'] returned 3")
    assert (len(first), len(first[2])) == (3, 185)
    assert second == [first[0], "no space left on the device", *first[1:]]


_SUMMARY = """\
INFO:anaconda.installation:Top-level task queue: Complete installation queue
Task queue: Early storage configuration
Task queue: Payload installation
Task queue: Bootloader installation
"""
_STORAGE = "INFO:anaconda.installation:Queue started: Early storage configuration (4/19)\n"
_PAYLOAD = "INFO:anaconda.installation:Queue started: Payload installation (7/19)\n"
_LOADER = "INFO:anaconda.installation:Queue started: Bootloader installation (8/19)\n"
_DNF_10 = "INFO:dnf:The software selection has been resolved (300 packages selected).\n"
_DNF_9 = "12:00:00,000 INF packaging: 300 packages selected totalling 1.2 GiB\n"
_DONE = "INFO:dnf:Installed: bash-5.2.26-6.el10.x86_64 1730000000 abc123\n"
_YUM = "INFO packaging: Running anaconda-yum to install packages\n"
_YUM_DONE = "DEBUG packaging: Wird installiert bash-4.2.46-34.el7.x86_64 (75/300)\n"


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("anaconda", "packaging", "state"),
    [
        pytest.param("", "", "", id="nothing"),
        pytest.param(_SUMMARY, _DNF_9, "", id="summary"),
        pytest.param(_SUMMARY + _STORAGE, _DNF_10, "partitioning 10 ", id="storage"),
        pytest.param(_SUMMARY + _STORAGE + _PAYLOAD, _DNF_9, "downloading 30 ", id="download"),
        pytest.param(_PAYLOAD, _DNF_9 + _DONE * 75, "installing 52 package 75/300\n", id="9"),
        pytest.param(_PAYLOAD, _DNF_10 + _DONE * 300, "installing 88 package 300/300\n", id="10"),
        pytest.param(_SUMMARY + _PAYLOAD + _LOADER, _DONE, "installing 89 ", id="loader"),
        pytest.param("", f"retrying (1/9)\n{_YUM}retrying (2/9)\n", "downloading 30 ", id="yum"),
        pytest.param("", _YUM + _YUM_DONE, "installing 52 package 75/300\n", id="7"),
        pytest.param("Configuring installed system", _YUM, "installing 89 ", id="end of 7"),
    ],
)
def test_anacondas_progress_is_what_it_does_and_not_what_it_will_do(
    shell: list[str], anaconda: str, packaging: str, state: str, machine: Machine, region: Region
) -> None:
    (machine.place / "tmp/lpmos").mkdir()
    (machine.place / "tmp/anaconda.log").write_text(anaconda)
    (machine.place / "tmp/packaging.log").write_text(packaging)
    early, *_ = answer_scripts("rhel", answer_task(), region, TaskSecrets())
    said = early.partition("lpmos_state() {\n")[2].partition("\n}\nlpmos_watch\n")[0]
    done = machine.run(shell, re.sub("(?=/tmp/[ap])", str(machine.place), said))
    assert (done.returncode, done.stdout.startswith(state)) == (0, True), done.stderr
    assert bool(done.stdout) == bool(state)


def test_anaconda_of_release_7_that_gave_up_is_told_of_by_its_log(
    machine: Machine, region: Region
) -> None:
    of, task = answers.FAMILIES["rhel"], answer_task()
    order = order_of(task, samples.manifest_of(of, "centos", "7"), region.urls, TaskSecrets())
    write_hooks(order, machine)
    log = "DEBUG anaconda: running handleException\nCRIT anaconda: CmdlineError: no such package\n"
    (machine.place / "tmp/anaconda.log").write_text(log)
    early, *_ = answer_scripts("rhel", task, region, TaskSecrets())
    said = early.partition("lpmos_state() {\n")[2].partition("\n}\nlpmos_watch\n")[0]
    said = re.sub("(?=/tmp/[ap])", str(machine.place), said)
    done = machine.run(["bash"], f". {scripts.HOOKS}\n{said}\n{said}")
    assert (done.returncode, done.stdout) == (0, "")
    (failed,) = region.said("failed")
    assert failed["message"] == f"the installer gave up\n{log.strip()}"


FSTAB = """\
# /etc/fstab
UUID=5F0A-1B2C          /boot/efi               vfat    {}0 2
UUID=5F0B-1B2C          /boot/efi2              vfat    umask=0077,nofail 0 2
"""
OF_ANACONDA = "defaults,uid=0,gid=0,umask=077,shortname=winnt"


def test_last_script_of_kickstart_leaves_no_secret_and_starts_without_the_first_disk(
    machine: Machine, region: Region
) -> None:
    task = answer_task(layout="raid1", uefi=True)
    of = answers.FAMILIES["rhel"]
    order = order_of(task, samples.manifest_of(of, *of.releases[1]), region.urls, TaskSecrets())
    write_hooks(order, machine)
    given = machine.place / "run/install/ks.cfg"
    written = machine.target / "root/anaconda-ks.cfg"
    table, loader = machine.target / "etc/fstab", machine.target / "boot/efi/EFI/shim.efi"
    (machine.target / "boot/efi2").mkdir(parents=True)
    for file, text in (
        *((given, "%pre"), (written, "%pre")),
        *((table, FSTAB.format(f"{OF_ANACONDA} ")), (loader, "by Anaconda")),
    ):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    _, late, _ = answer_scripts("rhel", task, region, TaskSecrets())
    late = late.replace("/run/install", f"{machine.place}/run/install")
    done = machine.run(["bash"], late.replace("/mnt/sysimage", str(machine.target)))
    assert done.returncode == 0, (machine.place / "tmp/lpmos/late.log").read_text()
    assert not given.exists() and not written.exists()
    assert table.read_text() == FSTAB.format(f"{OF_ANACONDA},nofail ")
    assert (machine.target / "boot/efi2/EFI/shim.efi").read_text() == "by Anaconda"


def test_what_release_7_writes_after_the_last_script_is_not_in_the_new_system(
    machine: Machine, region: Region
) -> None:
    of, task = answers.FAMILIES["rhel"], answer_task()
    manifest = samples.manifest_of(of, "centos", "7")
    write_hooks(order_of(task, manifest, region.urls, TaskSecrets()), machine)
    written, in_ram = machine.target / "root/anaconda-ks.cfg", machine.place / "run/install"
    for folder in (written.parent, in_ram):
        folder.mkdir(parents=True)
    text = answers.render("rhel", answers.variables(task, manifest, region.urls, TaskSecrets()))
    late = READERS["rhel"](text).scripts[1].replace("/run/install", str(in_ram))
    done = machine.run(["bash"], late.replace("/mnt/sysimage", str(machine.target)))
    assert done.returncode == 0, (machine.place / "tmp/lpmos/late.log").read_text()
    written.write_text("%post")
    written.chmod(0o600)
    assert written.is_symlink()
    assert [file.read_text() for file in in_ram.iterdir()] == ["%post"]


@pytest.mark.parametrize("boots", [True, False])
def test_last_script_of_autoyast_runs_after_the_boot_loader_and_leaves_no_secret(
    boots: bool, machine: Machine, region: Region
) -> None:
    for letter, name in zip("ab", ("sdx", "sdy"), strict=True):
        machine.add_disk(name, SIZE_BYTES, {"serial": f"DISK-{letter}".encode()})
    profile = machine.place / "tmp/profile/autoinst.xml"
    profile.parent.mkdir(parents=True)
    profile.touch()
    kept = machine.target / "var/adm/autoinstall/scripts/lpmos-late.sh"
    kept.parent.mkdir(parents=True)
    kept.touch()
    back = 'if [ "$1" = /proc/1/root ]; then shift; exec "$@"; fi'
    machine.add_program("chroot", f'{back}; root=$1; shift 4; exec /bin/sh "$root$1"')
    machine.add_program("mount", '[ "$2" != bind ]')
    machine.add_program("umount", ":")
    command = f"cat >{machine.target}/out <<'LPMOS_LATE'\n$TOKEN\nLPMOS_LATE"
    task = answer_task(layout="raid1", uefi=True, setup=Setup(commands=(command,)))
    early, late = answer_scripts("suse", task, region, TaskSecrets())
    for script in (early, re.sub("(?<=[= ])/mnt(?=[;\n])", str(machine.target), late)):
        assert machine.run(["bash"], script).returncode == 0
    hook = f"{machine.place}/var/lib/YaST2/hooks/installation/after_bootloader_finish_00_lpmos"
    assert Path(hook).stat().st_mode & 0o111, "YaST finds it here"
    inside = machine.target / hook[1:]
    assert kept.exists() and not region.said("installed")

    for file in ("boot/grub2/grub.cfg", "boot/efi/EFI/opensuse/shim.efi") if boots else ():
        (machine.target / file).parent.mkdir(parents=True)
        (machine.target / file).write_text("by YaST\n")
    environment = {"PATH": machine.path}
    done = subprocess.run([str(inside)], env=environment, timeout=TIMEOUT_S, check=False)
    assert done.returncode == (0 if boots else 1)
    assert not kept.exists() and not inside.exists()
    assert len(region.said("installed")) == boots
    assert [said["message"].split("\n")[1:] for said in region.said("failed")] == (
        [] if boots else [["YaST has made no boot loader"]]
    )
    if boots:
        assert (machine.target / "out").read_text() == "$TOKEN\n"
        assert (machine.target / "mnt/esp/EFI/opensuse/shim.efi").exists()


@pytest.mark.parametrize("chosen", [True, False])
def test_network_manager_has_the_network_of_the_task_where_yast_chose_it(
    chosen: bool, machine: Machine, region: Region
) -> None:
    links = (
        Ethernet(name="lan0", mtu=9000),
        Vlan(
            name="vlan10",
            over="lan0",
            id=10,
            addresses=("192.0.2.10/24",),
            routes=(Route(to="198.51.100.0/24", via="192.0.2.2"),),
        ),
    )
    task = answer_task(network_config=Network(links=links))
    of = answers.FAMILIES["suse"]
    order = order_of(task, samples.manifest_of(of, *of.releases[2]), region.urls, TaskSecrets())
    write_hooks(order, machine)
    kept = machine.target / "etc/NetworkManager/system-connections"
    enabled = machine.target / "etc/systemd/system/multi-user.target.wants/NetworkManager.service"
    grub = machine.target / "boot/grub2/grub.cfg"
    for folder in (kept, enabled.parent, grub.parent):
        folder.mkdir(parents=True)
    grub.write_text("by YaST\n")
    (kept / "lan0.nmconnection").write_text("by YaST\n")
    if chosen:
        enabled.symlink_to("/usr/lib/systemd/system/NetworkManager.service")
    machine.add_program("chroot", "exit 0")
    _, late = answer_scripts("suse", task, region, TaskSecrets())
    script = re.sub("(?<=[= ])/mnt(?=[;\n])", str(machine.target), late)
    assert machine.run(["bash"], script).returncode == 0
    command = ["sh", str(machine.place / "tmp/lpmos/late.sh")]
    subprocess.run(command, env={"PATH": machine.path}, timeout=TIMEOUT_S, check=True)

    made = {file.name: (file.stat().st_mode & 0o777, file.read_text()) for file in kept.iterdir()}
    if not chosen:
        assert [text for _, text in made.values()] == ["by YaST\n"]
        return
    wanted = networkmanager.files(layout(task.network_config, task.mac))
    assert made == {file.path.rpartition("/")[2]: (0o600, file.content) for file in wanted}
    assert "route1=198.51.100.0/24,192.0.2.2" in made["vlan10.nmconnection"][1]


def test_what_the_installer_does_is_said_when_it_changes(machine: Machine, region: Region) -> None:
    of = answers.FAMILIES["rhel"]
    task = answer_task()
    order = order_of(task, samples.manifest_of(of, *of.releases[1]), region.urls, TaskSecrets())
    state = f"cat {machine.place}/state"
    (machine.place / "state").write_text("installing 70 package 7/10\n")
    machine.add_program("sleep", f"touch {machine.place}{scripts.PLACE}/end")
    script = scripts.start(order, state, (), background="env")
    done = machine.run(["dash"], script)
    assert done.returncode == 0, done.stderr
    assert {"stage": "installing", "percent": "70", "message": "package 7/10"} in region.said(
        "progress"
    )
