"""A distribution's own installer: what a region keeps of it, and how a machine goes over to it.

The rule: a machine gets an installer's kernel only for an approved task that has been claimed, and
only once; its token is that install's alone.
"""

from datetime import datetime
from typing import Literal

import msgspec

Family = Literal["debian", "ubuntu", "rhel", "suse", "windows"]
FAMILIES: tuple[Family, ...] = ("debian", "ubuntu", "rhel", "suse", "windows")
"""By the answer file that they read: preseed, autoinstall, kickstart, AutoYaST, unattend."""

Method = Literal["image", "installer"]
METHODS: tuple[Method, ...] = ("image", "installer")

REQUIRED_BYTES = 8 * 1024**3
"""What a disk must offer where the installer's manifest does not say."""


class FileRef(msgspec.Struct, frozen=True, kw_only=True):
    """A file beside the manifest, named after its digest (SHA-256, lower-case hex)."""

    file: str
    sha256: str
    size_bytes: int


class WindowsFiles(msgspec.Struct, frozen=True, kw_only=True):
    """What Windows needs beside wimboot (the kernel) and the WIM of Windows PE (the initrd).

    `install` is the WIM that is applied, of which the image `index` is taken; `language` is that
    image's own. `integrity`: the WIM has a table of hashes that its reader can check.
    """

    bcd: FileRef
    boot_sdi: FileRef
    curl: FileRef
    install: FileRef
    index: int
    image_name: str
    language: str
    integrity: bool = False


class InstallerManifest(msgspec.Struct, frozen=True, kw_only=True):
    """One installer. `repository` is where its packages come from; Windows's is its own WIM.

    An `http://` or `https://` URL is fetched through the region, which keeps what it served; a path
    (`/…`) is one of the region itself. `media` is the URL of a medium that the kernel loads (of
    Ubuntu the ISO of its live server). `required_bytes` is what it needs of the disk.
    """

    name: str
    family: Family
    os_type: str
    os_version: str
    architecture: Literal["x86_64"] = "x86_64"
    kernel: FileRef
    initrd: FileRef
    repository: str
    media: str | None = None
    required_bytes: int = REQUIRED_BYTES
    windows: WindowsFiles | None = None
    added_at: datetime


class Handover(msgspec.Struct, frozen=True, kw_only=True):
    """How a task's machine was handed over to an installer: by which way, and when.

    By `restart` the machine is given one boot script with the installer, and never another one:
    `script_at` is when it was given.
    """

    by: Literal["kexec", "restart"]
    at: datetime
    script_at: datetime | None = None

    @property
    def script_waits(self) -> bool:
        """Whether the one boot script has still to be given."""
        return self.by == "restart" and self.script_at is None


class InstallerFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that the agent loads: `url` is a path on the region."""

    url: str
    sha256: str
    size_bytes: int


class BootFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that the boot script loads under a name; `url` is a whole one, or a path there."""

    name: str
    url: str


class InstallerPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How the agent hands over: what it loads, and with which kernel line.

    `handover` is `restart` where the region says that kexec shall not be tried. `disk_mark` is the
    id of an empty partition table that the agent writes on the one approved disk, for an installer
    that cannot read what names a disk. `also` is what a boot script loads beside kernel and initrd.
    """

    name: str
    family: Family
    kernel: InstallerFile
    initrd: InstallerFile
    kernel_arguments: str
    handover: Literal["kexec", "restart"] = "kexec"
    disk_mark: str | None = None
    also: tuple[BootFile, ...] = ()
