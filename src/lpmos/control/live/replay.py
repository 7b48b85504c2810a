"""The newest messages in order of revision: what a client missed is read from here (W3).

It has every message since the revision `floor`, but for those that a newer one made idle. Two
bounds hold it, on messages and on bytes; what is pushed out at the old end raises the floor.
"""

from bisect import bisect_right
from collections.abc import Callable, Hashable
from operator import attrgetter
from typing import NamedTuple

from lpmos.control.live.messages import Told

MAX_MESSAGES = 50_000
MAX_BYTES = 16 << 20
CHUNK_BYTES = 64 << 10
CHUNK_MESSAGES = 2_000
"""How many messages are looked at for one chunk; more wait for the next."""

_KEPT = 7 / 8
"""What is left of a full log: it is emptied in strides, not message by message."""


class Chunk(NamedTuple):
    """Messages after a revision, up to and with `revision`; whole revisions only."""

    texts: list[bytes]
    revision: int


class Replay:
    """A log of messages without those that became idle."""

    def __init__(
        self,
        max_messages: int = MAX_MESSAGES,
        max_bytes: int = MAX_BYTES,
        chunk_messages: int = CHUNK_MESSAGES,
    ) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._chunk_messages = chunk_messages
        self._floor: int | None = None
        self._log: list[Told] = []
        self._newest: dict[Hashable, Told] = {}
        self._count = 0
        self._bytes = 0

    def begin(self, revision: int) -> None:
        """Forget everything; from now on all that comes after `revision` is kept."""
        self._floor = revision
        self._log = []
        self._newest = {}
        self._count = self._bytes = 0

    def covers(self, revision: int) -> bool:
        """Whether all that came after `revision` is here; a log that never began missed nothing."""
        return revision >= (self._floor or 0)

    def keep(self, told: Told) -> None:
        """Add a message; its revision is not below that of the one before."""
        if self._floor is None:
            self._floor = told.revision - 1
        if told.key is not None:
            if (idle := self._newest.get(told.key)) is not None:
                self._drop(idle)
            self._newest[told.key] = told
        self._log.append(told)
        self._count += 1
        self._bytes += len(told.text or b"")
        if self._count > self._max_messages or self._bytes > self._max_bytes:
            self._push_out()
        elif len(self._log) > 2 * self._count + CHUNK_MESSAGES:
            self._log = [each for each in self._log if each.text is not None]

    def after(self, since: int, present: int, wants: Callable[[Told], bool]) -> Chunk:
        """The wanted messages after `since`, oldest first; all of them end at `present`."""
        texts: list[bytes] = []
        size_bytes = 0
        last = since
        first = bisect_right(self._log, since, key=_revision)
        for place in range(first, len(self._log)):
            told = self._log[place]
            full = size_bytes >= CHUNK_BYTES or place - first >= self._chunk_messages
            if full and told.revision != last:
                return Chunk(texts, last)
            last = told.revision
            if told.text is not None and wants(told):
                texts.append(told.text)
                size_bytes += len(told.text)
        return Chunk(texts, present)

    def _drop(self, told: Told) -> None:
        if told.text is not None:
            self._newest.pop(told.key, None)
            self._count -= 1
            self._bytes -= len(told.text)
            told.text = None

    def _push_out(self) -> None:
        """Let go of the oldest until there is room again."""
        gone = 0
        while gone < len(self._log) and (
            self._count > self._max_messages * _KEPT or self._bytes > self._max_bytes * _KEPT
        ):
            told = self._log[gone]
            self._drop(told)
            self._floor = told.revision
            gone += 1
        self._log = [each for each in self._log[gone:] if each.text is not None]


_revision = attrgetter("revision")
