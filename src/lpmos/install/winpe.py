r"""The batch files of an install of Windows: in Windows PE, and at the first start of the system.

The rule: nothing is written to a disk but to the one that carries the mark of this install, which
the agent put there; not exactly one, and nothing is written. What is used is `cmd` with what every
Windows PE has (diskpart, dism, bcdboot, reg, ping, wpeinit, wpeutil) and `curl.exe`, which the boot
script adds. Every text stands between double quotes without a double quote or a line's end in it,
and with each `%` doubled: `batch` sees to it. Lines end with CR LF, or `cmd` loses labels.

The first start runs the task's commands, each a batch file of its own, removes them, their values
and their output, and says then that the system came up, or which command failed. The token by which
it says so goes last. All of it is for SYSTEM and Administrators alone from the beginning.

Sources: Microsoft's references of Windows PE (winpeshl.ini, wpeinit, PEFirmwareType), diskpart,
"Capture and apply Windows", BCDBoot, SetupComplete.cmd, of cmd's `set`, `for` and `call`; curl(1).
"""

import re
from functools import cache
from importlib.resources import files
from urllib.parse import urlsplit

import msgspec

from lpmos.install.answers.order import Order
from lpmos.install.first_boot import PATH
from lpmos.model.durations import FIRST_BOOT
from lpmos.model.errors import FieldProblem, InvalidInput
from lpmos.model.trace import root_of, span_of
from lpmos.model.windows import password_name

SHELL, SCRIPT = "winpeshl.ini", "lpmos.cmd"
"""What the boot script puts into Windows PE."""
COMPLETE, FIRST = "SetupComplete.cmd", "first-boot.cmd"
LINE_CHARACTERS = 8000
_NOT_QUOTED = re.compile(r"[^ !#-~]")
_MARK = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MB = 1_000_000


def batch(text: str, field: str) -> str:
    """Text between the double quotes of a batch file's line.

    Raises:
        InvalidInput: it has a character that would end the quotes or the line; `field` is named.
    """
    if found := _NOT_QUOTED.search(text):
        code = f"U+{ord(found[0]):04X}"
        raise InvalidInput(FieldProblem(field, f"has a character ({code}) that Windows's cmd ends"))
    doubled = text.replace("%", "%%")
    if len(doubled) > LINE_CHARACTERS:
        raise InvalidInput(FieldProblem(field, "is too long for a line of Windows's cmd"))
    return doubled


def pe_files(order: Order, mark: str) -> dict[str, str]:
    """What the boot script puts into Windows PE.

    Args:
        order: what is installed.
        mark: the id of the partition table on the one disk that may be written.

    Raises:
        InvalidInput: something cannot stand in a batch file, or the installer is not Windows's.
    """
    return {SHELL: _lines(_text("winpeshl.ini")), SCRIPT: _lines(_pe_script(order, mark))}


def system_files(order: Order, token: str) -> dict[str, str]:
    """What is put onto the installed disk, by name: the first start and the task's commands.

    Args:
        order: what is installed.
        token: by which the system says that it came up.

    Raises:
        InvalidInput: something cannot stand in a batch file.
    """
    commands = {_step(n): text for n, text in enumerate(order.task.setup.commands, 1)}
    first = {
        COMPLETE: _text("SetupComplete.cmd"),
        FIRST: _first_script(order, token),
        "values.cmd": _values(order),
    }
    return {name: _lines(text) for name, text in (first | commands).items()}


def _pe_script(order: Order, mark: str) -> str:
    windows = order.manifest.windows
    if windows is None or not _MARK.fullmatch(mark):
        raise InvalidInput(FieldProblem("installer", "is not Windows's, or its disk has no mark"))
    if any("%" in url for url in (order.urls.progress, order.urls.mirror)):
        raise InvalidInput(FieldProblem("region", "has a % in its URL, which cmd's `call` reads"))
    size_bytes = windows.install.size_bytes
    values = {
        "url": order.urls.progress.removesuffix("/progress"),
        "install": order.urls.mirror,
        "bytes": str(size_bytes),
        "mb": str(max(1, size_bytes // _MB)),
        "digest": windows.install.sha256,
        "mark": mark,
        "image": _shown(windows.image_name),
        "trace": str(root_of(order.task)),
    }
    partitions = _text("uefi.diskpart" if order.uefi else "bios.diskpart").splitlines()
    names = [name for name in system_files(order, "") if name != COMPLETE]
    return _filled(
        _text("lpmos.cmd"),
        VALUES="\n".join(_set(f"lpmos_{name}", text, name) for name, text in values.items()),
        FIRMWARE="0x2" if order.uefi else "0x1",
        PARTITIONS="\n".join(f'>>"%lpmos_dir%\\disk.txt" echo {line}' for line in partitions),
        FETCH="\n".join([
            *(_fetched(f"%lpmos_kept%\\{name}", name) for name in names),
            _fetched(f"W:\\Windows\\Setup\\Scripts\\{COMPLETE}", COMPLETE),
        ]),
        BOOT="UEFI" if order.uefi else "BIOS",
        INDEX=str(windows.index),
        CHECK=" /CheckIntegrity" if windows.integrity else "",
    )  # fmt: skip


def _fetched(place: str, name: str) -> str:
    return f'call :insist "{place}" "%lpmos_url%/windows/{name}"\nif errorlevel 1 goto silent'


def _first_script(order: Order, token: str) -> str:
    said = {"task_id": order.task.task_id, "mac_address": order.task.mac, "token": token}
    failed = {"status": "failed", "message": "the command %lpmos_step% ended with %lpmos_code%"}
    here = order.urls.progress.removesuffix("/progress")
    origin = urlsplit(here)
    count = len(order.task.setup.commands)
    steps = [f"call :step {number} {_step(number)}" for number in range(1, count + 1)]
    return _filled(
        _text("first-boot.cmd"),
        STEPS="\n".join([*steps, "if defined lpmos_step goto broken"]),
        UP=msgspec.json.encode(said).decode(),
        FAILED=msgspec.json.encode(said | failed).decode(),
        URL=batch(here, "region"),
        INSTALLED=batch(f"{origin.scheme}://{origin.netloc}{PATH}", "region"),
        TRACE=str(span_of(order.task, FIRST_BOOT)),
    )


def _values(order: Order) -> str:
    """The task's secret values, as the environment of its commands; passwords are none."""
    passwords = {password_name(user.name) for user in order.task.setup.users}
    values = {k: v for k, v in order.secrets.values.items() if k not in passwords}
    lines = [_set(name, value, f"setup.secrets.{name}") for name, value in values.items()]
    return "\n".join(["@echo off", *lines, "exit /b 0"])


def _step(number: int) -> str:
    return f"step-{number:02d}.cmd"


def _set(name: str, value: str, field: str) -> str:
    return f'set "{name}={batch(value, field)}"'


def _shown(text: str) -> str:
    """A name that somebody else gave, for people to read; what cannot stand in quotes is `?`."""
    return re.sub(r"[^A-Za-z0-9 ._()-]", "?", text)[:100]


@cache
def _text(name: str) -> str:
    """A file of this package, with `@NAME@` where something is put in."""
    return (files(__package__) / "batch" / name).read_text(encoding="ascii")


def _filled(template: str, **parts: str) -> str:
    return re.sub("@([A-Z]+)@", lambda found: parts[found[1]], template)


def _lines(text: str) -> str:
    """With the line ends of Windows, and one at the end."""
    return "\r\n".join(re.split("\r\n|\r|\n", text.rstrip("\r\n"))) + "\r\n"
