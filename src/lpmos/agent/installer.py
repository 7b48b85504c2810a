"""One install from an approved plan to disks that boot: the order of the steps, and nothing else.

The rule (G5): `run` returns only if every step succeeded and everything is on the disks and
unmounted. Otherwise it raises, nothing stays mounted, and disks that were begun are left blank,
also where the install was cancelled: half a system must not start. Only where another run has
taken the install over is nothing written any more: the disks may have its work on them.
"""

import re
import time
from pathlib import Path

from lpmos.agent.bootloader import BootLoader
from lpmos.agent.commands import Commands
from lpmos.agent.diskcheck import check_disks
from lpmos.agent.diskimage import DiskImageInstall, refuse_too_large
from lpmos.agent.errors import TakenOver
from lpmos.agent.hardwaresigns import heard_of
from lpmos.agent.image import ImageStream
from lpmos.agent.imageroot import check_architecture
from lpmos.agent.inventory.disks import NOT_DISKS
from lpmos.agent.inventory.platform import read_boot_mode
from lpmos.agent.inventory.tree import Tree
from lpmos.agent.job import MB, Job, downloading
from lpmos.agent.mounts import Mounts
from lpmos.agent.plan import Plan
from lpmos.agent.reporter import Progress
from lpmos.agent.rootfiles import RootFiles
from lpmos.agent.steps import StepRunner
from lpmos.agent.storage import Storage, System
from lpmos.agent.ticking import TICK_S, ticking

TARGET = Path("/mnt/target")
_TAR = ("tar", "-x", "-p", "--numeric-owner", "--xattrs", "--xattrs-include=*", "--acls", "-b128")
"""It reads 64 KiB at once; 10 KiB, as it does of itself, take a fifth more time in all."""


class Installer:
    """Installs on this machine's disks."""

    def __init__(
        self,
        commands: Commands,
        tree: Tree,
        job: Job,
        *,
        target: Path = TARGET,
        not_disks: re.Pattern[str] = NOT_DISKS,
        tick_s: float = TICK_S,
    ) -> None:
        """`tick_s` is how often an erase says that it goes on."""
        self._commands = commands
        self._tree = tree
        self._job = job
        self._target = target
        self._not_disks = not_disks
        self._tick_s = tick_s

    def run(self, plan: Plan) -> Storage:
        """Install; returns what was written on, which can still be left blank.

        Raises:
            InstallError: a step failed.
            Stopped: the run was told to end.
            Exception: a defect of the agent; the disks are left as after a failed step.
        """
        job, disk = self._job, plan.disk
        job.at("partitioning", 0, f"checking {', '.join(d.device for d in disk.disks)}")
        refuse_too_large(plan)
        checked = check_disks(self._commands, self._tree, disk, self._not_disks)
        storage = Storage(
            self._commands,
            self._tree,
            job.stop,
            disk,
            checked.names,
            passphrase=plan.disk_passphrase or "",
        )
        storage.check_erase()
        try:
            with heard_of(self._tree, *checked.names):
                self._write(plan, storage, checked.holders)
        except TakenOver:
            raise
        except Exception:
            storage.blank()
            raise
        return storage

    def _write(self, plan: Plan, storage: Storage, holders: tuple[str, ...]) -> None:
        job = self._job
        what = f"clearing {', '.join(storage.devices)}"
        job.at("partitioning", 2, what)
        tell = lambda passed: job.report(Progress("partitioning", 2, f"{what} {passed}"))  # noqa: E731
        with ticking(tell, storage.erase_limit_s, tick_s=self._tick_s):
            storage.clear(holders)
        if plan.disk.whole_image:
            image = DiskImageInstall(self._commands, self._tree, job, self._target)
            image.install(plan, storage.devices[0])
        else:
            self._install_root(plan, storage)
        self._commands.run(["sync"])

    def _install_root(self, plan: Plan, storage: Storage) -> None:
        """A root archive onto a layout of ours."""
        job = self._job
        job.at("partitioning", 6, f"partitioning {', '.join(storage.devices)}")
        storage.partition()
        job.at("partitioning", 10, "making file systems")
        system = storage.make()
        with Mounts(self._commands, job.console) as mounts:
            job.at("partitioning", 18, "mounting")
            for device, where, kind in system.mounts():
                mounts.mount(device, self._target / where, "-t", kind)
            self._unpack(plan)
            check_architecture(self._target, plan.image.name)
            self._configure(plan, system, mounts)
            job.at("configuring", 95, "writing everything to the disk")
            for _, where, _ in system.mounts():
                # Unmounting says nothing of what the disk refused to take; this does (syncfs(2)).
                self._commands.run(["sync", "-f", str(self._target / where)])
            storage.check()
            mounts.unmount_all()
        storage.close()

    def _unpack(self, plan: Plan) -> None:
        job, image = self._job, plan.image
        job.at("downloading", 20, f"{image.name}, {image.size_bytes / MB:.0f} MB")
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

    def _configure(self, plan: Plan, system: System, mounts: Mounts) -> None:
        job = self._job
        job.at("installing", 70, f"writing {len(plan.files)} files for {plan.hostname}")
        placeholders = system.placeholders()
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
            system,
            tree=self._tree,
        )
        job.at("installing", 75, "boot loader for BIOS")
        loader.prepare()
        if plan.disk.partition("bios_boot") is not None:
            loader.install_bios()
        if system.esps:
            job.at("installing", 82, "boot loader for UEFI")
            loader.install_uefi()
        StepRunner(self._commands, job.console.info, self._target).run(plan.steps, job.at)
        job.at("configuring", 93, "boot menu")
        loader.renew_initrd()
        loader.write_config(files, plan)
        if system.esps and read_boot_mode(self._tree) == "uefi":
            job.at("configuring", 94, "firmware boot order")
            loader.set_firmware_entries(plan.boot_entry)
        loader.complete_esps()
