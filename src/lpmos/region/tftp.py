"""The TFTP root: the boot loaders of the distribution's iPXE, copied whole before DHCP starts.

A loader that the operator put beside them goes before the distribution's.
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
        partial = root / f".{name}.partial"
        shutil.copyfile(file, partial)
        partial.replace(root / name)
    partial = root / f".{PROBE_FILE}.partial"
    partial.write_bytes(PROBE_TEXT)
    partial.replace(root / PROBE_FILE)
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
        partial = root / f".{name}.partial"
        shutil.copyfile(file, partial)
        partial.replace(root / name)
    entry = root / grub.ENTRY_FILE
    entry.parent.mkdir(exist_ok=True)
    partial = entry.with_suffix(".partial")
    partial.write_text(grub.entry_script())
    partial.replace(entry)
    return frozenset(source)


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
