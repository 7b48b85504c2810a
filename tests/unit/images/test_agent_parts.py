"""The table of what goes into the boot image."""

from lpmos.images.agent_parts import KERNEL_PACKAGE, PARTS, PAYLOAD_PARTS, packages
from lpmos.images.debian_releases import RELEASES, release_named
from lpmos.images.progress import within


def test_parts_have_each_name_and_module_once() -> None:
    names = [part.name for part in PARTS]
    modules = [module for part in PARTS for module in part.modules]
    assert len(set(names)) == len(names)
    assert len(set(modules)) == len(modules)
    assert set(PAYLOAD_PARTS) <= set(names)


def test_parts_that_share_libraries_with_the_payload_come_after_it() -> None:
    names = [part.name for part in PARTS]
    assert names[: len(PAYLOAD_PARTS)] == list(PAYLOAD_PARTS)


def test_packages_name_the_kernel_and_all_parts() -> None:
    assert KERNEL_PACKAGE in packages()
    assert {"busybox", "python3.11", "fdisk"} <= set(packages())


def test_release_named_by_version_and_by_code_name_is_the_same() -> None:
    for release in RELEASES:
        assert release_named(release.version) == release_named(release.suite) == release


def test_within_maps_and_bounds_a_stretch() -> None:
    said: list[float] = []
    scaled = within(lambda _step, fraction, _message: said.append(fraction), 0.5, 0.7)
    for fraction in (-1.0, 0.0, 0.5, 1.0, 9.0):
        scaled("s", fraction, "m")
    assert [round(value, 6) for value in said] == [0.5, 0.5, 0.6, 0.7, 0.7]
