"""The TFTP root: the boot loaders of the distribution's iPXE, copied whole before DHCP starts.

A loader that the operator put beside them goes before the distribution's. What is there already is
not written again, so that a region starts on a disk that is full.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from lpmos.model.errors import SettingsError
from lpmos.region import grub
from lpmos.region.dnsmasq import LOADER_FILES, OWN_FILES, PROBE_FILE

IPXE_DIR = Path("/usr/lib/ipxe")
SIGNED: Mapping[str, tuple[Path, str]] = MappingProxyType(
    {
        "shimx64.efi": (Path("/usr/lib/shim/shimx64.efi.signed"), "shim-signed"),
        "grubx64.efi": (
            Path("/usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed"),
            "grub-efi-amd64-signed",
        ),
    }
)
"""What Secure Boot starts: the distribution's files by our names, and their Debian packages."""
PROBE_TEXT = b"lpmos\n"


def prepare_root(root: Path, own: Path, source: Path = IPXE_DIR) -> frozenset[str]:
    """Fill `root` with every loader of the table, each replaced as a whole; the names there are.

    Args:
        root: what TFTP serves.
        own: the operator's own loaders, which need not exist.
        source: the distribution's.

    Raises:
        SettingsError: a loader is missing; the text names the Debian package that has it.
    """
    found = {name: _found(name, own, source) for name in LOADER_FILES}
    missing = [name for name, file in found.items() if file is None and name not in OWN_FILES]
    if missing:
        raise SettingsError(
            f"{', '.join(missing)} not in {source}: install the boot loaders with"
            " `apt-get install ipxe`, or set dhcp_mode to off"
        )
    root.mkdir(parents=True, exist_ok=True)
    for name, file in found.items():
        if file is None:
            (root / name).unlink(missing_ok=True)
            continue
        _put(root / name, file.read_bytes())
    _put(root / PROBE_FILE, PROBE_TEXT)
    return frozenset(name for name, file in found.items() if file is not None)


def prepare_signed(
    root: Path, own: Path, source: Mapping[str, tuple[Path, str]] = SIGNED
) -> frozenset[str]:
    """Put beside the loaders what machines with Secure Boot load; the names of that.

    Raises:
        SettingsError: a file is missing; the text names the Debian package that has it.
    """
    for name, (theirs, package) in source.items():
        file = own / name if (own / name).is_file() else theirs
        if not file.is_file():
            raise SettingsError(
                f"{theirs} is missing, which machines with Secure Boot need: `apt-get install"
                f" {package}`, or leave secure_boot out of the network"
            )
        _put(root / name, file.read_bytes())
    entry = root / grub.ENTRY_FILE
    entry.parent.mkdir(exist_ok=True)
    _put(entry, grub.entry_script().encode())
    return frozenset(source)


def _put(place: Path, content: bytes) -> None:
    """Have this content there, and never half of it."""
    if place.is_file() and place.read_bytes() == content:
        return
    partial = place.with_name(f".{place.name}.partial")
    partial.write_bytes(content)
    partial.replace(place)


def _found(name: str, *directories: Path) -> Path | None:
    return next((each / name for each in directories if (each / name).is_file()), None)


def program(name: str, package: str) -> str:
    """The path of an external program, also where the administrator's paths are not set.

    Raises:
        SettingsError: it is not installed; the text names its Debian package.
    """
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/bin:/bin")
    if path is None:
        raise SettingsError(f"{name} is not installed: `apt-get install {package}`")
    return path
