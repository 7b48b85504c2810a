"""Which kernel modules go into a boot image, and the indexes that `modprobe` reads beside them.

Everything is read from the modules themselves, as `depmod` does it: `depends`, `softdep`, `alias`
and `firmware` in `.modinfo` (`include/linux/module.h`). Index formats: modules.dep(5),
modprobe.d(5) for aliases.
"""

import mmap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from lpmos.images.elf import MalformedElf, module_notes
from lpmos.model.errors import ImageError


class KernelModule(msgspec.Struct, frozen=True, kw_only=True):
    """One module; `path` is relative to the directory of its kernel's modules."""

    name: str
    path: str
    depends: tuple[str, ...] = ()
    soft_depends: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    firmware: tuple[str, ...] = ()


class Closure(msgspec.Struct, frozen=True, kw_only=True):
    """Modules that stand on their own; `unknown` are wanted names that this kernel lacks."""

    modules: tuple[KernelModule, ...]
    unknown: tuple[str, ...]


def canonical(name: str) -> str:
    """A module's name as the kernel writes it: `nvme-core` and `nvme_core` are one module."""
    return name.strip().replace("-", "_")


def describe(path: str, notes: Mapping[str, tuple[str, ...]]) -> KernelModule:
    """What a module's notes say; `path` names it, as for the kernel's own build."""
    depends = ",".join(notes.get("depends", ())).split(",")
    soft = " ".join(notes.get("softdep", ())).split()
    return KernelModule(
        name=canonical(path.rpartition("/")[2].partition(".")[0]),
        path=path,
        depends=tuple(canonical(name) for name in depends if name.strip()),
        soft_depends=tuple(canonical(name) for name in soft if not name.endswith(":")),
        aliases=notes.get("alias", ()),
        firmware=notes.get("firmware", ()),
    )


def read_modules(directory: Path) -> Mapping[str, KernelModule]:
    """Every module below the directory of one kernel (`/usr/lib/modules/<version>`), by name.

    Raises:
        ImageError: a module cannot be read.
    """
    found = {}
    for path in sorted(directory.rglob("*.ko")):
        try:
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
                notes = module_notes(data)
        except (OSError, ValueError, MalformedElf) as error:
            raise ImageError(f"the kernel module {path} cannot be read: {error}") from error
        module = describe(str(path.relative_to(directory)), notes)
        found[module.name] = module
    if not found:
        raise ImageError(f"{directory} holds no uncompressed kernel modules (*.ko)")
    return found


def built_in_names(directory: Path) -> frozenset[str]:
    """The modules that are part of the kernel itself, from its `modules.builtin`."""
    lines = (directory / "modules.builtin").read_text().splitlines()
    return frozenset(canonical(line.rpartition("/")[2].removesuffix(".ko")) for line in lines)


def closure(
    wanted: Iterable[str], modules: Mapping[str, KernelModule], built_in: frozenset[str]
) -> Closure:
    """The wanted modules with all that they need, hard and soft, sorted by path.

    A soft dependency may be an alias (`crc32c`): every module that answers to it is taken.
    """
    answering: dict[str, list[str]] = {}
    for module in modules.values():
        for alias in module.aliases:
            answering.setdefault(canonical(alias), []).append(module.name)
    taken: dict[str, KernelModule] = {}
    waiting = [canonical(name) for name in wanted]
    unknown = tuple(sorted({n for n in waiting if n not in modules and n not in built_in}))
    while waiting:
        name = waiting.pop()
        if name in taken or name not in modules:
            continue
        module = modules[name]
        taken[name] = module
        waiting.extend(module.depends)
        for soft in module.soft_depends:
            waiting.extend([soft, *answering.get(soft, ())])
    return Closure(
        modules=tuple(sorted(taken.values(), key=lambda module: module.path)), unknown=unknown
    )


def dependency_index(modules: Sequence[KernelModule]) -> str:
    """`modules.dep`: each module's path with all that must be loaded before it, nearest first."""
    by_name = {module.name: module for module in modules}
    lines = []
    for module in modules:
        order = reversed(_load_order(module, by_name)[:-1])
        lines.append(f"{module.path}:{''.join(f' {by_name[name].path}' for name in order)}\n")
    return "".join(lines)


def alias_index(modules: Sequence[KernelModule]) -> str:
    """`modules.alias`: which module answers to which hardware identifier."""
    return "".join(
        f"alias {alias} {module.name}\n" for module in modules for alias in module.aliases
    )


def _load_order(module: KernelModule, by_name: Mapping[str, KernelModule]) -> list[str]:
    """The module and its dependencies, each after those that it needs; the module is last."""
    order: list[str] = []
    entered: set[str] = set()

    def visit(name: str) -> None:
        if name in entered or name not in by_name:
            return
        entered.add(name)
        for needed in by_name[name].depends:
            visit(needed)
        order.append(name)

    visit(module.name)
    return order
