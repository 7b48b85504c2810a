"""The scripts of answer files as shells run them: disks are found, steps run, the region hears it.

Each shell that an installer has is tried: dash and bash here, and busybox where it is installed.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from lpmos.install import answers
from lpmos.install.answers import samples, scripts
from lpmos.install.answers.order import InstallerUrls, order_of
from lpmos.model.installer import Family
from lpmos.model.setup import Setup, TaskSecrets
from lpmos.model.task import Task
from lpmos.model.trace import root_of
from tests.support.answers import READERS, SHELL_FAMILIES, answer_task

SHELLS = [
    pytest.param([path, *more], id=name)
    for name, *more in (("dash",), ("bash", "--posix"), ("busybox", "sh"))
    if (path := shutil.which(name))
]
TIMEOUT_S = 60
STOP_LOOKS_S = 0.02
PROFILE = "/tmp/profile"  # noqa: S108 - AutoYaST's own place
YAST = "/var/lib/YaST2"
STARTUP = "/usr/lib/YaST2"
FIRST_BOOT = 'echo first boot >"$1/first-boot"\n'


class Region(ThreadingHTTPServer):
    """Hears what an installer says."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.heard: list[tuple[str, dict[str, str]]] = []
        self.traces: set[str | None] = set()
        self.logged: list[tuple[dict[str, str], str]] = []
        self.refuses = 0

    @property
    def urls(self) -> InstallerUrls:
        names = (name for name in InstallerUrls.__struct_fields__)
        base = f"http://127.0.0.1:{self.server_port}"
        return InstallerUrls(**{name: f"{base}/{name}" for name in names})

    def said(self, name: str) -> list[dict[str, str]]:
        return [query for path, query in self.heard if path == f"/{name}"]


