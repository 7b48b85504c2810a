"""Puts the boot agent's files together: the table's parts, and what busybox and `modprobe` need.

Everything comes from the unpacked packages, the staged Python library and `agent_root`.
"""

from pathlib import Path

from lpmos.images import cpio
from lpmos.images.agent_parts import PARTS, Part
from lpmos.images.commands import run
from lpmos.images.contents import Contents, merged_links, own_files
from lpmos.images.kernel_modules import Closure, alias_index, closure, dependency_index
from lpmos.images.target_python import AGENT_LIBRARY, LIBRARY, program

AGENT_ROOT = Path(__file__).resolve().parent / "agent_root"
"""Files that go in as they are, /init first."""
_EXECUTABLE = ("init", "usr/share/udhcpc/lease")
_EMPTY_DIRECTORIES = ("dev", "etc", "mnt", "proc", "root", "run", "sys", "tmp", "var/log")
_LIST_TIMEOUT_S = 30.0


def collect(
    root: Path, stage: Path, kernel_version: str, modules: Closure, version: str
) -> Contents:
    """Everything that the initramfs holds but for firmware.

    Args:
        root: unpacked packages.
        stage: the compiled library and agent, as `stage_library` leaves them.
        kernel_version: whose modules these are.
        modules: the modules that go in.
        version: what the image calls itself on the console.

    Raises:
        ImageError: the packages lack a file of the table.
    """
    contents = Contents(root)
    for path, link in merged_links():
        contents.put(path, link, "core")
    for part in PARTS:
        _add_part(contents, part)
        if part.name == "python":
            _add_tree(contents, stage, stage / LIBRARY, part.name)
        elif part.name == "agent":
            _add_tree(contents, stage, stage / AGENT_LIBRARY, part.name)
    _add_own_files(contents, version)
    _add_modules(contents, root, kernel_version, modules)
    _add_applets(contents, root)
    return contents


def _add_part(contents: Contents, part: Part) -> None:
    for path in part.files:
        contents.add_file(path, part.name)
    for name in part.programs:
        contents.add_program(name, part.name)
    for path, target in part.links:
        contents.put(path, cpio.symlink(target), part.name)


def _add_tree(contents: Contents, stage: Path, directory: Path, part: str) -> None:
    """Add staged files; extension modules bring the libraries that they need."""
    for path in sorted(directory.rglob("*")):
        name = str(path.relative_to(stage))
        if path.suffix == ".so":
            contents.add_file(name, part)
        elif path.is_file():
            contents.put(name, cpio.file(path.read_bytes()), part)


def _add_own_files(contents: Contents, version: str) -> None:
    for path in own_files(AGENT_ROOT):
        name = str(path.relative_to(AGENT_ROOT))
        contents.put(name, cpio.file(path.read_bytes(), executable=name in _EXECUTABLE), "core")
    for name in _EMPTY_DIRECTORIES:
        contents.put(name, cpio.directory(), "core")
    contents.put("etc/lpmos-image", cpio.file(f"{version}\n".encode()), "core")
    contents.put("dev/console", cpio.character_device(5, 1, 0o600), "core")


def _add_modules(contents: Contents, root: Path, version: str, chosen: Closure) -> None:
    """Add modules, each to the part that names it, or to the part of the first that needs it."""
    base = f"usr/lib/modules/{version}"
    by_name = {module.name: module for module in chosen.modules}
    for part in PARTS:
        own = closure(part.modules, by_name, frozenset())
        for module in own.modules:
            contents.add_file(f"{base}/{module.path}", part.name)
    indexes = {
        "modules.dep": dependency_index(chosen.modules).encode(),
        "modules.alias": alias_index(chosen.modules).encode(),
        "modules.builtin": (root / base / "modules.builtin").read_bytes(),
    }
    for name, data in indexes.items():
        contents.put(f"{base}/{name}", cpio.file(data), "platform")


def _add_applets(contents: Contents, root: Path) -> None:
    """Link busybox's applets, but for those that a real program stands in for."""
    listing = run(program(root, "usr/bin/busybox", "--list-full"), timeout_s=_LIST_TIMEOUT_S)
    for path in listing.split():
        name = path.rpartition("/")[2]
        if name != "busybox" and not contents.has_program(name):
            contents.put(path, cpio.symlink("/usr/bin/busybox"), "core")
