"""The kernel line of an installed system, and GRUB's defaults with it.

The rule: a task's own words come last, so that its `console=` is the console, and GRUB's menu is on
the serial line that the console is on. Anaconda makes both from its own line: see `last_console`.

Sources: the kernel's admin-guide/serial-console.rst; GRUB's manual, "Simple configuration
handling"; Debian's and Ubuntu's grub-mkconfig, which reads `/etc/default/grub.d` as shell in the
order of names, and ends a kernel's line with `GRUB_CMDLINE_LINUX_DEFAULT`; Anaconda's
pyanaconda/modules/storage/bootloader, `base.py` (`_set_console`) and `grub2.py`.
"""

import re
from collections.abc import Iterator

from lpmos.model.installplan import PlannedFile
from lpmos.model.task import Task

CONSOLE = "console=tty0 console=ttyS0,115200n8"
"""What the kernel of each system is told that is installed, and of each installer."""
DEFAULTS = "/etc/default/grub.d/lpmos.cfg"
_SERIAL = re.compile(r"console=ttyS(\d+)(?:,(\d+))?")
_SPEED = 9600
"""The kernel's where none is said."""


def kernel_arguments(task: Task) -> str:
    """What the installed system's kernel is told."""
    return f"{CONSOLE} {task.kernel_arguments}".rstrip()


def last_console(task: Task) -> str:
    """The task's word that says which its console is; empty where none does.

    Anaconda ends the installed system's line with the last `console=` of its own line, and GRUB's
    menu is there too, whatever kickstart's `bootloader --append` says.
    """
    words = task.kernel_arguments.split()
    return next((word for word in reversed(words) if word.startswith("console=")), "")


def grub_serial(task: Task) -> str:
    """GRUB's command for the serial line that is the kernel's console."""
    unit, speed = _SERIAL.findall(kernel_arguments(task))[-1]
    return f"serial --unit={unit} --speed={speed or _SPEED}"


def grub_terminal(task: Task) -> str:
    """The lines of GRUB's defaults that say where its menu is."""
    return f'GRUB_TERMINAL="console serial"\nGRUB_SERIAL_COMMAND="{grub_serial(task)}"\n'


def added_defaults(task: Task) -> Iterator[PlannedFile]:
    """A task's words beside what the installer of Debian or Ubuntu wrote; `update-grub` reads it.

    That wrote the words of its own kernel line, which are `CONSOLE` and the region's.
    """
    if not task.kernel_arguments:
        return
    default = "GRUB_CMDLINE_LINUX_DEFAULT"
    content = f'{default}="${default} {task.kernel_arguments}"\n'
    if _SERIAL.search(task.kernel_arguments):
        content += grub_terminal(task)
    yield PlannedFile(path=DEFAULTS, content=content)
