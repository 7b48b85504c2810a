"""The full log of each task, as a file of the region (S13): the store keeps its newest lines only.

A file takes `FILE_LIMIT_BYTES`. One that is full keeps its beginning (`HEAD_SHARE` of it) and its
newest half, and a line between them says how much is left out: how an install began and how it
ended are both there. The directory keeps the `FILES_KEPT` files that were written to last.
"""

import asyncio
import os
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import structlog

from lpmos.model.errors import FieldProblem, InvalidInput
from lpmos.region.joined import Joined
from lpmos.store.spans import spanned

FILE_LIMIT_BYTES = 16 * 1024 * 1024
FILES_KEPT = 2000
HEAD_SHARE = 8
"""One part in so many of a full file is its beginning."""
LEFT_OUT = "[WARN] {} bytes are left out here: this log was full\n"

_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
_LEFT_OUT = re.compile(rb"(?m)^\[WARN\] (\d+) bytes are left out here: this log")
_TASK_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class TaskLogs:
    """The directory of the logs."""

    def __init__(self, directory: Path, *, limit_bytes: int = FILE_LIMIT_BYTES) -> None:
        self._directory = directory
        self._limit_bytes = limit_bytes
        self._waiting: dict[Path, list[bytes]] = {}
        self._writes = Joined(self._write_waiting)

    def path(self, task_id: str) -> Path:
        """Where the log of a task is, whether there is one or not.

        Raises:
            InvalidInput: not a task's id.
        """
        if not _TASK_ID.fullmatch(task_id):
            raise InvalidInput(FieldProblem("task_id", f"{task_id[:64]!r} is not a task's id"))
        return self._directory / f"{task_id}.log"

    async def append(self, task_id: str, now: datetime, lines: Sequence[str]) -> None:
        """Add lines, each with a level in brackets. A full disk is logged; it stops no install.

        What comes while others are written is written together after them.
        """
        if not lines:
            return
        stamp = f"{now:%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"
        text = "".join(f"{stamp} {line}\n" for line in lines).encode()
        self._waiting.setdefault(self.path(task_id), []).append(text)
        with spanned("disk.log", {}):
            await self._writes.run()

    async def _write_waiting(self) -> None:
        texts, self._waiting = self._waiting, {}
        await asyncio.to_thread(self._write_all, texts)

    def _write_all(self, texts: Mapping[Path, Sequence[bytes]]) -> None:
        for path, added in texts.items():
            try:
                self._write(path, b"".join(added))
            except OSError as error:
                why = str(error)
                structlog.get_logger().error("task log not written", task_id=path.stem, error=why)

    def _write(self, path: Path, text: bytes) -> None:
        if not self._appended(path, text, self._limit_bytes):
            _thin(path, self._limit_bytes)
            self._appended(path, text)

    def _appended(self, path: Path, text: bytes, limit_bytes: int = sys.maxsize) -> bool:
        """Write, unless the file would have more than the limit.

        By few calls of the system: at each of them the thread waits for its turn again.
        """
        file = self._opened(path)
        try:
            if os.fstat(file).st_size + len(text) > limit_bytes:
                return False
            while text:
                text = text[os.write(file, text) :]
            return True
        finally:
            os.close(file)

    def _opened(self, path: Path) -> int:
        try:
            return os.open(path, _APPEND)
        except FileNotFoundError:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._forget_oldest()
            return os.open(path, _APPEND | os.O_CREAT, 0o666)

    def _forget_oldest(self) -> None:
        files = sorted(self._directory.glob("*.log"), key=lambda path: path.stat().st_mtime_ns)
        for path in files[: max(0, len(files) - FILES_KEPT + 1)]:
            path.unlink(missing_ok=True)


def _thin(path: Path, limit_bytes: int) -> None:
    """Take whole lines out of the middle of a file, which is the old or the new one at any time."""
    whole = path.read_bytes()
    begin = whole.rfind(b"\n", 0, limit_bytes // HEAD_SHARE) + 1
    rest = whole.find(b"\n", max(begin, len(whole) - limit_bytes // 2)) + 1 or len(whole)
    if rest == begin:
        return  # there is no more than the beginning: what comes now is larger than the limit
    before = sum(int(size) for size in _LEFT_OUT.findall(whole[begin:rest]))
    word = LEFT_OUT.format(rest - begin + before).encode()
    thinned = path.with_suffix(".thinned")
    thinned.write_bytes(whole[:begin] + word + whole[rest:])
    thinned.replace(path)