class _Handler(BaseHTTPRequestHandler):
    server: Region

    def do_GET(self) -> None:
        """Note it; the first boot's script is the only answer."""
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.server.heard.append((parts.path, query))
        self.server.traces.add(self.headers["traceparent"])
        body = FIRST_BOOT.encode() if parts.path == "/first_boot" else b""
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        """Lines of a log; refused as often as the test says."""
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        text = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.logged.append((query, text))
        self.server.traces.add(self.headers["traceparent"])
        status = 503 if len(self.server.logged) <= self.server.refuses else 200
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def region() -> Iterator[Region]:
    """A region that hears installers."""
    server = Region()
    thread = Thread(target=server.serve_forever, args=(STOP_LOOKS_S,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


class Machine:
    """What an installer's scripts see of a machine, in a folder."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.block = place / "sys" / "block"
        self.target = place / "target"
        self.programs = place / "bin"
        self.path = f"{self.programs}:{os.environ['PATH']}"
        for folder in (self.block, self.target / "var/lib", self.programs, place / "tmp"):
            folder.mkdir(parents=True)

    def add_disk(self, name: str, size_bytes: int, files: dict[str, bytes]) -> None:
        """A disk with what sysfs says of it."""
        for file, content in {**files, "size": f"{size_bytes // 512}\n".encode()}.items():
            path = self.block / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def add_program(self, name: str, script: str) -> None:
        """A program that is found before the system's own."""
        (self.programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.programs / name).chmod(0o755)

    def run(self, shell: list[str], script: str) -> subprocess.CompletedProcess[str]:
        """Run a script that takes this folder for the machine."""
        for path in ("/sys/block", scripts.PLACE, PROFILE, YAST, STARTUP):
            script = script.replace(path, f"{self.place}{path}")
        (self.place / "script.sh").write_text(script)
        environment = {"PATH": self.path, "LC_ALL": "C"}
        return subprocess.run(
            [*shell, str(self.place / "script.sh")],
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    def end_watching(self) -> None:
        """What ends the watching in the background."""
        (self.place / "tmp/lpmos/end").touch()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A machine without disks, on which entering the new system is staying in its folder."""
    found = Machine(tmp_path)
    found.add_program("chroot", 'root=$1; shift 4; exec /bin/sh "$root$1"')
    yield found
    found.end_watching()


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


SIZE = 100 * 1024**3


@pytest.mark.parametrize("shell", SHELLS)
def test_disks_are_found_by_what_sysfs_says_whatever_they_are_called(
    shell: list[str], machine: Machine, region: Region
) -> None:
    machine.add_disk("vdb", SIZE, {"serial": b"VIRT-1"})
    page = b"\0\x80\0\x14" + b"  SCSI  SERIAL  1   " + b"\0"
    machine.add_disk(
        "sdc", SIZE, {"device/vpd_pg80": page, "device/wwid": b"naa.5000C500A1B2C3D4\n"}
    )
    machine.add_disk("sdd", SIZE, {"device/vpd_pg80": page.replace(b"1", b"2")})
    nvme = {"device/serial": b"NVME0001       \n", "wwid": b"eui.0025385B01234567\n"}
    machine.add_disk("nvme0n1", SIZE, nvme)
    machine.add_disk("sr0", SIZE, {"serial": b"VIRT-1"})
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
    machine.add_disk("vda", SIZE, {"serial": b"another"})
    machine.add_disk("vdb", SIZE // 2, {"serial": b"IT'S & 1"})
    done = machine.run(shell, disks_script(task, region.urls))
    assert done.returncode == 1
    assert done.stdout == ""
    (said,) = region.said("failed")
    assert (
        said["message"]
        == f"no disk here has {SIZE} bytes, the serial number 'IT'S & 1' and the WWN ''"
    )

    (machine.place / "tmp/lpmos/end").unlink()
    for name in ("sda", "sdb"):
        machine.add_disk(name, SIZE, {"serial": b"IT'S & 1"})
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
    machine.add_disk("vda", SIZE, {"device/model": b"OTHER"})
    machine.add_disk("vdb", SIZE, {"device/model": b"GOOD   "})
    assert machine.run(shell, disks_script(task, region.urls)).stdout == "/dev/vdb\n"
    machine.add_disk("vdc", SIZE, {"device/model": b"GOOD"})
    assert machine.run(shell, disks_script(task, region.urls)).returncode == 1
    assert "several disks are the one of the plan" in str(region.heard)


def answer_scripts(
    family: Family, task: Task, region: Region, secrets: TaskSecrets
) -> tuple[str, ...]:
    of = answers.FAMILIES[family]
    manifest = samples.manifest_of(of, *of.releases[1])
    text = answers.render(family, answers.variables(task, manifest, region.urls, secrets))
    return READERS[family](text).scripts


@pytest.mark.parametrize("family", SHELL_FAMILIES)
def test_early_scripts_name_the_disks_of_this_boot_to_the_installer(
    family: Family, machine: Machine, region: Region
) -> None:
    for letter, name in zip("ab", ("sdx", "sdy"), strict=True):
        machine.add_disk(name, SIZE, {"serial": f"DISK-{letter}".encode()})
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
    (machine.place / "tmp/lpmos").mkdir(parents=True)
    (machine.place / "tmp/lpmos/hooks.sh").write_text(
        scripts.hooks(order).replace(scripts.PLACE, f"{machine.place}{scripts.PLACE}")
    )
    return scripts.late(order, ending)


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


def streaming(machine: Machine, region: Region, *calls: str, secrets: TaskSecrets) -> str:
    """The functions over one log file of the machine, and these calls of them."""
    of = answers.FAMILIES["rhel"]
    order = order_of(answer_task(), samples.manifest_of(of, *of.releases[1]), region.urls, secrets)
    machine.add_program("sleep", ":")
    folder = f"mkdir -p {scripts.PLACE}/log"
    hidden = [f"echo '{text}' >{scripts.SECRETS}" for text in secrets.texts]
    signs = [f"{machine.place}/downloads.log"]
    functions = scripts.hooks(order, [f"{machine.place}/own*.log"], signs)
    return "\n".join([folder, *hidden, functions, *calls, ""])


@pytest.mark.parametrize("shell", SHELLS)
def test_log_of_an_installer_arrives_once_in_order_and_without_secrets(
    shell: list[str], machine: Machine, region: Region
) -> None:
    region.refuses = 1
    log = machine.place / "own.log"
    lines = [f"line {number} \\ 50% 'x'" for number in range(1, 201)]
    lines[99] = "the token is s3cret-1"
    log.write_text("\n".join(lines))
    more = f"printf ' end\\nand a part' >>{log}"
    secrets = TaskSecrets(values={"TOKEN": "s3cret-1"})
    calls = ("lpmos_stream", "lpmos_stream", more, "lpmos_stream", "lpmos_stream last")
    done = machine.run(shell, streaming(machine, region, *calls, secrets=secrets))
    assert (done.returncode, done.stderr) == (0, "")
    refused, *taken = region.logged
    assert refused == taken[0]
    said = [text.removesuffix("\n").split("\n") for _, text in taken]
    lines[99] = "(a line with a secret)"
    lines[199] += " end"
    assert [line for piece in said for line in piece] == [*lines, "and a part"]
    firsts = [int(query["first"]) for query, _ in taken]
    assert firsts == [1 + sum(map(len, said[:at])) for at in range(len(said))]
    assert {query["file"] for query, _ in taken} == {"own.log"}


@pytest.mark.parametrize("caller", [name for name in ("curl", "wget") if shutil.which(name)])
def test_calls_of_an_installer_belong_to_the_trace_of_its_task(
    caller: str, machine: Machine, region: Region
) -> None:
    (machine.place / "own.log").write_text("a line\n")
    calls = ("lpmos_progress installing 40 a step", "lpmos_stream last", "lpmos_failed 'it ended'")
    script = streaming(machine, region, *calls, secrets=TaskSecrets())
    if caller == "wget":
        script = script.replace("command -v curl", "false")
    done = machine.run(["dash"], script)
    assert (done.returncode, done.stderr) == (0, "")
    assert [path for path, _ in region.heard] == ["/progress", "/failed"]
    assert len(region.logged) == 1
    assert region.traces == {str(root_of(answer_task()))}


CARD = "printf 'Inter-|\\n face |bytes\\n  %s: %s 9 0 0\\n'"
DISK = "printf '   8   0 %s 1 0 8 0 9 0 %s 0\\n'"


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("grows", "fails"),
    [
        pytest.param(":", True, id="nothing"),
        pytest.param("echo more >>own.log", False, id="log"),
        pytest.param("echo more >>downloads.log", False, id="sign"),
        pytest.param("echo installing 40 step $up >state", False, id="state"),
        pytest.param(f"{CARD} eth0 $((up * 100000)) >proc/net/dev", False, id="card"),
        pytest.param(f"{CARD} eth0 $((up * 1700)) >proc/net/dev", True, id="broadcasts"),
        pytest.param(f"{CARD} lo $((up * 100000)) >proc/net/dev", True, id="loopback"),
        pytest.param(f"{DISK} nvme0n1 $((up * 200)) >proc/diskstats", False, id="disk"),
        pytest.param(f"{DISK} loop0 $((up * 200)) >proc/diskstats", True, id="image in memory"),
        pytest.param(
            f"{DISK} sda $((up * 200)) >proc/diskstats; echo '[=>] resync = 9.1%' >proc/mdstat",
            True,
            id="array",
        ),
        pytest.param("touch tmp/lpmos/late.log", False, id="last script"),
    ],
)
def test_installer_of_which_nothing_moves_has_failed_with_the_end_of_its_log(
    shell: list[str], grows: str, fails: bool, machine: Machine, region: Region
) -> None:
    (machine.place / "own.log").write_text("Do you want to go on?\n")
    (machine.place / "proc/net").mkdir(parents=True)
    calls = (f"lpmos_state() {{ cat {machine.place}/state 2>/dev/null; }}", "lpmos_watch")
    script = streaming(machine, region, *calls, secrets=TaskSecrets())
    (machine.place / "proc/uptime").write_text("1000.00 10.00\n")
    machine.add_program(
        "sleep",
        f"cd {machine.place}\nread -r up idle <proc/uptime; up=${{up%.*}}\n"
        f"echo $((up + 900)).00 0.00 >proc/uptime\n{grows}\n"
        "[ $up -lt 3700 ] || touch tmp/lpmos/end",
    )
    done = machine.run(shell, script.replace("/proc/", f"{machine.place}/proc/"))
    assert (done.returncode, done.stderr) == (0, "")
    said = [each["message"].split("\n") for each in region.said("failed")]
    told = "the installer says nothing any more: it may wait on its console"
    assert said == ([[told, "Do you want to go on?"]] if fails else [])


@pytest.mark.parametrize("mounts", [True, False], ids=["from a medium", "in memory"])
def test_what_yast_calls_when_it_gives_up_tells_the_end_of_its_log(
    mounts: bool, machine: Machine, region: Region
) -> None:
    hooks = machine.place / "var/lib/YaST2/hooks/installation"
    after = machine.place / "usr/lib/YaST2/startup/hooks/postFirstCall"
    hooks.mkdir(parents=True)
    (hooks / "installation_start_50_vendor").write_text("#!/bin/sh\n")
    bound = '[ "$1 $2" = "-o bind" ] && rm -rf "$4" && ln -s "$3" "$4"'
    machine.add_program("mount", bound if mounts else "exit 32")
    machine.add_disk("sdx", SIZE, {"serial": b"DISK-a"})
    log = machine.place / "var/log/YaST2/y2log"
    log.parent.mkdir(parents=True)
    log.write_text("<3> install(1) no product\nthe token is s3cret-1\n")
    profile = machine.place / "tmp/profile/autoinst.xml"
    profile.parent.mkdir(parents=True)
    profile.touch()
    secrets = TaskSecrets(values={"TOKEN": "s3cret-1"})
    early, *_ = answer_scripts("suse", answer_task(), region, secrets)
    done = machine.run(["bash"], early.replace("/var/log/YaST2", str(log.parent)))
    assert done.returncode == 0, done.stderr
    assert {each.name for each in hooks.iterdir()} == {
        *("installation_start_50_vendor", "installation_aborted_00_lpmos"),
        "installation_failure_00_lpmos",
    }
    for script in (hooks / "installation_aborted_00_lpmos", after / "%00-lpmos"):
        subprocess.run([str(script)], check=True, timeout=TIMEOUT_S)
    (said,) = region.said("failed")
    assert said["message"].split("\n") == [
        "the installer gave up", "<3> install(1) no product", "(a line with a secret)"
    ]  # fmt: skip


@pytest.mark.parametrize("shell", SHELLS)
def test_log_that_grew_by_too_much_begins_with_how_much_is_left_out(
    shell: list[str], machine: Machine, region: Region
) -> None:
    with (machine.place / "own.log").open("w") as file:
        file.writelines(f"{number:099}\n" for number in range(2_000))
    call = "lpmos_failed 'it ended'"
    done = machine.run(shell, streaming(machine, region, call, secrets=TaskSecrets()))
    assert (done.returncode, done.stderr) == (0, "")
    text = "".join(text for _, text in region.logged)
    first, *rest = text.splitlines()
    assert first == f"[WARN] 100000 bytes of {machine.place}/own.log are left out here"
    assert [int(line) for line in rest] == list(range(1_000, 2_000))
    assert region.said("failed")[0]["message"] == "it ended"


@pytest.mark.parametrize("shell", SHELLS)
def test_log_that_the_region_refuses_for_good_holds_the_end_up_for_three_calls(
    shell: list[str], machine: Machine, region: Region
) -> None:
    region.refuses = 100
    (machine.place / "own.log").write_text("a line\n")
    call = "lpmos_failed 'it ended'"
    machine.run(shell, streaming(machine, region, call, secrets=TaskSecrets()))
    assert len(region.logged) == 3
    assert region.said("failed")[0]["message"] == "it ended"


def timed(machine: Machine, script: str, takes_s: int, ends: int) -> str:
    """The script by a clock of its own, on which each call of the region takes so long."""
    uptime = machine.place / "uptime"
    uptime.write_text("1000.00 10.00\n")
    passes = f"read -r up idle <{uptime}; echo $((${{up%.*}} + takes)).00 0.00 >{uptime}"
    machine.add_program("sleep", f"takes=$1; {passes}")
    machine.add_program("curl", f"takes={takes_s}; {passes}; exit {ends}")
    return script.replace("/proc/uptime", str(uptime))


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(("takes_s", "ends"), [(0, 7), (30, 28), (29, 0)])
def test_rest_of_a_log_is_handed_in_for_five_minutes_however_long_a_call_takes(
    shell: list[str], takes_s: int, ends: int, machine: Machine, region: Region
) -> None:
    (machine.place / "own.log").write_text("a line\n" * 3_000)
    script = streaming(machine, region, "lpmos_stream last", secrets=TaskSecrets())
    done = machine.run(shell, timed(machine, script, takes_s, ends))
    assert (done.returncode, done.stderr) == (0, "")
    assert 1_280 <= seconds(machine) <= 1_300 + takes_s + 10


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("takes_s", [0, 30])
def test_last_word_is_tried_for_five_minutes_however_long_a_call_takes(
    shell: list[str], takes_s: int, machine: Machine, region: Region
) -> None:
    script = streaming(machine, region, "lpmos_insist url /dev/null", secrets=TaskSecrets())
    done = machine.run(shell, timed(machine, script, takes_s, 28))
    assert (done.returncode, done.stderr) == (1, "")
    assert 1_300 <= seconds(machine) <= 1_300 + takes_s + 10


def seconds(machine: Machine) -> int:
    """What the clock says that `timed` made."""
    return int((machine.place / "uptime").read_text().partition(".")[0])
