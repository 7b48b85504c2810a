"""The TFTP root: the boot loaders of the distribution's iPXE, copied whole before DHCP starts."""

import os
import shutil
from pathlib import Path

from lpmos.model.errors import SettingsError
from lpmos.region.dnsmasq import LOADER_FILES, PROBE_FILE

IPXE_DIR = Path("/usr/lib/ipxe")
PROBE_TEXT = b"lpmos\n"


def prepare_root(root: Path, source: Path = IPXE_DIR) -> None:
    """Fill `root` with every loader of the table, each replaced as a whole.

    Raises:
        SettingsError: a loader is missing; the text names the Debian package that has it.
    """
    missing = [name for name in LOADER_FILES if not (source / name).is_file()]
    if missing:
        raise SettingsError(
            f"{', '.join(missing)} not in {source}: install the boot loaders with"
            " `apt-get install ipxe`, or set dhcp_mode to off"
        )
    root.mkdir(parents=True, exist_ok=True)
    for name in LOADER_FILES:
        partial = root / f".{name}.partial"
        shutil.copyfile(source / name, partial)
        partial.replace(root / name)
    partial = root / f".{PROBE_FILE}.partial"
    partial.write_bytes(PROBE_TEXT)
    partial.replace(root / PROBE_FILE)


def program(name: str, package: str) -> str:
    """The path of an external program, also where the administrator's paths are not set.

    Raises:
        SettingsError: it is not installed; the text names its Debian package.
    """
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/bin:/bin")
    if path is None:
        raise SettingsError(f"{name} is not installed: `apt-get install {package}`")
    return path
