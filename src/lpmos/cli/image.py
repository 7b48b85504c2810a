"""`lpmos image`: build, list and verify images."""

import argparse
import os
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from lpmos.images.agent_image import RELEASE_LEVEL as AGENT_LEVEL
from lpmos.images.agent_image import BuiltAgent, build_agent_image
from lpmos.images.build_display import build_display
from lpmos.images.catalog import Catalog
from lpmos.images.debian_image import build_debian_image

IMAGES_DIR = Path("/var/lib/lpmos/images")
CACHE_DIR = Path("/var/cache/lpmos")
MB = 1_000_000


def _directory(text: str) -> Path:
    """A path that means the same to every program that is started with it."""
    return Path(text).absolute()


def add_commands(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `image` with its own subcommands."""
    image = commands.add_parser("image", help="build, list and verify images")
    kinds = image.add_subparsers(title="commands", metavar="COMMAND", required=True)

    agent = _command(kinds, "build-agent", _build_agent, "build the boot agent's RAM image")
    agent.add_argument(
        "--level", type=int, default=AGENT_LEVEL, help="zstd level, 1 to 19 (default: %(default)s)"
    )
    build = _command(kinds, "build", _build_os, "build an OS image; needs root")
    build.add_argument("os", choices=["debian"], help="which system")
    for command in (agent, build):
        command.add_argument(
            "--cache-dir",
            type=_directory,
            default=CACHE_DIR,
            help="downloads (default: %(default)s)",
        )
        command.add_argument("--force", action="store_true", help="build also where it is there")
    _command(kinds, "list", _list, "what is there, with sizes and digests")
    verify = _command(kinds, "verify", _verify, "compute an image's digest again")
    verify.add_argument("name", help="the image's name, or `agent`")


def _command(kinds: Any, name: str, run: Any, help_text: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = kinds.add_parser(name, help=help_text, description=help_text)
    command.add_argument(
        "--images-dir",
        type=_directory,
        default=IMAGES_DIR,
        help="the catalog (default: %(default)s)",
    )
    command.set_defaults(run=run)
    return command


def _build_agent(chosen: argparse.Namespace) -> int:
    console = Console()
    with build_display(console, "boot agent") as report:
        built = build_agent_image(
            chosen.images_dir,
            chosen.cache_dir,
            progress=report,
            compression_level=chosen.level,
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


def _build_os(chosen: argparse.Namespace) -> int:
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


def _list(chosen: argparse.Namespace) -> int:
    catalog = Catalog(chosen.images_dir)
    table = Table("name", "OS", "MB", "unpacked MB", "built", "SHA-256", box=None)
    for image in catalog.manifests():
        sizes = (f"{image.size_bytes / MB:.0f}", f"{image.unpacked_bytes / MB:.0f}")
        system = f"{image.os_type} {image.os_version}"
        table.add_row(image.name, system, *sizes, f"{image.built_at:%Y-%m-%d %H:%M}", image.sha256)
    if agent := catalog.agent_manifest():
        size = f"{(agent.kernel.size_bytes + agent.initramfs.size_bytes) / MB:.0f}"
        table.add_row(
            "agent", "boot agent", size, "", f"{agent.built_at:%Y-%m-%d %H:%M}",
            agent.initramfs.sha256,
        )  # fmt: skip
    console = Console()
    console.print(table)
    for name, error in catalog.damaged().items():
        console.print(f"[red]damaged[/] {name}: {error}")
    return 1 if catalog.damaged() else 0


def _verify(chosen: argparse.Namespace) -> int:
    catalog = Catalog(chosen.images_dir)
    if chosen.name == "agent":
        catalog.verify_agent()
    else:
        catalog.verify(chosen.name)
    print(f"{chosen.name}: the digest matches")
    return 0
