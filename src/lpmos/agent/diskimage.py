"""An install from the image of a whole disk: streamed to the disk, fitted to it, made this
machine's own; its partitions, file systems and boot loader stay the image's.

The rule (G5): what cannot start on this machine is never called installed. The root file system
must be found and be of this architecture, and the firmware that started this machine must find a
loader, before the agent says that it is done.
"""

import time
from pathlib import Path

from lpmos.agent.commands import Commands
from lpmos.agent.disksink import DiskSink
from lpmos.agent.disktable import ESP_TYPES, EXTENDED_TYPES, DiskTable, Entry, Table
from lpmos.agent.efiboot import EFIVARS, FirmwareBoot
from lpmos.agent.errors import InstallError
from lpmos.agent.image import ImageStream
from lpmos.agent.imageroot import ImageRoot, describe, own_host_keys, relabel
from lpmos.agent.imagestart import check_bios, find_loader, no_esp
from lpmos.agent.inventory.disks import blkid_probe
from lpmos.agent.inventory.platform import read_boot_mode
from lpmos.agent.inventory.tree import Tree
from lpmos.agent.job import MB, Job, downloading
from lpmos.agent.layout import DiskWriter
from lpmos.agent.mounts import Mounts
from lpmos.agent.plan import Plan
from lpmos.agent.rootfiles import RootFiles
from lpmos.agent.steps import StepRunner

_FSCK_TIMEOUT_S = 3600.0
_EXT = ("ext2", "ext3", "ext4")
_GROWN_MOUNTED = {"xfs": ("xfs_growfs",), "btrfs": ("btrfs", "filesystem", "resize", "max")}
"""File systems that grow only while they are mounted, each with what does it."""
_FSCK_REPAIRED = 1


def refuse_too_large(plan: Plan) -> None:
    """Go on only if the image's disk is no larger than the one it goes to.

    Raises:
        InstallError: it is.
    """
    needed, has = plan.image.disk_bytes or 0, plan.disk.size_bytes
    if needed > has:
        raise InstallError(
            f"image {plan.image.name} is of a disk of {needed} bytes, {plan.disk.device} has"
            f" {has}; nothing was written",
            hint="Name a larger disk in root_disk, or upload a smaller image.",
        )


