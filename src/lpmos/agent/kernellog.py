"""What the kernel says of this machine while the agent runs: disks that fail, memory that ran out.

The rule: only the kernel's own messages of the level warning and worse, at most `BURST` in
`BURST_S`; how many went beyond that, or were overwritten before they were read, is said. A kernel
that panics sends nothing more: what it said until then is at the region, the rest on the console.

Source: Linux, Documentation/ABI/testing/dev-kmsg.
"""

import errno
import os
import select
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from lpmos.agent.console import Console

DEVICE = Path("/dev/kmsg")
RECORD_BYTES = 8192
WARNING, ERROR = 4, 3
BURST, BURST_S = 50, 10.0
WAIT_S = 1.0
JOIN_TIMEOUT_S = 30.0


class Message(NamedTuple):
    """One message; `level` is the kernel's, 0 the worst, `number` counts all since the start."""

    level: int
    number: int
    text: str


OVERWRITTEN = Message(WARNING, 0, "messages were overwritten before they were read")


def parse_message(record: bytes) -> Message | None:
    """A record of `/dev/kmsg`; None where it is not the kernel's own, or not understood.

    A record is `PRIORITY,NUMBER,MICROSECONDS,FLAGS[,…];TEXT`, and lines with a space before are
    about the device that it is of.
    """
    head, semicolon, rest = record.decode(errors="replace").partition(";")
    fields = head.split(",")
    if not semicolon or len(fields) < 3 or not all(each.isdecimal() for each in fields[:2]):
        return None
    priority = int(fields[0])
    if priority >> 3:  # written by a program
        return None
    return Message(priority & 7, int(fields[1]), rest.partition("\n")[0])


class Bounded:
    """Tells the console what is worth it, and what was left out."""

    def __init__(self, console: Console, monotonic: Callable[[], float]) -> None:
        self._console = console
        self._monotonic = monotonic
        self._since = monotonic()
        self._told = 0
        self._left_out = 0

    def take(self, message: Message) -> None:
        """Tell a message, unless too many came before it."""
        if message.level > WARNING:
            return
        self.tick()
        self._told += 1
        if self._told > BURST:
            self._left_out += 1
            return
        level = "ERROR" if message.level <= ERROR else "WARN"
        self._console.overheard(level, message.text)

    def tick(self) -> None:
        """Say what was left out, once the time of its burst is over."""
        now = self._monotonic()
        if now - self._since < BURST_S:
            return
        if self._left_out:
            self._console.overheard("WARN", f"{self._left_out} messages were left out")
        self._since, self._told, self._left_out = now, 0, 0


class KernelLog:
    """Reads the kernel's messages, those since it started too, in a thread until closed."""

    def __init__(self, console: Console, device: Path = DEVICE) -> None:
        self._bounded = Bounded(console, time.monotonic)
        self._device = device
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kernel log", daemon=True)

    def start(self) -> None:
        """Begin to read; a machine without the device has no messages."""
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        self.join()

    def join(self) -> None:
        """Wait for the thread's end, which is that of a device that is a file, too."""
        self._thread.join(JOIN_TIMEOUT_S)

    def _run(self) -> None:
        try:
            descriptor = os.open(self._device, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return
        try:
            while not self._closed.is_set():
                select.select([descriptor], [], [], WAIT_S)
                self._read(descriptor)
                self._bounded.tick()
        finally:
            os.close(descriptor)

    def _read(self, descriptor: int) -> None:
        """Read what there is now, each record by a read of its own."""
        while not self._closed.is_set():
            try:
                record = os.read(descriptor, RECORD_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno == errno.EPIPE:
                    self._bounded.take(OVERWRITTEN)
                    continue
                self._closed.set()
                return
            if not record:
                self._closed.set()
            elif message := parse_message(record):
                self._bounded.take(message)
