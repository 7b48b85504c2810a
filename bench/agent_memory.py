"""Peak memory of the agent that installs: the same for an image four times as large.

    python -m bench.agent_memory [--megabytes 128]

The agent's own code installs images of random bytes onto loop devices, with the programs of an
install (sfdisk, mkfs, zstd, tar) but for those of the new root, which holds none. Each install is
in a process of its own that has nothing but the agent (`bench.one_install`); what is said of it is
the kernel's word: the larger of its `VmHWM` and the peak of the largest of the programs that it
started (getrusage(2), which counts each from its fork on). The image comes over loopback from a
plain file server. Needs root. Ends with status 1 where a limit is missed.
"""

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

import msgspec
from bench import report
from bench.file_serving import answers, child, wait_for

from lpmos.model.diskplan import DiskPlan, Partition
from lpmos.model.installplan import ImageSource, InstallPlan, PlannedFile
from tests.support.disk_images import loop_device
from tests.support.etcd import free_port

MEGABYTES = 128
TIMES = 4
ROUNDS = 3
FLAT = 1.1
LEAST_MBIT = 100.0
INSTALL_TIMEOUT_S = 600.0
BLOCK_BYTES = 1 << 20
SPARE_BYTES = 256 << 20
ROOT_FILES = {"boot/vmlinuz-6.1.0-9": "kernel", "boot/initrd.img-6.1.0-9": "initrd"}


class Peak(NamedTuple):
    """Of one install: MB of the agent or of its largest program, and the seconds that it took."""

    memory_mb: float
    took_s: float


def make_image(directory: Path, megabytes: int) -> Path:
    """A root archive of so many random bytes, which no compression makes smaller."""
    root = directory / f"root-{megabytes}"
    for name, content in ROOT_FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    (root / "etc").mkdir()
    (root / "etc/machine-id").write_text("0" * 32 + "\n")
    with (root / "random").open("wb") as file:
        for _ in range(megabytes * 1_000_000 // BLOCK_BYTES):
            file.write(os.urandom(BLOCK_BYTES))
    archive = directory / f"image-{megabytes}.tar.zst"
    pack = f"tar -C {root} -c . | zstd -q -3 -o {archive}"
    subprocess.run(["sh", "-c", pack], check=True, timeout=INSTALL_TIMEOUT_S)
    return archive


def plan_of(archive: Path, device: str, disk_bytes: int) -> InstallPlan:
    """The install of an archive onto a whole loop device."""
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    size_bytes = archive.stat().st_size
    return InstallPlan(
        task_id="00000000-0000-4000-8000-000000000001",
        intent_id="bench",
        hostname="bench",
        image=ImageSource(
            name="bench", url=f"/{archive.name}", sha256=digest, size_bytes=size_bytes,
            unpacked_bytes=size_bytes, format="tar.zst",
        ),
        disk=DiskPlan(
            device=f"/dev/{device}",
            size_bytes=disk_bytes,
            partitions=(
                Partition(number=1, role="bios_boot", size_bytes=1 << 20, filesystem=None),
                Partition(number=2, role="root", size_bytes=None, filesystem="ext4"),
            ),
        ),
        files=(PlannedFile(path="/etc/hostname", content="bench\n"),),
        boot_entry="lpmos",
        kernel_arguments="console=ttyS0",
    )  # fmt: skip


def install(archive: Path, url: str) -> Peak:
    """Install once, onto a disk of its own."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        disk_bytes = archive.stat().st_size + SPARE_BYTES & -BLOCK_BYTES
        with (directory / "disk").open("wb") as file:
            file.truncate(disk_bytes)
        with loop_device(directory / "disk") as device:
            plan = directory / "plan"
            plan.write_bytes(msgspec.json.encode(plan_of(archive, device, disk_bytes)))
            said = subprocess.run(
                [sys.executable, "-m", "bench.one_install", str(plan), url, name],
                stdout=subprocess.PIPE, text=True, timeout=INSTALL_TIMEOUT_S, check=False,
            )  # fmt: skip
    if said.returncode:
        sys.exit(f"the install of {archive.name} failed:\n{said.stdout}")
    agent_kb, program_kb, took_s = json.loads(said.stdout.splitlines()[-1])
    return Peak(max(agent_kb, program_kb) * 1024 / 1e6, took_s)


@contextlib.contextmanager
def served(directory: Path) -> Iterator[str]:
    """A plain file server of a directory; its URL."""
    port = free_port()
    where = ["--bind", "127.0.0.1", "--directory", str(directory), str(port)]
    with child([sys.executable, "-m", "http.server", *where]) as process:
        wait_for(lambda: answers(port), process)
        yield f"http://127.0.0.1:{port}"


def measure(megabytes: int, rounds: int) -> list[report.Row]:
    """All rows: images of both sizes in turns."""
    sizes = (megabytes, TIMES * megabytes)
    peaks: dict[int, list[Peak]] = {size: [] for size in sizes}
    with tempfile.TemporaryDirectory() as name, served(Path(name)) as url:
        archives = {size: make_image(Path(name), size) for size in sizes}
        for _ in range(rounds):
            for size in sizes:
                peaks[size].append(install(archives[size], url))
    small, large = ([*zip(*peaks[size], strict=True)] for size in sizes)
    rate = TIMES * megabytes * 8 / median(large[1])
    return [
        report.compared(
            f"peak of the agent, image {TIMES} times as large", max(large[0]), "MB",
            ("the smaller one", max(small[0])), at_most=FLAT,
            note=f"{sizes[1]} MB, {rounds} installs of each; its largest program included",
        ),
        report.limited(
            "install to a loop device, bytes of the image", rate, "Mbit/s", at_least=LEAST_MBIT
        ),
    ]  # fmt: skip


def main() -> int:
    """Measure and report; 1 where a limit is missed."""
    parser = report.parser(__doc__)
    parser.add_argument("--megabytes", type=int, default=MEGABYTES, help="of the smaller image")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    chosen = report.chosen(parser, {"megabytes": 8, "rounds": 1})
    return report.end(measure(chosen.megabytes, chosen.rounds), chosen)


if __name__ == "__main__":
    sys.exit(main())
