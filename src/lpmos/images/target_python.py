"""Runs the interpreter that goes into the boot image, from its unpacked packages, without chroot.

Bytecode is compiled by the very interpreter that will load it: another one's has another magic
number. The library directory on a machine is `/usr/lib/python3.11`.
"""

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from lpmos.images.agent_parts import PYTHON
from lpmos.images.commands import run
from lpmos.images.contents import LIBRARIES, own_files
from lpmos.images.python_selection import imported_modules, is_selected
from lpmos.model.errors import ImageError

LIBRARY = f"usr/lib/{PYTHON}"
AGENT_LIBRARY = "usr/lib/lpmos"
"""Where the agent's package stands in the image; /init puts it on Python's path."""
LANDMARK = "os.py"
"""Python finds its library by this file, even where all else is bytecode."""
_COMPILE_TIMEOUT_S = 300.0
_IMPORT_TIMEOUT_S = 60.0


def program(root: Path, path: str, *arguments: str) -> list[str | Path]:
    """The command line that runs a program of an unpacked root with that root's own libraries."""
    loader = root / "usr/lib64/ld-linux-x86-64.so.2"
    return [loader, "--library-path", root / LIBRARIES, root / path, *arguments]


def stage_library(root: Path, lpmos_package: Path, stage: Path) -> None:
    """Lay out in `stage` the selected library, and the agent's package, compiled without sources.

    Args:
        root: unpacked packages.
        lpmos_package: the directory of the package `lpmos`; its `agent` goes in.
        stage: an empty directory; gets the image's layout below `usr/lib`.

    Raises:
        ImageError: a source does not compile, or the agent imports what is not selected.
    """
    selected = [
        path
        for path in sorted((root / LIBRARY).rglob("*"))
        if path.is_file() and is_selected(path.relative_to(root / LIBRARY))
    ]
    _copy(selected, root / LIBRARY, stage / LIBRARY)
    agent = own_files(lpmos_package / "agent")
    _copy([lpmos_package / "__init__.py", *agent], lpmos_package, stage / AGENT_LIBRARY / "lpmos")
    for library in (LIBRARY, AGENT_LIBRARY):
        _compile(root, stage, library)
    _check_imports(root, stage, [path for path in agent if path.suffix == ".py"])


def _copy(files: Iterable[Path], origin: Path, target: Path) -> None:
    for path in files:
        copy = target / path.relative_to(origin)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)


def _compile(root: Path, stage: Path, library: str) -> None:
    """Compile a library and leave its bytecode where the sources were.

    Unchecked hashes in place of times make the result depend on the sources alone.
    """
    directory = stage / library
    arguments = ["-m", "compileall", "-q", "-b", "-s", str(directory), "-p", f"/{library}"]
    arguments += ["--invalidation-mode", "unchecked-hash", str(directory)]
    run(
        program(root, f"usr/bin/{PYTHON}", "-B", *arguments),
        timeout_s=_COMPILE_TIMEOUT_S,
        environment=_environment(root / "usr"),
    )
    for source in directory.rglob("*.py"):
        if source != directory / LANDMARK:
            source.unlink()


def _check_imports(root: Path, stage: Path, sources: Sequence[Path]) -> None:
    """Import with the staged library all that the agent imports, also what it imports later."""
    names = imported_modules(path.read_text() for path in sources)
    statement = "".join(f"import {name}\n" for name in names)
    try:
        run(
            program(root, f"usr/bin/{PYTHON}", "-B", "-S", "-c", statement),
            timeout_s=_IMPORT_TIMEOUT_S,
            environment=_environment(stage / "usr", stage / AGENT_LIBRARY),
        )
    except ImageError as error:
        raise ImageError(
            "the agent imports something that the image leaves out; select it in"
            f" lpmos/images/python_selection.py. {error}"
        ) from error


def _environment(home: Path, *path: Path) -> dict[str, str]:
    return {
        "PYTHONHOME": str(home),
        "PYTHONPATH": ":".join(map(str, path)),
        "PYTHONHASHSEED": "0",
        "PYTHONNOUSERSITE": "1",
    }
