"""What the scripts of answer files tell of an installer: its log, its end, its standing still."""

import shutil
import subprocess

import pytest

from lpmos.install import answers
from lpmos.install.answers import samples, scripts
from lpmos.install.answers.order import order_of
from lpmos.model.setup import TaskSecrets
from lpmos.model.trace import root_of
from tests.support.answer_scripts import (
    SHELLS,
    SIZE_BYTES,
    TIMEOUT_S,
    Machine,
    Region,
    answer_scripts,
)
from tests.support.answers import answer_task


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
        machine.add_program("sleep", 'command -p sleep "$1"')
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
    machine.add_disk("sdx", SIZE_BYTES, {"serial": b"DISK-a"})
    log = machine.place / "var/log/YaST2/y2log"
    log.parent.mkdir(parents=True)
    imported = r"""entering Import with [{"crypt_key"=>"it's \"k\#{3}\\"}]"""
    log.write_text(f"<3> install(1) no product\nthe token is s3cret-1\n{imported}\n")
    profile = machine.place / "tmp/profile/autoinst.xml"
    profile.parent.mkdir(parents=True)
    profile.touch()
    secrets = TaskSecrets(values={"TOKEN": "s3cret-1"}, disk_passphrase="it's \"k#{3}\\")
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
        *("the installer gave up", "<3> install(1) no product"),
        *("(a line with a secret)", "(a line with a secret)"),
    ]


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
