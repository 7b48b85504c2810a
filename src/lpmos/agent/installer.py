"""One install from an approved plan to a disk that boots: the order of the steps, and nothing else.

The rule (G5): `run` returns only if every step succeeded and everything is on the disk and
unmounted. Otherwise it raises, nothing stays mounted, and a disk that was begun is left blank.
"""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from lpmos.agent.bootloader import ESP_DIRECTORY, BootLoader
from lpmos.agent.commands import Commands
from lpmos.agent.console import Console
from lpmos.agent.disk import DiskWriter, Formatted, find, refuse_in_use, refuse_new_contents
from lpmos.agent.errors import Stopped
from lpmos.agent.image import ImageStream
from lpmos.agent.inventory.disks import NOT_DISKS, blkid_probe
from lpmos.agent.inventory.platform import read_boot_mode
from lpmos.agent.inventory.tree import Tree
from lpmos.agent.mounts import Mounts
from lpmos.agent.pace import Pace
from lpmos.agent.plan import Plan
from lpmos.agent.region import Region
from lpmos.agent.reporter import Progress
from lpmos.agent.rootfiles import RootFiles
from lpmos.agent.stop import Stop

TARGET = Path("/mnt/target")
_MB = 1_000_000
_TAR = ("tar", "-x", "-p", "--numeric-owner", "--xattrs", "--xattrs-include=*", "--acls")


class Job(NamedTuple):
    """What an install works with: where from, who is told, who may stop it.

    `first_boot_token` is for the installed system alone; it is written to the disk and not said.
    """

    region: Region
    console: Console
    stop: Stop
    pace: Pace
    report: Callable[[Progress], None]
    first_boot_token: str = ""

    def at(self, stage: str, percentage: float, message: str) -> None:
        """Say and report a step that begins now.

        Raises:
            Stopped: the run was told to end.
        """
        self.stop.check()
        self.console.info(f"{percentage:3.0f}% {stage}: {message}")
        self.report(Progress(stage, percentage, message))


class Installer:
    """Installs on this machine's disk."""

    def __init__(
        self,
        commands: Commands,
        tree: Tree,
        job: Job,
        *,
        target: Path = TARGET,
        not_disks: re.Pattern[str] = NOT_DISKS,
    ) -> None:
        self._commands = commands
        self._tree = tree
        self._job = job
        self._target = target
        self._not_disks = not_disks

    def run(self, plan: Plan) -> None:
        """Install.

        Raises:
            InstallError: a step failed.
            Stopped: the region ended the install.
            Exception: a defect of the agent; the disk is blanked as for a failed step.
        """
        job = self._job
        job.at("partitioning", 0, f"checking {plan.disk.device}")
        name = find(self._tree, plan.disk, self._not_disks)
        refuse_in_use(self._tree, name)
        probe = blkid_probe(self._commands, self._tree)
        refuse_new_contents(self._tree, name, plan.disk, probe)
        writer = DiskWriter(self._commands, self._tree, job.stop, name)
        try:
            self._write(plan, writer)
        except Stopped:
            raise
        except Exception:
            writer.blank()
            raise

    def _write(self, plan: Plan, writer: DiskWriter) -> None:
        job = self._job
        job.at("partitioning", 2, f"partitioning {writer.device}")
        writer.partition(plan.disk.partitions)
        job.at("partitioning", 10, "making file systems")
        disk = writer.format(plan.disk)
        with Mounts(self._commands, job.console) as mounts:
            job.at("partitioning", 18, "mounting")
            mounts.mount(disk.root, self._target, "-t", "ext4")
            if disk.esp is not None:
                esp = self._target / ESP_DIRECTORY.lstrip("/")
                mounts.mount(disk.esp, esp, "-t", "vfat")
            self._unpack(plan)
            self._configure(plan, disk, mounts)
            job.at("configuring", 95, "writing everything to the disk")
            mounts.unmount_all()
        self._commands.run(["sync"])

    def _unpack(self, plan: Plan) -> None:
        job, image = self._job, plan.image
        job.at("downloading", 20, f"{image.name}, {image.size_bytes / _MB:.0f} MB")
        pipeline = self._commands.pipeline(
            ["zstd", "-dc"], [*_TAR, "-C", str(self._target), "-f", "-"]
        )
        try:
            ImageStream(job.region, job.console, job.stop, job.pace, time.monotonic).stream(
                image, pipeline, lambda done, rate: job.report(downloading(plan, done, rate))
            )
            job.at("installing", 60, "unpacking the last of it")
            pipeline.finish()
        except BaseException:
            pipeline.abort()
            raise

    def _configure(self, plan: Plan, disk: Formatted, mounts: Mounts) -> None:
        job = self._job
        job.at("installing", 70, f"writing {len(plan.files)} files for {plan.hostname}")
        placeholders = {"ROOT_UUID": disk.root_uuid, "ESP_UUID": disk.esp_uuid or ""}
        placeholders["FIRST_BOOT_TOKEN"] = job.first_boot_token
        files = RootFiles(self._target, placeholders)
        files.reset_machine_id()
        for file in (*plan.files, *plan.first_boot):
            files.write(file)
        loader = BootLoader(
            self._commands,
            job.console,
            mounts,
            self._target,
            disk,
            tree=self._tree,
        )
        job.at("installing", 75, "boot loader for BIOS")
        loader.prepare()
        if plan.disk.partition("bios_boot") is not None:
            loader.install_bios()
        if disk.esp is not None:
            job.at("installing", 82, "boot loader for UEFI")
            loader.install_uefi()
        job.at("configuring", 90, "boot menu")
        loader.write_config(files, plan)
        if disk.esp is not None and read_boot_mode(self._tree) == "uefi":
            job.at("configuring", 92, "firmware boot order")
            loader.set_firmware_entry(plan.boot_entry)


def downloading(plan: Plan, bytes_done: int, bytes_per_second: float) -> Progress:
    """The progress of the stage `downloading`, which goes from 20 to 60."""
    total = plan.image.size_bytes
    message = (
        f"{plan.image.name}: {bytes_done / _MB:.0f} of {total / _MB:.0f} MB,"
        f" {bytes_per_second / _MB:.1f} MB/s"
    )
    return Progress(
        "downloading",
        round(20 + 40 * bytes_done / total, 2),
        message,
        bytes_done,
        total,
        round(bytes_per_second, 1),
    )
