"""How far watched tasks are: what the API read and the WebSocket told, put together.

No terminal and no connection here; `task_watch` shows what stands on the board.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from lpmos.cli.client import Document
from lpmos.model.lifecycle import FINAL, Status

SAMPLES = 40
STRETCH_S = 30.0
"""The remaining time is judged by the speed of so many past seconds."""

COUNTED = ("bytes_done", "bytes_total", "bytes_per_second")
"""What of a step's bytes is told, where it has any."""

FINISHED = frozenset(status.value for status in FINAL)


class Change(NamedTuple):
    """Something about a task that was not known before."""

    task_id: str
    what: str
    text: str


@dataclass
class Row:
    """One task on the board."""

    task_id: str
    idc: str
    sn: str
    hostname: str
    status: str
    percentage: float = 0.0
    stage: str = ""
    message: str = ""
    bytes_done: float | None = None
    bytes_total: float | None = None
    bytes_per_second: float | None = None
    error: str = ""
    heard_at: float = 0.0
    told: list[str] = field(default_factory=list)
    """The statuses that were told since it is on the board, in order."""
    _samples: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=SAMPLES))

    @property
    def finished(self) -> bool:
        """Whether nothing more happens to it."""
        return self.status in FINISHED

    def sample(self, now_s: float) -> None:
        """Note how far it is now; going back (a new attempt) begins anew."""
        if self._samples and self.percentage < self._samples[-1][1]:
            self._samples.clear()
        self._samples.append((now_s, self.percentage))

    def remaining_s(self, now_s: float) -> float | None:
        """Seconds to the end at the speed of the last `STRETCH_S`; None where nothing moves."""
        recent = [each for each in self._samples if each[0] >= now_s - STRETCH_S]
        if self.status != Status.INSTALLING.value or len(recent) < 2:
            return None
        (start_s, start), (_, end) = recent[0], recent[-1]
        if end <= start or now_s <= start_s:
            return None
        return (100.0 - end) * (now_s - start_s) / (end - start)


class Board:
    """The tasks that are watched; `named` ones stay, others go when they have ended."""

    def __init__(self, named: Iterable[str] = ()) -> None:
        self.named = tuple(named)
        self.rows: dict[str, Row] = {}

    def read(self, task: Document, now_s: float) -> Iterator[Change]:
        """Take in a task as the API shows it, in a list or alone."""
        row = self.rows.get(task["task_id"])
        history = [each["status"] for each in task.get("status_history") or ()]
        if row is None:
            row = Row(task["task_id"], task["idc"], task["sn"], task["hostname"], task["status"])
            self.rows[row.task_id] = row
            history = []
        for status in [*_after(history, row.told), task["status"]]:
            yield from self._status(row, status, now_s)
        row.status = task["status"]
        newest = (task.get("progress") or [{}])[-1]
        yield from self._progress(
            row,
            {
                "percentage": task["percentage"],
                "stage": newest.get("step", task.get("stage", "")),
                "message": newest.get("message", task.get("message", "")),
                **{name: newest.get(name, task.get(name)) for name in COUNTED},
            },
            now_s,
        )
        error = task.get("error")
        row.error = str(error.get("reason") if isinstance(error, dict) else error or "")

    def hear(self, message: Document, now_s: float) -> Iterator[Change]:
        """Take in a message of the WebSocket about a task that is on the board."""
        row = self.rows[message["task_id"]]
        if message["type"] == "status":
            yield from self._status(row, message["status"], now_s)
        elif message["type"] == "progress":
            yield from self._progress(row, message, now_s)
        elif message["type"] == "hardware":
            yield Change(row.task_id, "hardware", "hardware reported")

    def ended(self) -> bool:
        """Whether every named task has ended; never where none is named."""
        return bool(self.named) and all(
            name in self.rows and self.rows[name].finished for name in self.named
        )

    def _status(self, row: Row, status: str, now_s: float) -> Iterator[Change]:
        if row.told and row.told[-1] == status:
            return
        row.told.append(status)
        row.status, row.heard_at = status, now_s
        yield Change(row.task_id, "status", status)

    @staticmethod
    def _progress(row: Row, news: dict[str, Any], now_s: float) -> Iterator[Change]:
        same = (row.stage, row.percentage) == (news["stage"], news["percentage"])
        row.bytes_done, row.bytes_total, row.bytes_per_second = (news.get(name) for name in COUNTED)
        row.percentage, row.stage, row.message = (
            news["percentage"], news["stage"], news["message"],
        )  # fmt: skip
        if not same:
            row.heard_at = now_s
            row.sample(now_s)
            text = f"{row.percentage:.0f} % {row.stage}"
            yield Change(row.task_id, "progress", f"{text}: {row.message}" if row.message else text)


def _after(history: list[str], told: list[str]) -> list[str]:
    """What of a task's history came after the last status that was told."""
    if not told or told[-1] not in history:
        return []
    return history[len(history) - history[::-1].index(told[-1]) :]
