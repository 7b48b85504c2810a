"""Firmware packages from a mirror that has some, none, or no such component."""

import hashlib
import subprocess
from pathlib import Path

from lpmos.images.agent_firmware import choose_firmware, fetch_firmware, unpack_firmware
from lpmos.images.apt_sources import FIRMWARE_COMPONENT, AptSource
from lpmos.images.kernel_modules import KernelModule
from lpmos.images.progress import silent

CONTROL = (
    "Package: {name}\nVersion: 1:7-2\nArchitecture: all\n"
    "Maintainer: nobody <n@example>\nDescription: x\n"
)
TINY = "firmware-tiny"
FREE = "firmware-linux-free"
RELEASE = "Suite: tiny\nCodename: tiny\nComponents: {component}\nArchitectures: amd64\n"


def make_package(directory: Path, name: str, file: str) -> Path:
    """A package with one firmware file."""
    tree = directory / f"tree-{name}"
    files = {
        "DEBIAN/control": CONTROL.format(name=name),
        f"lib/firmware/{file}": file,
        f"usr/share/doc/{name}/copyright": "terms",
    }
    for path, text in files.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)
    package = directory / f"{name}_1%3a7-2_all.deb"
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", tree, package], check=True)
    return package


def mirror(directory: Path, component: str) -> tuple[AptSource, ...]:
    """A mirror of one release, whose one component has `firmware-tiny`, as asked for main."""
    directory.mkdir()
    package = make_package(directory, TINY, "tiny.bin")
    release = directory / "dists/tiny"
    index = release / component / "binary-amd64/Packages"
    index.parent.mkdir(parents=True)
    data = package.read_bytes()
    index.write_text(
        f"{CONTROL.format(name=TINY)}Filename: {package.name}\nSize: {len(data)}\n"
        f"SHA256: {hashlib.sha256(data).hexdigest()}\n"
    )
    digest = hashlib.sha256(index.read_bytes()).hexdigest()
    (release / "Release").write_text(
        f"{RELEASE.format(component=component)}"
        f"SHA256:\n {digest} {index.stat().st_size} {index.relative_to(release)}\n"
    )
    return (
        AptSource(
            uris=(f"copy:{directory}",),
            suites=("tiny",),
            components=("main",),
            options=(("Trusted", "yes"),),
        ),
    )


def test_packages_that_the_mirror_has_are_used_and_the_others_named(tmp_path: Path) -> None:
    sources = mirror(tmp_path / "mirror", FIRMWARE_COMPONENT)
    names = ("firmware-gone", TINY)
    free = make_package(tmp_path, FREE, "free.bin")
    found = fetch_firmware(sources, [free], tmp_path / "cache", silent, names)
    assert found.missing == "the mirror has no firmware-gone"
    modules = [
        KernelModule(name="a", path="a.ko", firmware=("tiny.bin", "free.bin")),
        KernelModule(name="b", path="b.ko", firmware=("gone.bin",)),
    ]
    chosen = choose_firmware(modules, unpack_firmware(found.packages, tmp_path / "trees"))
    assert [(p.name, p.version, p.files) for p in chosen.packages] == [
        (FREE, "1:7-2", ("free.bin",)),
        (TINY, "1:7-2", ("tiny.bin",)),
    ]
    assert chosen.modules_wanting == ("b",)


def test_mirror_of_main_alone_leaves_the_free_firmware_and_says_what_is_missing(
    tmp_path: Path,
) -> None:
    sources = mirror(tmp_path / "mirror", "main")
    free = make_package(tmp_path, FREE, "free.bin")
    found = fetch_firmware(sources, [free], tmp_path / "cache", silent, (TINY,))
    assert found.packages == (free,)
    assert TINY in found.missing


def test_mirror_without_the_files_of_the_component_is_as_one_without_it(tmp_path: Path) -> None:
    sources = mirror(tmp_path / "mirror", FIRMWARE_COMPONENT)
    (index,) = (tmp_path / "mirror").rglob("Packages")
    index.unlink()
    found = fetch_firmware(sources, [], tmp_path / "cache", silent, (TINY,))
    assert found.packages == ()
    assert "apt-get update" in found.missing
