"""What an operator supplies to install Windows, and what each file has to be.

The rule: a file is only taken as what it is called; what a machine would find out in front of an
empty disk is found out here.

Sources: wimboot's documentation (ipxe.org/wimboot), Microsoft's WIM and PE formats, Linux's boot
protocol for the magic of a bzImage, which wimboot is as well.
"""

import re
import struct
from pathlib import Path
from typing import NamedTuple

from lpmos.images.wim import AMD64, Wim, WimImage, read_wim
from lpmos.model.errors import ImageError
from lpmos.model.installer import REQUIRED_BYTES, FileRef, WindowsFiles

KINDS = ("bcd", "boot_sdi", "curl", "install")
"""The files beside kernel and initrd, by the fields of `WindowsFiles`."""
LANGUAGE = "en-US"
_TAG = re.compile("[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}")
_PE_AT = 0x3C
_AMD64_MACHINE = 0x8664
_WORK_BYTES = 8 * 1024**3
"""What Windows takes while it is installed, above its files and the WIM beside them."""


class WindowsSources(NamedTuple):
    """Where the files are, and which image of `install` is taken."""

    bcd: Path
    boot_sdi: Path
    curl: Path
    install: Path
    image: int = 1

    def paths(self) -> dict[str, Path]:
        """The files by their kinds."""
        return {kind: getattr(self, kind) for kind in KINDS}


class Checked(NamedTuple):
    """The image that is taken, and whether its file has hashes to check it by."""

    image: WimImage
    integrity: bool
    install_bytes: int

    @property
    def required_bytes(self) -> int:
        """What the disk has to offer."""
        needed = self.image.total_bytes + self.install_bytes + _WORK_BYTES
        return max(REQUIRED_BYTES, needed)

    def files(self, references: dict[str, FileRef]) -> WindowsFiles:
        """What the manifest says of them."""
        language = self.image.language if _TAG.fullmatch(self.image.language) else LANGUAGE
        return WindowsFiles(
            **{kind: references[kind] for kind in KINDS},
            index=self.image.number,
            image_name=self.image.name,
            language=language,
            integrity=self.integrity,
        )


def check_windows(wimboot: Path, boot_wim: Path, sources: WindowsSources) -> Checked:
    """See whether all of it is what it is called, for 64-bit x86.

    Raises:
        ImageError: a file is not there, or is something else; it is named.
    """
    begins = {
        wimboot: (b"MZ", "wimboot"),
        sources.bcd: (b"regf", "a BCD: the media has it as boot/bcd"),
        sources.boot_sdi: (b"$SDI0001", "a boot.sdi: the media has it as boot/boot.sdi"),
        sources.curl: (b"MZ", "curl.exe for Windows"),
    }
    for path, (magic, what) in begins.items():
        if not _bytes(path, 0, len(magic)) == magic:
            raise ImageError(f"{path} is not {what}")
    if _bytes(wimboot, 0x202, 4) != b"HdrS":
        raise ImageError(f"{wimboot} is not wimboot")
    if _machine(sources.curl) != _AMD64_MACHINE:
        raise ImageError(f"{sources.curl} is no program for 64-bit Windows (x64)")
    boot = read_wim(boot_wim)
    if boot.image(boot.boot_index) is None:
        raise ImageError(f"{boot_wim} has no image that starts: take boot.wim of the media")
    install = read_wim(sources.install)
    _of_x86_64(boot_wim, boot, boot.boot_index)
    image = _of_x86_64(sources.install, install, sources.image)
    return Checked(image, install.integrity, sources.install.stat().st_size)


def _of_x86_64(path: Path, wim: Wim, number: int) -> WimImage:
    image = wim.image(number)
    if image is None:
        known = ", ".join(f"{each.number} {each.name}" for each in wim.images)
        raise ImageError(f"{path} has no image {number}; it has: {known}")
    if image.architecture != AMD64:
        raise ImageError(f"image {number} of {path} is not for 64-bit x86")
    return image


def _machine(path: Path) -> int | None:
    """The processor that a PE program is for."""
    try:
        (at,) = struct.unpack("<I", _bytes(path, _PE_AT, 4))
        head = _bytes(path, at, 6)
        return int(struct.unpack("<H", head[4:])[0]) if head[:4] == b"PE\0\0" else None
    except struct.error:
        return None


def _bytes(path: Path, offset: int, count: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(count)
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror}") from error
