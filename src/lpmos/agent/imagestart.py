"""What starts a disk that an image brought: the loader that this machine's firmware would find.

The rule: a disk that nothing can start is a failed install with what was found as its evidence.
Firmware without a boot entry of its own starts `\\EFI\\BOOT\\BOOTX64.EFI` (UEFI 2.10, 3.5.1.1); a
BIOS starts the code in the first 440 bytes of the disk where 0x55AA ends its first sector.
"""

from pathlib import Path

from lpmos.agent.errors import InstallError
from lpmos.agent.inventory.tree import Tree

REMOVABLE = ("EFI", "BOOT", "BOOTX64.EFI")
CODE_BYTES = 440
_LOADERS = ("shimx64.efi", "grubx64.efi", "systemd-bootx64.efi")
_HINT = "Use an image with a boot loader for this firmware, or change the firmware's boot mode."
_LISTED = 40


def find_loader(esp: Path, image: str) -> str:
    """The loader in an EFI system partition mounted at `esp`, as firmware writes its path.

    Raises:
        InstallError: there is none.
    """
    if removable := _found(esp, REMOVABLE):
        return removable
    for name in _LOADERS:
        for directory in _names(esp / _name(esp, "EFI")):
            if found := _found(esp, ("EFI", directory, name)):
                return found
    files = sorted(str(path.relative_to(esp)) for path in esp.rglob("*") if path.is_file())
    raise InstallError(
        f"image {image} has no UEFI loader, so this machine could not start it: there is no"
        " \\EFI\\BOOT\\BOOTX64.EFI in its EFI system partition",
        command=f"ls {esp}",
        output="\n".join(files[:_LISTED]) or "the partition is empty",
        hint=_HINT,
    )


def check_bios(tree: Tree, device: str, image: str) -> None:
    """Go on only if a BIOS finds code at the beginning of the disk.

    Raises:
        InstallError: there is none.
    """
    sector = tree.data(device.lstrip("/"), 512) or b""
    if sector[510:] == b"\x55\xaa" and any(sector[:CODE_BYTES]):
        return
    raise InstallError(
        f"image {image} has no boot loader for BIOS, with which this machine started",
        command=f"head -c 512 {device}",
        output=f"code: {sector[:16].hex()}…, signature: {sector[510:].hex() or 'none'}",
        hint=_HINT,
    )


def no_esp(image: str, partitions: str) -> InstallError:
    """The error for a machine with UEFI, and an image without an EFI system partition."""
    return InstallError(
        f"image {image} has no EFI system partition, and this machine started with UEFI",
        command="sfdisk --json",
        output=partitions,
        hint=_HINT,
    )


def _found(esp: Path, parts: tuple[str, ...]) -> str | None:
    """The path of a file, whatever the case of its letters: FAT knows none."""
    place, names = esp, []
    for part in parts:
        name = _name(place, part)
        place /= name
        names.append(name)
    return "\\" + "\\".join(names) if place.is_file() else None


def _name(place: Path, wanted: str) -> str:
    return next((name for name in _names(place) if name.upper() == wanted.upper()), wanted)


def _names(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir()) if place.is_dir() else []
