"""Choosing kernel modules and writing their indexes."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lpmos.images.kernel_modules import (
    KernelModule,
    alias_index,
    built_in_names,
    closure,
    dependency_index,
    describe,
    read_modules,
)
from lpmos.model.errors import ImageError


def module(
    name: str, *depends: str, soft: tuple[str, ...] = (), aliases: tuple[str, ...] = ()
) -> KernelModule:
    return KernelModule(
        name=name,
        path=f"kernel/{name}.ko",
        depends=depends,
        soft_depends=soft,
        aliases=aliases,
    )


def by_name(*modules: KernelModule) -> Mapping[str, KernelModule]:
    return {item.name: item for item in modules}


EXT4 = by_name(
    module("ext4", "jbd2", "mbcache", soft=("crc32c",)),
    module("jbd2"),
    module("mbcache"),
    module("crc32c_generic", aliases=("crc32c", "crypto-crc32c")),
    module("crc32c_intel", aliases=("crc32c",)),
    module("xfs", "libcrc32c"),
    module("libcrc32c"),
)


def test_describe_reads_dependencies_aliases_and_firmware() -> None:
    found = describe(
        "kernel/net/snd-foo.ko",
        {
            "depends": ("usb-core,mii",),
            "softdep": ("pre: a-b post: c",),
            "alias": ("pci:*",),
            "firmware": ("foo.bin",),
        },
    )
    assert found == KernelModule(
        name="snd_foo",
        path="kernel/net/snd-foo.ko",
        depends=("usb_core", "mii"),
        soft_depends=("a_b", "c"),
        aliases=("pci:*",),
        firmware=("foo.bin",),
    )


def test_describe_without_dependencies_has_none() -> None:
    assert describe("kernel/a.ko", {"depends": ("",)}).depends == ()


def test_closure_takes_hard_and_soft_dependencies() -> None:
    found = closure(["ext4"], EXT4, frozenset())
    assert [m.name for m in found.modules] == [
        "crc32c_generic", "crc32c_intel", "ext4", "jbd2", "mbcache"
    ]  # fmt: skip
    assert found.unknown == ()


def test_closure_names_what_the_kernel_lacks() -> None:
    found = closure(["ext4", "no-such", "builtin-one"], EXT4, frozenset({"builtin_one"}))
    assert found.unknown == ("no_such",)


def test_closure_of_a_circle_ends() -> None:
    circle = by_name(module("a", "b"), module("b", "a"))
    assert len(closure(["a"], circle, frozenset()).modules) == 2


def test_dependency_index_lists_the_nearest_first() -> None:
    chain = by_name(module("qede", "qed"), module("qed", "crc8"), module("crc8"))
    lines = dependency_index(list(chain.values())).splitlines()
    assert lines == [
        "kernel/qede.ko: kernel/qed.ko kernel/crc8.ko",
        "kernel/qed.ko: kernel/crc8.ko",
        "kernel/crc8.ko:",
    ]


NODES = st.integers(0, 9)


@settings(max_examples=40)
@given(st.dictionaries(NODES, st.sets(NODES, max_size=4), max_size=10))
def test_dependency_index_loaded_from_the_right_has_all_that_it_needs(
    edges: dict[int, set[int]],
) -> None:
    # An edge leads to a smaller number only: a kernel has no circles.
    modules = by_name(
        *(module(f"m{n}", *(f"m{t}" for t in sorted(edges.get(n, ())) if t < n)) for n in range(10))
    )
    for line in dependency_index(list(modules.values())).splitlines():
        name, _, rest = line.partition(":")
        loaded: set[str] = set()
        for path in [*reversed(rest.split()), name]:
            current = modules[path.removeprefix("kernel/").removesuffix(".ko")]
            assert set(current.depends) <= loaded
            loaded.add(current.name)


def test_alias_index_has_a_line_for_each_alias() -> None:
    assert alias_index([module("e1000", aliases=("pci:v1*", "pci:v2*"))]) == (
        "alias pci:v1* e1000\nalias pci:v2* e1000\n"
    )


def test_built_in_names_are_canonical(tmp_path: Path) -> None:
    (tmp_path / "modules.builtin").write_text("kernel/drivers/input/serio/i8042-x.ko\n")
    assert built_in_names(tmp_path) == {"i8042_x"}


def test_read_modules_of_a_damaged_module_names_it(tmp_path: Path) -> None:
    (tmp_path / "bad.ko").write_bytes(b"not a module")
    with pytest.raises(ImageError, match=r"bad\.ko cannot be read"):
        read_modules(tmp_path)


def test_read_modules_of_an_empty_directory_says_so(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no uncompressed kernel modules"):
        read_modules(tmp_path)