class DiskImageInstall:
    """One install of a disk image; the disk was found, checked and cleared before."""

    def __init__(self, commands: Commands, tree: Tree, job: Job, target: Path) -> None:
        self._commands = commands
        self._tree = tree
        self._job = job
        self._target = target
        self._probe = blkid_probe(commands, tree)

    def install(self, plan: Plan, device: str) -> None:
        """Write the image to `device` and make it this machine's.

        Raises:
            InstallError: a step failed, or the image cannot start here.
            Stopped: the region ended the install.
        """
        job = self._job
        self._stream(plan, device)
        job.at("installing", 62, "fitting the partitions to the disk")
        table = self._fit(device)
        with Mounts(self._commands, job.console) as mounts:
            self._grow(table.last, device, mounts)
            job.at("installing", 70, "looking for the system in the image")
            root = ImageRoot(mounts, self._probe, self._target, plan.image.name)
            found = root.mount(table)
            job.console.info(f"the system is on {found.device}")
            loader = self._loader(plan, table, device, mounts)
            self._configure(plan, mounts)
            if loader is not None:
                job.at("configuring", 94, "firmware boot order")
                firmware = FirmwareBoot(self._commands, job.console, self._tree.path(EFIVARS))
                firmware.set_entry(mounts, plan.boot_entry, device, *loader)
            job.at("configuring", 95, "writing everything to the disk")
            for where in mounts.places:
                self._commands.run(["sync", "-f", str(where)])
            mounts.unmount_all()

    def _stream(self, plan: Plan, device: str) -> None:
        job, image = self._job, plan.image
        job.at("downloading", 20, f"{image.name}, {image.size_bytes / MB:.0f} MB")
        place = self._tree.path(device.lstrip("/"))
        sink = DiskSink(place, image.disk_bytes or 0, image.name)
        try:
            pipeline = self._commands.pipeline(["zstd", "-dc"], take=sink.take)
            try:
                ImageStream(job.region, job.console, job.stop, job.pace, time.monotonic).stream(
                    image, pipeline, lambda done, rate: job.report(downloading(plan, done, rate))
                )
                pipeline.finish()
            except BaseException:
                pipeline.abort()
                raise
            job.at("installing", 60, "writing the last of it to the disk")
            sink.finish()
        finally:
            sink.close()
        job.console.info(f"{sink.asked_bytes / MB:.0f} MB of zeros were left to the disk")

    def _fit(self, device: str) -> Table:
        table = DiskTable(self._commands, device).fit()
        self._commands.run(["partx", "--update", device])
        writer = DiskWriter(
            self._commands, self._tree, self._job.stop, device.removeprefix("/dev/")
        )
        writer.await_nodes([entry.number for entry in table.entries])
        return table

    def _grow(self, last: Entry, device: str, mounts: Mounts) -> None:
        """Let the last partition and its file system have the rest of the disk."""
        say = self._job.console.info
        kind = (self._probe(last.device) or {}).get("TYPE", "nothing known")
        if last.kind in (*ESP_TYPES, *EXTENDED_TYPES) or kind not in (*_EXT, *_GROWN_MOUNTED):
            say(f"the last partition {last.device} ({kind}) is left as it is")
            return
        DiskTable(self._commands, device).grow(last)
        self._commands.run(["partx", "--update", "--nr", str(last.number), device])
        if kind in _EXT:
            self._check_ext(last)
            self._commands.run(["resize2fs", last.device], timeout_s=_FSCK_TIMEOUT_S)
        else:
            mounts.mount(last.device, self._target, "-t", kind)
            self._commands.run([*_GROWN_MOUNTED[kind], str(self._target)])
            mounts.unmount_all()
        say(f"{last.device} ({kind}) has the rest of the disk")

    def _check_ext(self, entry: Entry) -> None:
        """`resize2fs` wants a checked file system; that an error was repaired is no failure."""
        argv = ["e2fsck", "-f", "-p", entry.device]
        checked = self._commands.ask(argv, timeout_s=_FSCK_TIMEOUT_S)
        self._job.stop.check()
        if checked.code not in (0, _FSCK_REPAIRED):
            raise InstallError(
                f"the file system on {entry.device} is damaged",
                command=" ".join(argv),
                output=checked.text,
                hint="The image was made of a system that was not shut down: make it again.",
            )

    def _loader(
        self, plan: Plan, table: Table, device: str, mounts: Mounts
    ) -> tuple[int, str] | None:
        """Go on only if this machine can start the disk; under UEFI by which partition and file."""
        if read_boot_mode(self._tree) != "uefi":
            check_bios(self._tree, device, plan.image.name)
            return None
        esps = table.of_types(ESP_TYPES)
        if not esps:
            facts = {entry.number: self._probe(entry.device) or {} for entry in table.entries}
            raise no_esp(plan.image.name, describe(table, facts))
        where = self._target.with_name(f"{self._target.name}-esp")
        mounts.mount(esps[0].device, where, "-t", "vfat")
        return esps[0].number, find_loader(where, plan.image.name)

    def _configure(self, plan: Plan, mounts: Mounts) -> None:
        job = self._job
        job.at("installing", 75, f"writing {len(plan.files)} files for {plan.hostname}")
        files = RootFiles(self._target, {"FIRST_BOOT_TOKEN": job.first_boot_token})
        files.reset_machine_id()
        for file in (*plan.files, *plan.first_boot):
            files.write(file)
        mounts.mount_kernel(self._target)
        job.at("installing", 85, "SSH host keys")
        own_host_keys(self._commands, self._target)
        StepRunner(self._commands, job.console.info, self._target).run(plan.steps, job.at)
        if relabel(files):
            job.console.info("SELinux labels what was written at the first boot")
