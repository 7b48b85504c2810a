"""What the kernel saw of the hardware while a step ran: its messages, its counts of memory errors.

Sources: Documentation/ABI/testing/dev-kmsg, Documentation/ABI/testing/sysfs-devices-edac.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from lpmos.agent.errors import InstallError
from lpmos.agent.inventory.tree import Tree
from lpmos.agent.kernellog import RECORD_BYTES, WARNING, parse_message

RECORDS_LIMIT = 10_000
HEARD_LINES = 4
HEARD_CHARACTERS = 150
"""Few and short: a region keeps the last 2,000 characters, most of which are the program's."""
DEBUG = 7
_HARDWARE = re.compile(r"Hardware Error|\bEDAC\b|\bmce:|Machine check", re.IGNORECASE)


class MessagesSince:
    """The kernel's messages since this was made; none where its log cannot be read."""

    def __init__(self, tree: Tree) -> None:
        try:
            path = tree.path("dev/kmsg")
            self._file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.lseek(self._file, 0, os.SEEK_END)
        except OSError:
            self._file = -1

    def end(self, *names: str, level: int = DEBUG) -> tuple[str, ...]:
        """Those that name one of `names` (`sda`), or a fault of the hardware; it is closed then.

        Of `level` or worse (the kernel's levels, 0 the worst).
        """
        if self._file < 0:
            return ()
        wanted = [re.compile(rf"\b{re.escape(name)}(p?\d+)?\b") for name in names]
        found: dict[str, None] = {}
        try:
            for _ in range(RECORDS_LIMIT):
                record = self._next()
                if record is None:
                    break
                message = parse_message(record)
                if message is None or message.level > level:
                    continue
                if any(each.search(message.text) for each in (*wanted, _HARDWARE)):
                    found[f"kernel: {message.text}"] = None
        finally:
            os.close(self._file)
            self._file = -1
        return tuple(found)

    def _next(self) -> bytes | None:
        while True:
            try:
                return os.read(self._file, RECORD_BYTES) or None
            except BrokenPipeError:  # some were overwritten before they were read
                continue
            except OSError:
                return None


@contextmanager
def heard_of(tree: Tree, *names: str) -> Iterator[None]:
    """Add to the evidence of a failure what the kernel complained of these disks meanwhile.

    What a program says of a disk that is gone ("Read-only file system") names no disk.
    """
    messages = MessagesSince(tree)
    try:
        yield
    except InstallError as failure:
        said = messages.end(*names, level=WARNING)[:HEARD_LINES]
        lines = (failure.output.rstrip(), *(line[:HEARD_CHARACTERS] for line in said))
        failure.output = "\n".join(line for line in lines if line)
        raise
    finally:
        messages.end()


class MemoryErrors(NamedTuple):
    """What the memory controllers have counted, by place: corrected errors, and others."""

    corrected: dict[str, int]
    uncorrected: dict[str, int]

    def since(self, before: "MemoryErrors") -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Lines of what was corrected since, and of what could not be."""
        return (
            _growth(before.corrected, self.corrected, "corrected"),
            _growth(before.uncorrected, self.uncorrected, "uncorrected"),
        )


def memory_errors(tree: Tree) -> MemoryErrors:
    """The counts of every memory controller and module that the kernel watches."""
    corrected: dict[str, int] = {}
    uncorrected: dict[str, int] = {}
    base = "sys/devices/system/edac/mc"
    for controller in tree.names(base):
        place = f"{base}/{controller}"
        for name, found in (("ce", corrected), ("ue", uncorrected)):
            found |= _counts(tree, place, controller, f"{name}_count")
            for module in tree.names(place):
                label = tree.text(f"{place}/{module}/dimm_label") or f"{controller}/{module}"
                found |= _counts(tree, f"{place}/{module}", label, f"dimm_{name}_count")
    return MemoryErrors(corrected, uncorrected)


def _counts(tree: Tree, place: str, label: str, name: str) -> dict[str, int]:
    count = tree.number(f"{place}/{name}")
    return {} if count is None else {label: count}


def _growth(before: dict[str, int], after: dict[str, int], kind: str) -> tuple[str, ...]:
    grown = {label: count - before.get(label, 0) for label, count in after.items()}
    return tuple(f"{label}: {more} {kind} errors" for label, more in grown.items() if more > 0)
