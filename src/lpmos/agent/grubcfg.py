"""The first `grub.cfg` of an installed system, written without asking the system itself.

`update-grub` would take 10 s; it replaces this file when the system's kernel changes.
"""

import re
from pathlib import Path
from typing import NamedTuple

from lpmos.agent.errors import InstallError

_TIMEOUT_S = 1
_INITRDS = ("initrd.img-{}", "initramfs-{}.img", "initrd-{}", "initrd.img-{}.img")
_SERIAL = re.compile(r"console=ttyS(\d+)(?:,(\d+))?")


class Start(NamedTuple):
    """Where GRUB finds the kernels, and where the kernel finds its root.

    `boot_uuid` is of the file system with the kernels, `directory` their place in it; `modules` are
    those that GRUB reads it with; `root` is the kernel's argument.
    """

    boot_uuid: str
    directory: str
    modules: tuple[str, ...]
    root: str


def newest_first(names: list[str]) -> list[str]:
    """Versions in falling order, their numbers compared as numbers: 6.10 before 6.9."""

    def key(name: str) -> list[tuple[int, int, str]]:
        parts = re.findall(r"\d+|[^\d]+", name)
        return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts]

    return sorted(names, key=key, reverse=True)


def kernels(boot: Path) -> list[tuple[str, str | None]]:
    """The kernels in `boot` with their initrds, newest first, as file names.

    Raises:
        InstallError: there is none.
    """
    versions = [path.name.removeprefix("vmlinuz-") for path in boot.glob("vmlinuz-*")]
    if not versions:
        raise InstallError(
            "the image has no kernel in /boot",
            hint="Build the image with a kernel package (linux-image-amd64).",
        )
    found = []
    for version in newest_first(versions):
        initrds = [pattern.format(version) for pattern in _INITRDS]
        found.append(
            (f"vmlinuz-{version}", next((name for name in initrds if (boot / name).exists()), None))
        )
    return found


def grub_config(
    title: str, start: Start, arguments: str, found: list[tuple[str, str | None]]
) -> str:
    """The configuration: the newest kernel by default, the others below it."""
    lines = [
        "# Written by LPMOS at installation; update-grub replaces it when the kernel changes.",
        *_terminal_lines(arguments),
        "set default=0",
        "set timeout_style=hidden",  # Esc shows the menu
        f"set timeout={_TIMEOUT_S}",
        'if [ "$grub_platform" = "efi" ]; then',
        "  insmod all_video",
        "  set gfxpayload=keep",
        "fi",
        "insmod part_gpt",
        *(f"insmod {module}" for module in start.modules),
        f"search --no-floppy --fs-uuid --set=root {start.boot_uuid}",
    ]
    for kernel, initrd in found:
        version = kernel.removeprefix("vmlinuz-")
        lines += [
            f"menuentry '{title.replace(chr(39), '')}, Linux {version}' {{",
            f"  linux {start.directory}/{kernel} root={start.root} ro {arguments}".rstrip(),
            *([f"  initrd {start.directory}/{initrd}"] if initrd else []),
            "}",
        ]
    return "\n".join(lines) + "\n"


def signed_grub_config(start: Start) -> str:
    """The configuration on the EFI system partition that leads a signed GRUB to the system's."""
    return (
        f"search.fs_uuid {start.boot_uuid} root\n"
        f"set prefix=($root)'{start.directory}/grub'\n"
        "configfile $prefix/grub.cfg\n"
    )


def _terminal_lines(arguments: str) -> list[str]:
    """GRUB on the serial line too, where the kernel's console is there."""
    serial = _SERIAL.findall(arguments)
    if not serial:
        return []
    unit, speed = serial[-1]  # where there are several, as the kernel does
    return [
        f"serial --unit={unit} --speed={speed or 9600}",
        "terminal_input console serial",
        "terminal_output console serial",
    ]
