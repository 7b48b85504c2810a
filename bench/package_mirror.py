"""A mirror of exactly the Debian packages that an image has, and of debootstrap, which reads it.

The packages are those that apt fetched and verified, kept in a cache from run to run; what they say
of themselves becomes the mirror's index. It is served to the machines of a rack as it is.
"""

import hashlib
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from lpmos.images.apt_sources import debian_sources
from lpmos.images.build_lock import building_in
from lpmos.images.debian_packages import fetch_packages
from lpmos.images.progress import silent

SUITE = "bookworm"
TOOL = "debootstrap"
STATUS = "./var/lib/dpkg/status"
COMMAND_TIMEOUT_S = 120.0


def installed_packages(archive: Path) -> tuple[str, ...]:
    """The names of all packages in a root archive."""
    status = _said("tar", "--zstd", "-xOf", str(archive), STATUS)
    return tuple(sorted(_field(stanza, "Package") for stanza in status.strip().split("\n\n")))


def make_mirror(
    directory: Path, names: Sequence[str], cache_dir: Path, mirror: str | None
) -> tuple[str, ...]:
    """Put `names`, the tool and what it needs into `directory`.

    Args:
        directory: becomes the mirror's root.
        names: packages that need no others.
        cache_dir: keeps the packages from run to run.
        mirror: as `debian_sources` takes it.

    Returns:
        The paths below the mirror of what the tool needs besides `names`, itself among them.

    Raises:
        ImageError: the packages cannot be had.
    """
    with building_in(cache_dir, silent):
        sources = debian_sources(SUITE, mirror=mirror)
        files = fetch_packages([*names, TOOL], sources, cache_dir, silent)
        (directory / "pool").mkdir(parents=True)
        index = []
        tools = []
        for file in files:
            control = _said("dpkg-deb", "--field", str(file)).rstrip()
            name = _field(control, "Package")
            path = f"pool/{name}.deb"
            content = file.read_bytes()
            (directory / path).write_bytes(content)
            digest = hashlib.sha256(content).hexdigest()
            index.append(f"{control}\nFilename: {path}\nSize: {len(content)}\nSHA256: {digest}\n\n")
            if name not in names:
                tools.append(path)
    _write_index(directory / "dists" / SUITE, "".join(index).encode())
    return tuple(tools)


def _write_index(directory: Path, index: bytes) -> None:
    """The release's files that debootstrap asks for, unsigned."""
    path = "main/binary-amd64/Packages"
    (directory / path).parent.mkdir(parents=True)
    (directory / path).write_bytes(index)
    (directory / "Release").write_text("\n".join(_release(path, index)) + "\n")


def _release(path: str, index: bytes) -> Iterator[str]:
    yield from ("Origin: Debian", "Suite: stable", f"Codename: {SUITE}")
    yield from ("Architectures: amd64", "Components: main", "SHA256:")
    yield f" {hashlib.sha256(index).hexdigest()} {len(index)} {path}"


def _field(stanza: str, name: str) -> str:
    return next(
        line.partition(": ")[2] for line in stanza.splitlines() if line.startswith(f"{name}: ")
    )


def _said(*argv: str) -> str:
    done = subprocess.run(
        argv, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=True
    )
    return done.stdout
