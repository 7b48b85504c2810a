"""A command in a terminal of its own: what it draws, and what is typed into it."""

import asyncio
import fcntl
import os
import pty
import re
import struct
import termios
from collections.abc import Mapping
from pathlib import Path

TIMEOUT_S = 30.0
_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A pseudo-terminal of `columns` by `rows` with one process on it."""

    def __init__(self, columns: int = 100, rows: int = 24) -> None:
        self._size = struct.pack("HHHH", rows, columns, 0, 0)
        self._drawn = bytearray()
        self._changed = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._ours = -1

    async def start(self, *words: str | Path, environment: Mapping[str, str]) -> None:
        """Start the one process."""
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, self._size)
        self._process = await asyncio.create_subprocess_exec(
            *words,
            env={"TERM": "xterm", **environment},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        asyncio.get_running_loop().add_reader(self._ours, self._read)

    @property
    def text(self) -> str:
        """All that was drawn until now, without colours and movements."""
        return _SEQUENCE.sub("", self._drawn.decode(errors="replace")).replace("\r", "")

    async def until(self, text: str) -> None:
        """Wait until `text` was drawn."""
        async with asyncio.timeout(TIMEOUT_S):
            while text not in self.text:
                self._changed.clear()
                await self._changed.wait()

    def type(self, text: str) -> None:
        """Type `text`."""
        os.write(self._ours, text.encode())

    async def ended(self) -> int:
        """The exit code, once the process has ended."""
        assert self._process is not None
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await self._process.wait()
        finally:
            asyncio.get_running_loop().remove_reader(self._ours)
            os.close(self._ours)

    def _read(self) -> None:
        try:
            self._drawn += os.read(self._ours, 65_536)
        except OSError:  # the other end is closed
            asyncio.get_running_loop().remove_reader(self._ours)
        self._changed.set()
