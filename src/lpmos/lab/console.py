"""A machine's serial console: a log file with times, and waiting for what appears on it.

Bytes go in, lines come out. Escape sequences are removed from whole lines, never from pieces, so
what is found does not depend on how the bytes were cut. A search begins where the last match ended:
a prompt is found once, however often it is asked for.
"""

import asyncio
import re
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

from lpmos.lab.errors import ProcessFailed, WaitTimedOut

KEPT_LINES: Final = 2000
LINE_BYTES: Final = 16_384
"""A longer line is cut here: boot menus draw whole screens without a line feed."""

_ESCAPES: Final = re.compile(
    rb"\x1b\[[0-9;?=]*[A-Za-z]"  # CSI sequences (ECMA-48 section 5.4), with SeaBIOS's "="
    rb"|\x1b[()][A-Z0-9]|\x1b[=>78c]|[\r\x00\x07\x08]"
)


def plain_text(line: bytes) -> str:
    """A line of terminal output without its escape sequences and trailing blanks."""
    return _ESCAPES.sub(b"", line).decode("utf-8", "replace").rstrip()


class Console:
    """What a machine wrote, over all its power cycles; the oldest lines beyond `KEPT_LINES` go."""

    def __init__(self, log: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.log = log
        self._clock = clock
        self._started = clock()
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._seen = 0
        self._searched = (0, 0)
        self._rest = b""
        self._closed: str | None = "the machine was not powered on"
        self._changed = asyncio.Event()

    def open(self) -> None:
        """Begin a power cycle: times in the log count from here."""
        self._started = self._clock()
        self._closed = None

    def close(self, reason: str) -> None:
        """End a power cycle; whoever waits for text learns why it will not come."""
        self._flush()
        self._closed = reason
        self._notify()

    def feed(self, data: bytes) -> None:
        """Take what the machine wrote."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._keep(line)
        while len(self._rest) > LINE_BYTES:
            self._keep(self._rest[:LINE_BYTES])
            self._rest = self._rest[LINE_BYTES:]
        self._notify()

    def tail(self, count: int = 20) -> list[str]:
        """The newest lines, the unfinished one included."""
        rest = plain_text(self._rest)
        return [*self._lines, *([rest] if rest else [])][-count:]

    async def wait_for(self, pattern: str, timeout_s: float) -> re.Match[str]:
        """The first match of a regular expression, within one line, after what was matched before.

        Raises:
            WaitTimedOut: nothing matched within `timeout_s`; the text has the newest lines.
            ProcessFailed: the machine went off before.
        """
        expression = re.compile(pattern)
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    if match := self._search(expression):
                        return match
                    if self._closed is not None:
                        raise ProcessFailed(self._report(f"{self._closed}, before", pattern))
                    await self._changed.wait()
        except TimeoutError:
            reason = f"in {timeout_s:.0f} s there was no"
            raise WaitTimedOut(self._report(reason, pattern)) from None

    def _search(self, expression: re.Pattern[str]) -> re.Match[str] | None:
        oldest = self._seen - len(self._lines)
        candidates = [*self._lines, plain_text(self._rest)]
        line, column = self._searched
        for number, text in enumerate(candidates, start=oldest):
            begin = column if number == line else 0
            if number >= line and (match := expression.search(text, begin)):
                self._searched = (number, match.end())
                return match
        return None

    def _report(self, reason: str, pattern: str) -> str:
        newest = "\n  ".join(self.tail())
        return f"{reason} {pattern!r} on the console ({self.log}); it ends with:\n  {newest}"

    def _keep(self, line: bytes) -> None:
        text = plain_text(line)
        if not text:
            return
        self._lines.append(text)
        self._seen += 1
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"{self._clock() - self._started:8.2f} {text}\n")

    def _flush(self) -> None:
        rest, self._rest = self._rest, b""
        self._keep(rest)

    def _notify(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


class ConsolePipe(asyncio.Protocol):
    """Joins the reading end of a machine's output to its console, for one power cycle."""

    def __init__(self, console: Console, machine: str) -> None:
        self._console = console
        self._machine = machine
        self.closed = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        """Called by the event loop with what the machine wrote."""
        self._console.feed(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop when the machine went off."""
        self._console.close(f"{self._machine} went off")
        self.closed.set()
