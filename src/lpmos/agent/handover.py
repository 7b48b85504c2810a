"""Handing this machine over to its distribution's own installer: loaded into RAM, started by kexec.

The rule: the agent writes nothing to a disk, but for the mark of an installer that cannot read what
names one: an empty partition table with the id of the plan, on the one approved disk. It loads
kernel and initrd, whole and with the planned digests, says its last word, and only then starts
them. Where kexec cannot be (not in the image,
refused by the kernel's lockdown, not wanted by the region), it says so and the machine restarts:
its region then gives it the installer's boot script, once. The kernel line has the installer's
token in it: it is never said, nor are the commands that carry it.

Sources: kexec(8), kernel_lockdown(7), sfdisk(8) for `label-id`.
"""

import re
import time
from pathlib import Path
from typing import Literal, NamedTuple

from lpmos.agent.commands import Commands
from lpmos.agent.diskcheck import Checked, check_disks
from lpmos.agent.diskplan import Disk, parse_disk
from lpmos.agent.errors import InstallError
from lpmos.agent.fields import mapping, not_understood, take
from lpmos.agent.holders import take_apart
from lpmos.agent.image import ImageStream
from lpmos.agent.inventory.tree import Tree
from lpmos.agent.job import Job
from lpmos.agent.layout import DiskWriter
from lpmos.agent.plan import Image
from lpmos.agent.reporter import Progress

STAGE = "handing_over"
END_PERCENT = 2.0
"""All that the agent does is this much of an install: the rest is the installer's."""
DIRECTORY = Path("/run/installer")
KEXEC_TIMEOUT_S = 120.0
_MB = 1_000_000
_UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

Way = Literal["kexec", "restart"]


class Handover(NamedTuple):
    """What is loaded, and how it is started; the disks are those that a person approved."""

    task_id: str
    intent_id: str
    name: str
    kernel: Image
    initrd: Image
    kernel_arguments: str
    by: Way
    disk: Disk
    disk_mark: str | None = None


def parse_handover(document: object) -> Handover | None:
    """Take the plan of an approval, where it is to hand over; None where it is an image's.

    Raises:
        InstallError: a field is missing, of the wrong type, or asks for what this agent cannot do.
    """
    plan = mapping(document, "plan")
    if plan.get("installer") is None:
        return None
    installer = mapping(plan["installer"], "installer")
    return Handover(
        task_id=take(plan, "task_id", str),
        intent_id=take(plan, "intent_id", str),
        name=take(installer, "name", str),
        kernel=_file(installer, "kernel"),
        initrd=_file(installer, "initrd"),
        kernel_arguments=take(installer, "kernel_arguments", str),
        by=_way(installer.get("handover", "kexec")),
        disk=parse_disk(mapping(plan.get("disk"), "disk")),
        disk_mark=_disk_mark(installer),
    )


class HandingOver:
    """Loads an installer on this machine, and starts it."""

    def __init__(
        self, commands: Commands, tree: Tree, job: Job, *, directory: Path = DIRECTORY
    ) -> None:
        self._commands = commands
        self._tree = tree
        self._job = job
        self._directory = directory

    def load(self, handover: Handover) -> str | None:
        """Load kernel and initrd; why the machine has to restart, None where kexec has both.

        Raises:
            InstallError: a disk is not what was approved, or a file cannot be had whole.
            Stopped: the region ended the install.
        """
        self._job.at(STAGE, 0.0, "checking the disks")
        checked = check_disks(self._commands, self._tree, handover.disk)
        if handover.disk_mark is not None:
            self._mark(checked, handover.disk_mark)
        if handover.by == "restart":
            return "its region says so"
        self._job.at(STAGE, 0.0, f"loading the installer {handover.name}")
        self._directory.mkdir(parents=True, exist_ok=True)
        total = handover.kernel.size_bytes + handover.initrd.size_bytes
        kernel = self._fetched(handover.kernel, 0, total)
        initrd = self._fetched(handover.initrd, handover.kernel.size_bytes, total)
        self._job.at(STAGE, END_PERCENT, f"the installer {handover.name} is in RAM")
        # The file-based call takes what is signed under lockdown too; -a falls back to the other.
        given = self._commands.ask(
            [
                *("kexec", "-a", "-l", str(kernel), f"--initrd={initrd}"),
                f"--command-line={handover.kernel_arguments}",
            ],
            timeout_s=KEXEC_TIMEOUT_S,
        )
        for path in (kernel, initrd):
            path.unlink()
        return f"kexec: {_last_line(given.text)}" if given.code else None

    def start(self) -> str:
        """Start what was loaded; returns only where that did not succeed, with the reason."""
        self._job.console.info("starting the installer by kexec")
        # -x, after -e: the interfaces stay up, for the word that it did not succeed.
        ended = self._commands.ask(["kexec", "-e", "-x"], timeout_s=KEXEC_TIMEOUT_S)
        return f"kexec: {_last_line(ended.text)}"

    def _mark(self, checked: Checked, mark: str) -> None:
        """Clear the one disk, and give it the id by which the installer finds it."""
        if len(checked.names) != 1:
            raise InstallError("this installer takes one disk, and the plan has several")
        writer = DiskWriter(self._commands, self._tree, self._job.stop, checked.names[0])
        self._job.at(STAGE, 1.0, f"marking {writer.device} for the installer")
        take_apart(self._commands, self._tree, checked.holders)
        writer.clear("signatures")
        writer.mark(mark)

    def _fetched(self, file: Image, before: int, total: int) -> Path:
        """A file in RAM, whole; a broken download goes on where it broke."""
        job, path = self._job, self._directory / file.name

        def report(done: int, rate: float) -> None:
            job.report(
                Progress(
                    STAGE,
                    round(END_PERCENT * (before + done) / total, 2),
                    f"{file.name}: {done / _MB:.1f} of {file.size_bytes / _MB:.1f} MB",
                    before + done,
                    total,
                    round(rate, 1),
                )
            )

        try:
            with path.open("wb") as sink:
                ImageStream(job.region, job.console, job.stop, job.pace, time.monotonic).stream(
                    file, sink, report
                )
        except OSError as error:
            raise InstallError(
                f"the installer's {file.name} does not fit into this machine's RAM"
                f" ({error.strerror})",
                hint="Give the machine more memory, or install by image.",
            ) from error
        return path


def _file(installer: dict[str, object], name: str) -> Image:
    said = mapping(installer.get(name), f"installer.{name}")
    url = take(said, "url", str)
    if not url.startswith("/") or url.startswith("//"):
        raise not_understood(f"installer.{name}.url", url)
    return Image(
        name=name,
        url=url,
        sha256=take(said, "sha256", str),
        size_bytes=take(said, "size_bytes", int),
        unpacked_bytes=0,
    )


def _disk_mark(installer: dict[str, object]) -> str | None:
    mark = installer.get("disk_mark")
    if mark is None or (isinstance(mark, str) and _UUID.fullmatch(mark)):
        return mark
    raise not_understood("installer.disk_mark", mark)


def _way(said: object) -> Way:
    if said == "kexec":
        return "kexec"
    if said == "restart":
        return "restart"
    raise not_understood("installer.handover", said)


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1][:200] if lines else "it did not say why"
