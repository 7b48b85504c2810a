"""What the agent says: readable lines on the console, the same lines for the region's log.

Lines for the region wait in a bounded queue: when it is full the oldest go, and how many went is
said in the next batch. A batch is forgotten only after the region acknowledged it.
"""

import json
import sys
import threading
from collections import deque
from typing import TextIO

STEPS = 4
QUEUE_LINES = 2000
BATCH_LINES = 200
"""The protocol's limit for one progress call."""
BATCH_BYTES = 32_768
"""Of JSON: a region takes no body over 64 KiB."""
LINE_CHARACTERS = 500


class Console:
    """Prints and remembers; safe to use from several threads."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream if stream is not None else sys.stdout
        self._lock = threading.Lock()
        self._waiting: deque[str] = deque()
        self._first = 0
        self._lost = 0
        self._lost_said = 0

    def step(self, number: int, text: str) -> None:
        """Begin one of the four steps of a run: `[1/4] Collecting hardware information...`."""
        self._say("INFO", f"[{number}/{STEPS}] {text}", "")

    def info(self, text: str) -> None:
        """Say what happens."""
        self._say("INFO", text, "      ")

    def warn(self, text: str) -> None:
        """Say what is not as it should be, but does not end the run."""
        self._say("WARN", text, "      WARNING: ")

    def error(self, text: str) -> None:
        """Say what ends the run."""
        self._say("ERROR", text, "      ERROR: ")

    def overheard(self, level: str, text: str) -> None:
        """Queue a message of the kernel, which prints it itself where it is an error."""
        with self._lock:
            self._queue(level, f"[kernel] {text}")

    @property
    def newest(self) -> int:
        """The number of the newest line, counted from 1 over the run."""
        with self._lock:
            return self._first + len(self._waiting)

    def waiting(self, until: int | None = None) -> int:
        """How many lines the region has not acknowledged; with `until` of those up to this one."""
        with self._lock:
            return len(self._waiting) if until is None else max(0, until - self._first)

    def batch(self) -> tuple[int, list[str]]:
        """The oldest lines not yet acknowledged, at most `BATCH_LINES`, and a mark for them.

        The mark is the number of the last of them, counted from 1 over the run; a word about lines
        that were dropped has the number of the last of those.
        """
        with self._lock:
            lines = self._oldest()
            mark = self._first + len(lines)
            self._lost_said = self._lost
            if self._lost:
                lines.insert(0, f"[WARN] {self._lost} older lines were dropped")
            return mark, lines

    def acknowledge(self, mark: int) -> None:
        """Forget the lines of the batch that had this mark."""
        with self._lock:
            while self._waiting and self._first < mark:
                self._waiting.popleft()
                self._first += 1
            self._lost -= self._lost_said
            self._lost_said = 0

    def _oldest(self) -> list[str]:
        """What fits into one call, with room for a word about lines that were dropped."""
        lines: list[str] = []
        size_bytes = 0
        for line in self._waiting:
            size_bytes += len(json.dumps(line)) + 1
            if len(lines) == BATCH_LINES - 1 or size_bytes > BATCH_BYTES:
                break
            lines.append(line)
        return lines

    def _say(self, level: str, text: str, indent: str) -> None:
        with self._lock:
            for line in text.splitlines() or [""]:
                print(indent + line, file=self._stream, flush=True)
                self._queue(level, line)

    def _queue(self, level: str, line: str) -> None:
        self._waiting.append(f"[{level}] {line[:LINE_CHARACTERS]}")
        if len(self._waiting) > QUEUE_LINES:
            self._waiting.popleft()
            self._first += 1
            self._lost += 1
