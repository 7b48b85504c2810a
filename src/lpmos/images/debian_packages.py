"""Debian packages without root: apt resolves and verifies them in a private state.

Nothing of the machine's own package state is read or written: only its sources and the way its apt
reaches the network (proxies, certificates). apt checks every signature and digest.
"""

import hashlib
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from lpmos.images.apt_sources import AptSource
from lpmos.images.atomic import scratch_directory, write_file
from lpmos.images.commands import pipe, require_programs, run
from lpmos.images.progress import Progress

ARCHITECTURE = "amd64"
UPDATE_TIMEOUT_S = 300.0
DOWNLOAD_TIMEOUT_S = 1800.0
UNPACK_TIMEOUT_S = 120.0
SHOWN_STEP_PERCENT = 2.0
KEPT_ROOTS = 2
"""Unpacked package sets that stay in the cache: the newest and the one before."""

_NETWORK_SETTINGS = re.compile(r"Acquire::(https?::|Check-(Valid-Until|Date) |Retries )")
_DOWNLOAD_STATUS = re.compile(r"dlstatus:\d+:(?P<percent>[\d.]+):(?P<message>.*)")
_ALL_OR_NOTHING = ("-o", "APT::Update::Error-Mode=any")
"""Without it `apt-get update` calls a mirror that does not answer a success."""
_INSTALL = ("apt-get", "-y", "--no-install-recommends", "--download-only", "install")
_MERGED = ("bin", "sbin", "lib", "lib64")
_NOT_UNPACKED = ("./usr/share/doc", "./usr/share/man", "./usr/share/locale", "./usr/share/info")


def network_settings() -> tuple[str, ...]:
    """The lines of this machine's apt configuration that say how archives are reached."""
    output = run(["apt-config", "dump"], timeout_s=UPDATE_TIMEOUT_S)
    return tuple(line for line in output.splitlines() if _NETWORK_SETTINGS.match(line))


class PackageLists(msgspec.Struct, frozen=True, kw_only=True):
    """What some sources have, read into a private state; `environment` makes apt use that."""

    cache_dir: Path
    environment: Mapping[str, str]

    def known(self, names: Sequence[str]) -> tuple[str, ...]:
        """Those of the names that the sources have a package of."""
        output = run(
            ["apt-cache", "pkgnames"], timeout_s=UPDATE_TIMEOUT_S, environment=self.environment
        )
        held = set(output.split())
        return tuple(name for name in names if name in held)

    def fetch(self, names: Sequence[str], progress: Progress) -> tuple[Path, ...]:
        """As `fetch_packages`."""
        files = _resolve(names, self.cache_dir, self.environment)
        if all(path.is_file() for path in files):
            return files

        shown = -1.0

        def show(line: str) -> None:
            nonlocal shown
            match = _DOWNLOAD_STATUS.match(line)
            if match and float(match["percent"]) >= shown + SHOWN_STEP_PERCENT:
                shown = float(match["percent"])
                progress("packages", 0.2 + 0.8 * shown / 100, match["message"])

        run(
            [*_INSTALL, "-o", "APT::Status-Fd=1", *names],
            timeout_s=DOWNLOAD_TIMEOUT_S,
            environment=self.environment,
            on_line=show,
        )
        return files


def read_lists(sources: Sequence[AptSource], cache_dir: Path, progress: Progress) -> PackageLists:
    """Ask the sources what they have.

    Args:
        sources: where from.
        cache_dir: holds the private state and the packages; made where it is missing.
        progress: told that it begins.

    Raises:
        ImageError: a program is missing, or a source cannot be read (apt's output is in the text).
    """
    require_programs({"apt-get": "apt", "apt-config": "apt"})
    cache_dir = cache_dir.absolute()  # apt takes a relative directory as one below /
    options = _private_apt(cache_dir, sources)
    progress("packages", 0.0, "reading the package lists")
    run(["apt-get", "update", *_ALL_OR_NOTHING], timeout_s=UPDATE_TIMEOUT_S, environment=options)
    return PackageLists(cache_dir=cache_dir, environment=options)


def fetch_packages(
    names: Sequence[str], sources: Sequence[AptSource], cache_dir: Path, progress: Progress
) -> tuple[Path, ...]:
    """Download packages and all that they depend on; what the cache has is not fetched again.

    Args:
        names: package names.
        sources: where from.
        cache_dir: as for `read_lists`.
        progress: told of the download.

    Returns:
        The package files, sorted by name.

    Raises:
        ImageError: a program is missing, or apt failed (its output is in the text).
    """
    return read_lists(sources, cache_dir, progress).fetch(names, progress)


