"""What an agent is told to do once it is approved: exact disk, exact image, exact files.

This is the wire shape of the plan in `GET /agent/approval/{mac}`. The agent decides nothing that a
person did not see: it checks that the disk is still the one named here, and follows.
"""

from typing import Literal

import msgspec

from lpmos.model.diskplan import DiskPlan
from lpmos.model.image import ImageFormat
from lpmos.model.installer import InstallerPlan
from lpmos.model.job import JobPlan


class ImageSource(msgspec.Struct, frozen=True, kw_only=True):
    """The root archive, or the disk of `disk_bytes` that an image of a whole disk unpacks to.

    `url` is a path on the region, `sha256` of the bytes there in lower-case hex.
    """

    name: str
    url: str
    sha256: str
    size_bytes: int
    unpacked_bytes: int
    format: ImageFormat
    disk_bytes: int | None = None


class PlannedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file written into the new root, after the image and before the boot loader."""

    path: str
    content: str
    mode: int = 0o644


class FirstBoot(msgspec.Struct, frozen=True, kw_only=True):
    """What makes the installed system say once that it came up: files like those of the plan.

    `{{FIRST_BOOT_TOKEN}}` in them stands for a secret that the agent makes: the new disk alone has
    it, and the region learns its digest with the agent's last word.
    """

    files: tuple[PlannedFile, ...]


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A script for /bin/sh that runs as root in the new system, before it is ever started.

    `secrets` are texts in it that must not be said, wherever they turn up in its output.
    """

    title: str
    script: str
    timeout_s: int
    secrets: tuple[str, ...] = ()


class InstallPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One installation. `intent_id` must be claimed before the disk is touched.

    Without `first_boot` the agent's word that all is written completes the task. With `installer`
    there is no image: the agent writes nothing, and hands over to the distribution's installer.
    `disk_passphrase` is for a disk plan that encrypts, and said nowhere else.
    `steps` run in the new root in this order; where one fails, so does the install.
    """

    task_id: str
    intent_id: str
    hostname: str
    image: ImageSource | None = None
    installer: InstallerPlan | None = None
    disk: DiskPlan
    files: tuple[PlannedFile, ...]
    boot_loader: Literal["grub", "grub-steps", "image"] = "grub"
    boot_entry: str
    kernel_arguments: str
    first_boot: FirstBoot | None = None
    steps: tuple[Step, ...] = ()
    disk_passphrase: str | None = None


class JobOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A job, in place of an installation: `intent_id` must be claimed before its first step.

    An agent that knows no jobs refuses the word of `boot_loader` before it writes. `ssh_keys` are
    there only where a step lets their holders in.
    """

    task_id: str
    intent_id: str
    hostname: str
    boot_loader: Literal["job"] = "job"
    job: JobPlan
    ssh_keys: tuple[str, ...] = ()
