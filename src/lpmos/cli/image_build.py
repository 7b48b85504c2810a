"""`lpmos image build…`, and the images of a directory of this machine."""

import argparse
import os

from rich.console import Console
from rich.table import Table

from lpmos.cli.image_installer import table_of
from lpmos.images.agent_image import BuiltAgent, build_agent_image
from lpmos.images.build_display import build_display
from lpmos.images.catalog import Catalog
from lpmos.images.debian_image import build_debian_image
from lpmos.images.installers import Installers

MB = 1_000_000


def build_agent(chosen: argparse.Namespace) -> int:
    """Build the RAM image."""
    console = Console()
    with build_display(console, "boot agent") as report:
        built = build_agent_image(
            chosen.images_dir,
            chosen.cache_dir,
            progress=report,
            compression_level=chosen.level,
            firmware=chosen.firmware,
            force=chosen.force,
            mirror=os.environ.get("LPMOS_MIRROR"),
        )
    _show_agent(console, built)
    return 0


def _show_agent(console: Console, built: BuiltAgent) -> None:
    manifest = built.manifest
    table = Table("part", "files", "raw MB", "compressed MB", "what for", box=None)
    for part in manifest.parts:
        sizes = (f"{part.raw_bytes / MB:.2f}", f"{part.compressed_bytes / MB:.2f}")
        table.add_row(part.name, str(part.files), *sizes, part.why)
    console.print(table)
    console.print(
        f"agent image {manifest.version}{' (there already)' if built.reused else ''}: kernel"
        f" {manifest.kernel.size_bytes / MB:.1f} MB, initramfs"
        f" {manifest.initramfs.size_bytes / MB:.1f} MB with {manifest.modules} modules;"
        f" agent and interpreter {manifest.payload_bytes / MB:.1f} MB"
    )
    if built.missing_firmware:
        missing = ", ".join(built.missing_firmware)
        console.print(f"[yellow]firmware packages are missing[/]: the mirror has no {missing}")
    if manifest.modules_wanting_firmware:
        drivers = ", ".join(manifest.modules_wanting_firmware)
        console.print(f"[yellow]without their firmware files[/]: {drivers}")


def build_os(chosen: argparse.Namespace) -> int:
    """Build an OS image."""
    console = Console()
    with build_display(console, "Debian 12") as report:
        built = build_debian_image(
            chosen.images_dir,
            chosen.cache_dir,
            progress=report,
            force=chosen.force,
            mirror=os.environ.get("LPMOS_MIRROR"),
        )
    manifest = built.manifest
    console.print(
        f"image {manifest.name}{' (there already)' if built.reused else ''}:"
        f" {manifest.size_bytes / MB:.0f} MB, {manifest.unpacked_bytes / MB:.0f} MB unpacked,"
        f" {manifest.packages} packages"
    )
    return 0


def list_local(chosen: argparse.Namespace) -> int:
    """What is in the directory, with sizes and digests; 1 where something of it is damaged."""
    catalog = Catalog(chosen.images_dir)
    table = Table("name", "OS", "MB", "unpacked MB", "built", "signed by", "SHA-256", box=None)
    for image in catalog.manifests():
        sizes = (f"{image.size_bytes / MB:.0f}", f"{image.unpacked_bytes / MB:.0f}")
        system = f"{image.os_type} {image.os_version}"
        built = f"{image.built_at:%Y-%m-%d %H:%M}"
        table.add_row(image.name, system, *sizes, built, image.signed_by or "nobody", image.sha256)
    if agent := catalog.agent_manifest():
        size = f"{(agent.kernel.size_bytes + agent.initramfs.size_bytes) / MB:.0f}"
        table.add_row(
            "agent", "boot agent", size, "", f"{agent.built_at:%Y-%m-%d %H:%M}", "",
            agent.initramfs.sha256,
        )  # fmt: skip
    console = Console()
    console.print(table)
    installers = Installers(chosen.images_dir)
    if installers.manifests():
        console.print(table_of(installers))
    damaged = {**catalog.damaged(), **installers.damaged()}
    for name, error in damaged.items():
        console.print(f"[red]damaged[/] {name}: {error}")
    return 1 if damaged else 0


def verify_local(chosen: argparse.Namespace) -> int:
    """Compute a digest again; raises as the catalog does."""
    catalog = Catalog(chosen.images_dir)
    if chosen.name == "agent":
        catalog.verify_agent()
    elif any(each.name == chosen.name for each in Installers(chosen.images_dir).manifests()):
        Installers(chosen.images_dir).verify(chosen.name)
    else:
        catalog.verify(chosen.name)
    print(f"{chosen.name}: the digest matches")
    return 0
