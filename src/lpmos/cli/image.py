"""`lpmos image`: build images on this machine, and keep those of the control plane.

`list` and `verify` ask the control plane; with `--images-dir` they look into a directory here.
"""

import argparse
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lpmos.cli.options import Parser, add_yes, command, group

IMAGES_DIR = Path("/var/lib/lpmos/images")
CACHE_DIR = Path("/var/cache/lpmos")
AGENT_LEVEL = 19
FAMILIES = ("debian", "ubuntu", "rhel", "suse", "windows")
FORMATS = ("tar.zst", "raw", "qcow2", "raw.zst", "raw.gz", "raw.xz")
NETWORKS = ("systemd-networkd", "netplan", "networkmanager", "ifupdown")


def define(image: argparse.ArgumentParser) -> None:
    """The subcommands of `image`."""
    kinds = group(image)
    _define_builds(kinds)
    listing = command(kinds, "list", _list, "list images, with sizes", calls=("GET /images",))
    _local(listing)
    show = command(kinds, "show", _show, "show one image", calls=("GET /images/{name}",))
    _name(show)
    upload = command(
        kinds, "upload", _upload, "upload an image to the control plane",
        calls=(
            "POST /images/uploads", "GET /images/uploads/{upload_id}",
            "PATCH /images/uploads/{upload_id}",
        ),
        more="An image of a directory here brings all that is to be said of it; of another archive"
        " the flags say it. After an interruption the same command goes on from there.",
    )  # fmt: skip
    _name(upload)
    _local(upload)
    _define_upload(upload)
    cancel = command(
        kinds, "cancel-upload", _cancel_upload, "give an unfinished upload up",
        calls=("DELETE /images/uploads/{upload_id}",),
    )  # fmt: skip
    cancel.add_argument("upload_id", metavar="UPLOAD", help="the id that `image upload` said")
    verify = command(
        kinds, "verify", _verify, "compute an image's digest again",
        calls=("POST /images/{name}/verify",),
    )  # fmt: skip
    _name(verify)
    _local(verify)
    _define_signing(kinds)
    _define_installers(kinds)
    delete = command(
        kinds, "delete", _delete, "delete an image that no unfinished task needs",
        calls=("DELETE /images/{name}",),
    )  # fmt: skip
    _name(delete)
    add_yes(delete)


def _define_upload(upload: argparse.ArgumentParser) -> None:
    upload.add_argument(
        "--file", type=Path, metavar="FILE", help="an archive (tar.zst), or the image of a disk"
    )
    upload.add_argument(
        "--format",
        choices=FORMATS,
        help="with --file: what it is; where not given, what its name says",
    )
    upload.add_argument(
        "--family", help="with --file: `debian`; of a disk also `ubuntu`, `rhel`, `suse`, `linux`"
    )
    upload.add_argument("--os", nargs=2, metavar=("TYPE", "VERSION"), help="with --file")
    upload.add_argument(
        "--architecture", choices=("x86_64",), default="x86_64", help="with --file: what it runs on"
    )
    upload.add_argument(
        "--unpacked-bytes", type=int, metavar="N", help="with --file, of an archive"
    )
    upload.add_argument(
        "--network",
        choices=NETWORKS,
        help="with --file, of a disk: what sets up its network (default: systemd-networkd)",
    )
    upload.add_argument(
        "--cloud-init", action="store_true", help="with --file, of a disk: it runs cloud-init"
    )
    upload.add_argument(
        "--first-boot",
        action="store_true",
        help="with --file: what is installed from it can tell its region that it came up",
    )


_WINDOWS_HELP = {
    "bcd": "of Windows: `boot/bcd` of its media",
    "boot-sdi": "of Windows: `boot/boot.sdi` of its media",
    "curl": "of Windows: curl.exe for x64, which Windows PE does not bring",
    "install": "of Windows: `sources/install.wim` of its media",
}


def _define_installers(kinds: Any) -> None:
    add = command(
        kinds, "add-installer", _add_installer, "add a distribution's own installer",
        more="Its kernel and initrd are copied into the directory. A repository that is a URL is"
        " fetched through the region, which keeps what it served.",
    )  # fmt: skip
    _installer_place(add)
    add.add_argument("--family", required=True, choices=FAMILIES, help="which answer file it reads")
    add.add_argument("--os-type", required=True, metavar="TYPE", help="as `debian`")
    add.add_argument("--os-version", required=True, metavar="VERSION", help="as `12`")
    for name in ("kernel", "initrd"):
        add.add_argument(f"--{name}", required=True, type=_directory, metavar="FILE")
    add.add_argument(
        "--repository", metavar="URL", help="where its packages come from; not of Windows"
    )
    add.add_argument("--media", metavar="URL", help="of Ubuntu: the ISO of its live server")
    add.add_argument(
        "--required-bytes", type=int, metavar="N", help="what it needs of the disk (default: 8 GiB)"
    )
    for name in ("bcd", "boot-sdi", "curl", "install"):
        add.add_argument(f"--{name}", type=_directory, metavar="FILE", help=_WINDOWS_HELP[name])
    add.add_argument(
        "--image-index", type=int, default=1, metavar="N",
        help="of Windows: which image of --install (default: %(default)s)",
    )  # fmt: skip
    _installer_place(command(
        kinds, "remove-installer", _remove_installer, "remove an installer of this machine",
    ))  # fmt: skip