def unpacked_root(packages: Sequence[Path], cache_dir: Path, progress: Progress) -> Path:
    """Unpack packages over one another into one tree with a merged `/usr`; needs no root.

    The tree is kept in `cache_dir` and used again for the same packages. Nothing in it is run or
    configured, and files belong to whoever unpacks.

    Raises:
        ImageError: a package cannot be unpacked.
    """
    require_programs({"dpkg-deb": "dpkg", "tar": "tar"})
    key = hashlib.sha256("\n".join(sorted(p.name for p in packages)).encode()).hexdigest()[:16]
    root = cache_dir / f"root-{key}"
    if root.is_dir():
        root.touch()
        return root
    with scratch_directory(cache_dir) as scratch:
        for name in _MERGED:
            (scratch / "usr" / name).mkdir(parents=True)
            (scratch / name).symlink_to(f"usr/{name}")
        for done, package in enumerate(packages):
            progress("unpack", done / len(packages), package.name.partition("_")[0])
            _unpack(package, scratch)
        scratch.rename(root)
    root.touch()  # packages bring the times of their directories with them
    _forget_old_roots(cache_dir)
    return root


def _private_apt(cache_dir: Path, sources: Sequence[AptSource]) -> dict[str, str]:
    """Set up apt's private state; the result is the environment that makes apt use it."""
    state = cache_dir / "apt-state"
    for directory in (state / "lists/partial", cache_dir / "archives/partial"):
        directory.mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    write_file(state / "lpmos.sources", "\n".join(s.stanza() for s in sources).encode())
    settings = (
        f'Dir::State "{state}";',
        f'Dir::State::status "{state}/status";',
        f'Dir::Cache "{cache_dir}";',
        'Dir::Etc::parts "/dev/null";',
        'Dir::Etc::main "/dev/null";',
        f'Dir::Etc::sourcelist "{state}/lpmos.sources";',
        'Dir::Etc::sourceparts "/dev/null";',
        'Dir::Etc::preferences "/dev/null";',
        'Dir::Etc::preferencesparts "/dev/null";',
        f'APT::Architecture "{ARCHITECTURE}";',
        f'APT::Architectures "{ARCHITECTURE}";',
        'APT::Sandbox::User "";',
        'Acquire::Languages "none";',
        'Acquire::Retries "3";',
        'APT::Keep-Downloaded-Packages "true";',
        *network_settings(),
    )
    write_file(state / "apt.conf", "\n".join((*settings, "")).encode())
    return {"APT_CONFIG": str(state / "apt.conf"), "DEBIAN_FRONTEND": "noninteractive"}


def _resolve(names: Sequence[str], cache_dir: Path, options: Mapping[str, str]) -> tuple[Path, ...]:
    """Where apt will put each package of the set, from `'<uri>' <file name> <size> <digest>` lines.

    apt leaves out what its archive directory has, so it is shown an empty one.
    """
    empty = cache_dir / "no-archives"
    (empty / "partial").mkdir(parents=True, exist_ok=True)
    uris = run(
        [*_INSTALL, "--print-uris", "-o", f"Dir::Cache::archives={empty}", *names],
        timeout_s=UPDATE_TIMEOUT_S,
        environment=options,
    )
    found = re.findall(r"^'[^']+' (\S+\.deb) \d+ ", uris, re.MULTILINE)
    return tuple(sorted(cache_dir / "archives" / name for name in found))


def _unpack(package: Path, root: Path) -> None:
    """Unpack one package; tar keeps the links of the merged `/usr`, `dpkg-deb -x` would not."""
    excluded = [f"--exclude={pattern}" for pattern in _NOT_UNPACKED]
    pipe(
        ["dpkg-deb", "--fsys-tarfile", package],
        ["tar", "-x", "--keep-directory-symlink", "--no-same-owner", *excluded, "-C", root],
        timeout_s=UNPACK_TIMEOUT_S,
    )


def _forget_old_roots(cache_dir: Path) -> None:
    roots = sorted(cache_dir.glob("root-*"), key=lambda p: p.stat().st_mtime, reverse=True)
    for old in roots[KEPT_ROOTS:]:
        shutil.rmtree(old)
