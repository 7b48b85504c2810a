"""The distributions' own installers of a directory of this machine: add, remove, list, verify."""

import argparse

from rich.table import Table

from lpmos.images.installers import InstallerFields, Installers
from lpmos.images.windows_files import KINDS, WindowsSources
from lpmos.model.errors import ImageError
from lpmos.model.installer import REQUIRED_BYTES
from lpmos.model.windows import OS_TYPE as WINDOWS

MB = 1_000_000
OWN_REPOSITORY = "/"
"""The region itself: what Windows is installed from is a file of its installer."""


def add_installer(chosen: argparse.Namespace) -> None:
    """Add one; raises as `Installers.add`."""
    windows = _windows_sources(chosen) if chosen.family == WINDOWS else None
    if windows is None and chosen.repository is None:
        raise ImageError(f"an installer of {chosen.family} needs --repository")
    fields = InstallerFields(
        name=chosen.name,
        family=chosen.family,
        os_type=chosen.os_type,
        os_version=chosen.os_version,
        repository=chosen.repository or OWN_REPOSITORY,
        media=chosen.media,
        required_bytes=chosen.required_bytes or REQUIRED_BYTES,
    )
    added = Installers(chosen.images_dir).add(fields, chosen.kernel, chosen.initrd, windows)
    size = (added.kernel.size_bytes + added.initrd.size_bytes) / MB
    print(f"installer {added.name}: {added.os_type} {added.os_version}, {size:.0f} MB")


def _windows_sources(chosen: argparse.Namespace) -> WindowsSources:
    """Windows's own files.

    Raises:
        ImageError: one was not named.
    """
    named = {kind: getattr(chosen, kind) for kind in KINDS}
    if missing := [f"--{kind.replace('_', '-')}" for kind, path in named.items() if path is None]:
        raise ImageError(f"an installer of Windows needs {', '.join(missing)}")
    return WindowsSources(**named, image=chosen.image_index)


def remove_installer(chosen: argparse.Namespace) -> None:
    """Remove one; raises as `Installers.remove`."""
    Installers(chosen.images_dir).remove(chosen.name)
    print(f"installer {chosen.name} removed")


def table_of(installers: Installers) -> Table:
    """The installers, with sizes and digests."""
    table = Table("installer", "OS", "MB", "added", "repository", "SHA-256 of the initrd", box=None)
    for each in installers.manifests():
        size = f"{(each.kernel.size_bytes + each.initrd.size_bytes) / MB:.0f}"
        system = f"{each.os_type} {each.os_version}"
        added = f"{each.added_at:%Y-%m-%d %H:%M}"
        table.add_row(each.name, system, size, added, each.repository, each.initrd.sha256)
    return table