def _installer_place(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the installer's name")
    parser.add_argument(
        "--images-dir", type=_directory, default=IMAGES_DIR,
        help="the catalog of a region (default: %(default)s)",
    )  # fmt: skip


def _add_installer(chosen: argparse.Namespace) -> None:
    from lpmos.cli.image_installer import add_installer

    add_installer(chosen)


def _remove_installer(chosen: argparse.Namespace) -> None:
    from lpmos.cli.image_installer import remove_installer

    remove_installer(chosen)


def _define_signing(kinds: Any) -> None:
    keygen = command(
        kinds, "keygen", _keygen, "make a pair of keys to sign images with",
        more="The public key is written beside it, as FILE.pub; regions trust it by"
        " `image_trusted_keys`.",
    )  # fmt: skip
    keygen.add_argument("file", type=Path, metavar="FILE", help="where the private key shall be")
    sign = command(
        kinds, "sign", _sign, "sign what an image's manifest says, its digest included",
        calls=("GET /images/{name}", "PUT /images/{name}/signature"),
        more="The private key stays on this machine.",
    )  # fmt: skip
    _name(sign)
    _local(sign)
    sign.add_argument("--key", type=Path, required=True, metavar="FILE", help="the private key")


def path(chosen: argparse.Namespace, *below: str) -> str:
    """Where the named image is in the API."""
    return "/".join(["images", quote(chosen.name, safe=""), *below])


def _define_builds(kinds: Any) -> None:
    agent = _build(kinds, "build-agent", _build_agent, "build the boot agent's RAM image")
    agent.add_argument(
        "--level", type=int, default=AGENT_LEVEL, help="zstd level, 1 to 19 (default: %(default)s)"
    )
    agent.add_argument(
        "--firmware",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="with the files that drivers load into their devices, from Debian's component"
        " non-free-firmware (default: with them)",
    )
    build = _build(kinds, "build", _build_os, "build an OS image; needs root")
    build.add_argument("os", choices=["debian"], help="which system")


def _build(kinds: Any, name: str, run: Any, help_text: str) -> argparse.ArgumentParser:
    parser: Parser = kinds.add_parser(name, help=help_text, description=help_text)
    for flag, default, what in (
        ("--images-dir", IMAGES_DIR, "the catalog"),
        ("--cache-dir", CACHE_DIR, "downloads"),
    ):
        parser.add_argument(
            flag, type=_directory, default=default, help=f"{what} (default: %(default)s)"
        )
    parser.add_argument("--force", action="store_true", help="build also where it is there")
    parser.set_defaults(run=run)
    return parser


def _directory(text: str) -> Path:
    """A path that means the same to every program that is started with it."""
    return Path(text).absolute()


def _local(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images-dir", type=_directory, help="a directory of this machine")


def _name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the image's name")


# Each command loads only what it works with: the builders, or the client.


def _build_agent(chosen: argparse.Namespace) -> int:
    from lpmos.cli.image_build import build_agent

    return build_agent(chosen)


def _build_os(chosen: argparse.Namespace) -> int:
    from lpmos.cli.image_build import build_os

    return build_os(chosen)


def _list(chosen: argparse.Namespace) -> int | None:
    if chosen.images_dir:
        from lpmos.cli.image_build import list_local

        return list_local(chosen)
    from lpmos.cli.image_remote import list_images

    return list_images(chosen)


def _verify(chosen: argparse.Namespace) -> int | None:
    if chosen.images_dir:
        from lpmos.cli.image_build import verify_local

        return verify_local(chosen)
    from lpmos.cli.image_remote import verify

    return verify(chosen)


def _show(chosen: argparse.Namespace) -> None:
    from lpmos.cli.image_remote import show

    show(chosen)


def _delete(chosen: argparse.Namespace) -> None:
    from lpmos.cli.image_remote import delete

    delete(chosen)


def _upload(chosen: argparse.Namespace) -> None:
    from lpmos.cli.image_upload import upload

    upload(chosen)


def _keygen(chosen: argparse.Namespace) -> None:
    from lpmos.cli.image_sign import keygen

    keygen(chosen)


def _sign(chosen: argparse.Namespace) -> None:
    from lpmos.cli.image_sign import sign

    sign(chosen)


def _cancel_upload(chosen: argparse.Namespace) -> None:
    from lpmos.cli.image_upload import cancel

    cancel(chosen)
