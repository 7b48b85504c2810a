"""Firmware packages from a mirror that has some, none, or no such component."""

import hashlib
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import pytest

from lpmos.images import agent_image
from lpmos.images.agent_firmware import choose_firmware, fetch_firmware, unpack_firmware
from lpmos.images.agent_image import BuiltAgent
from lpmos.images.agent_manifest import AgentManifest, FirmwarePackage
from lpmos.images.agent_parts import NON_FREE_FIRMWARE, packages
from lpmos.images.apt_sources import FIRMWARE_COMPONENT, AptSource
from lpmos.images.catalog import Catalog
from lpmos.images.kernel_modules import KernelModule
from lpmos.images.progress import silent
from lpmos.model.errors import ImageError
from tests.support.agent_images import put_agent_of_this_version

CONTROL = (
    "Package: {name}\nVersion: 1:7-2\nArchitecture: all\n"
    "Maintainer: nobody <n@example>\nDescription: x\n"
)
TINY = "firmware-tiny"
FREE = "firmware-linux-free"
RELEASE = "Suite: tiny\nCodename: tiny\nComponents: {components}\nArchitectures: amd64\n"


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


def mirror(directory: Path, components: Mapping[str, Sequence[str]]) -> tuple[AptSource, ...]:
    """A mirror of one release, as asked for main; the packages differ by their names alone."""
    directory.mkdir()
    data = make_package(directory, TINY, "tiny.bin").read_bytes()
    about = f"Size: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n"
    release = directory / "dists/tiny"
    listed = ""
    for component, names in components.items():
        index = release / component / "binary-amd64/Packages"
        index.parent.mkdir(parents=True)
        entries = (f"{CONTROL.format(name=name)}Filename: {name}.deb\n{about}" for name in names)
        index.write_text("\n".join(entries))
        for name in names:
            (directory / f"{name}.deb").write_bytes(data)
        digest = hashlib.sha256(index.read_bytes()).hexdigest()
        listed += f" {digest} {index.stat().st_size} {index.relative_to(release)}\n"
    (release / "Release").write_text(
        f"{RELEASE.format(components=' '.join(components))}SHA256:\n{listed}"
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
    sources = mirror(tmp_path / "mirror", {FIRMWARE_COMPONENT: [TINY]})
    names = ("firmware-gone", TINY)
    free = make_package(tmp_path, FREE, "free.bin")
    found = fetch_firmware(sources, [free], tmp_path / "cache", silent, names)
    assert found.missing == ("firmware-gone",)
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
    assert not found.adds_to(chosen.packages)
    assert found.adds_to(chosen.packages[:1])
    assert found.adds_to([msgspec.structs.replace(p, version="1:7-1") for p in chosen.packages])


def test_mirror_of_main_alone_leaves_the_free_firmware_and_says_what_is_missing(
    tmp_path: Path,
) -> None:
    sources = mirror(tmp_path / "mirror", {"main": [TINY]})
    free = make_package(tmp_path, FREE, "free.bin")
    found = fetch_firmware(sources, [free], tmp_path / "cache", silent, (TINY,))
    assert found.packages == (free,)
    assert found.missing == (TINY,)


@pytest.mark.parametrize("lost", ["Packages", f"{TINY}.deb"])
def test_mirror_that_cannot_be_read_is_no_mirror_without_firmware(
    tmp_path: Path, lost: str
) -> None:
    sources = mirror(tmp_path / "mirror", {FIRMWARE_COMPONENT: [TINY]})
    (file,) = (tmp_path / "mirror").rglob(lost)
    file.unlink()
    with pytest.raises(ImageError, match=r"--no-firmware.*apt-get"):
        fetch_firmware(sources, [], tmp_path / "cache", silent, (TINY,))


FIRST, SECOND = NON_FREE_FIRMWARE[:2]


@pytest.fixture
def image(tmp_path: Path) -> AgentManifest:
    """An image of this version that lacks the firmware of a driver, and holds `FIRST`."""
    held = FirmwarePackage(name=FIRST, version="1:7-2", licence="/l", files=("tiny.bin",))
    return put_agent_of_this_version(
        tmp_path,
        with_firmware=True,
        modules_wanting_firmware=("ice",),
        firmware=(msgspec.structs.replace(held, name=FREE), held),
    )


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., BuiltAgent]:
    """Builds with a mirror that has main and these packages of firmware, or has lost their list."""

    def built(*names: str, lost: bool = False) -> BuiltAgent:
        sources = mirror(tmp_path / "mirror", {"main": packages(), FIRMWARE_COMPONENT: names})
        monkeypatch.setattr(agent_image, "debian_sources", lambda suite, mirror: sources)
        if lost:
            shutil.rmtree(tmp_path / "mirror" / "dists/tiny" / FIRMWARE_COMPONENT)
        return agent_image.build_agent_image(tmp_path / "images", tmp_path / "cache")

    return built


def test_image_that_lacks_firmware_stays_while_the_mirror_lacks_it_too(
    image: AgentManifest, build: Callable[..., BuiltAgent]
) -> None:
    built = build(FIRST)
    assert (built.reused, built.manifest) == (True, image)
    assert built.missing_firmware == NON_FREE_FIRMWARE[1:]


def test_image_that_lacks_firmware_is_built_again_once_the_mirror_has_more(
    image: AgentManifest, build: Callable[..., BuiltAgent], tmp_path: Path
) -> None:
    with pytest.raises((ImageError, OSError)) as raised:  # of packages that hold no kernel
        build(FIRST, SECOND)
    assert "apt-get" not in str(raised.value)
    assert list((tmp_path / "cache").glob("root-*"))
    assert Catalog(tmp_path / "images").agent_manifest() == image


def test_image_stays_and_is_not_taken_for_good_where_the_component_cannot_be_read(
    image: AgentManifest, build: Callable[..., BuiltAgent], tmp_path: Path
) -> None:
    with pytest.raises(ImageError, match="--no-firmware"):
        build(FIRST, lost=True)
    assert Catalog(tmp_path / "images").agent_manifest() == image
