"""What the agent image's first process does at its end, and about panics: its own functions, in a
mount namespace in which the kernel's files are the test's.
"""

import subprocess
from pathlib import Path

import pytest

from lpmos.images.agent_contents import AGENT_ROOT

INIT = AGENT_ROOT / "init"
FUNCTIONS = INIT.read_text().partition("\nmount_all\n")[0]
"""All before the first thing that it does."""
TIMEOUT_S = 30
DISK = "8 0 sda {reads} 0 80 1 {writes} 0 160 2 {waiting} {ms} 30 {discards} 0 0 0 {flushes} 5"
IDLE = {"reads": 10, "writes": 1, "waiting": 1, "ms": 7, "discards": 0, "flushes": 5}


def played(place: Path, files: dict[str, str], script: str) -> str:
    """What `script` says after init's functions, where `files` are those of /proc."""
    binds = []
    for name, content in files.items():
        own = place / name.replace("/", ".")
        own.write_text(content)
        binds.append(f"mount --bind {own} /proc/{name}")
    lines = "\n".join([*binds, FUNCTIONS, script])
    run = ["unshare", "--mount", "--propagation", "private", "sh", "-euc", lines]
    return subprocess.check_output(run, text=True, timeout=TIMEOUT_S)


@pytest.mark.parametrize(
    ("line", "seconds"),
    [("console=ttyS0 quiet", "180"), ("panic=30 quiet", "0"), ("panic=180 panic=-1", "0")],
)
def test_time_after_a_panic_is_the_kernel_lines_where_it_has_one(
    tmp_path: Path, line: str, seconds: str
) -> None:
    files = {"cmdline": f"{line}\n", "sys/kernel/panic": "0\n"}
    said = played(tmp_path, files, "restart_after_panic; cat /proc/sys/kernel/panic")
    assert said.split() == [seconds]


@pytest.mark.parametrize("moves", ["reads", "writes", "discards", "flushes"])
def test_restart_is_awaited_while_a_disk_completes_something(tmp_path: Path, moves: str) -> None:
    for look in range(1, 4):
        (tmp_path / f"{look}").write_text(DISK.format(**IDLE | {moves: 100 + look}) + "\n")
    said = _awaited(tmp_path)
    assert said == ["120"] * 4, "three times it had moved, once not"


@pytest.mark.parametrize("moves", ["waiting", "ms"])
def test_disk_that_only_has_something_to_do_is_not_awaited(tmp_path: Path, moves: str) -> None:
    for look in range(1, 4):
        (tmp_path / f"{look}").write_text(DISK.format(**IDLE | {moves: 100 + look}) + "\n")
    assert _awaited(tmp_path) == ["120"]


def _awaited(place: Path) -> list[str]:
    """For how many seconds each it slept, while the disks went on to 1, 2, 3 at each."""
    script = f"""
    look=0
    sleep() {{
        echo "$1"
        look=$((look + 1))
        [ ! -e {place}/$look ] || cat {place}/$look >/proc/diskstats
    }}
    await_restart
    """
    return played(place, {"diskstats": DISK.format(**IDLE) + "\n"}, script).split()
