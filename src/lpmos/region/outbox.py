"""The outbox (F2): a journal on the region's disk of what machines were answered without the store.

The rule: `append` returns when the word is on the disk (SQLite, WAL, synchronous FULL); only then
is the machine answered. Words that come while the disk is busy share the next commit. A word goes
only after the store has it. Numbers are never used again, also not those of words that are gone.
Progress of one step takes the place of its earlier word; nothing else is dropped: where the outbox
or the disk is full, the machine is told to repeat.
"""

import asyncio
import contextlib
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
import structlog

from lpmos.store.api import NoSpace, Unavailable
from lpmos.store.spans import spanned

LIMIT_BYTES = 1 << 30
"""What the words may take together; beyond that machines repeat until there is room."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS outbox (id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS words (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    lane TEXT NOT NULL,
    at TEXT NOT NULL,
    body BLOB NOT NULL
);
"""

_Action = Callable[[sqlite3.Connection], int]


class Waiting(msgspec.Struct, frozen=True):
    """A word that waits: its number, whose it is, since when, and how long it is."""

    seq: int
    lane: str
    at: datetime
    size_bytes: int


class _Request(NamedTuple):
    """One change, what follows from it on the event loop, and who waits for it."""

    action: _Action
    then: Callable[[int], None]
    answer: "asyncio.Future[int]"


class Outbox:
    """One journal; make it with `open`. A lane is what keeps its order: one machine's words."""

    def __init__(
        self, connection: sqlite3.Connection, thread: ThreadPoolExecutor, limit_bytes: int
    ) -> None:
        self._connection = connection
        self._thread = thread
        self._limit_bytes = limit_bytes
        self._queue: list[_Request] = []
        self._busy = False
        self._lanes: dict[str, dict[int, Waiting]] = {}
        self._size_bytes = 0
        self._words: dict[int, Waiting] = {}
        self.id = ""
        """Tells this journal from every other, as that of another disk."""
        self.commits = 0

    @classmethod
    async def open(cls, path: Path, *, limit_bytes: int = LIMIT_BYTES) -> "Outbox":
        """The journal of this file, with what waits in it; a damaged one is set aside.

        Raises:
            OSError, sqlite3.Error: it cannot be read or made, or another process has it open.
        """
        thread = ThreadPoolExecutor(1, thread_name_prefix="outbox")
        loop = asyncio.get_running_loop()
        try:
            connection = await loop.run_in_executor(thread, _open, path)
            box = cls(connection, thread, limit_bytes)
            await loop.run_in_executor(thread, box._load)
        except BaseException:
            thread.shutdown(wait=False)
            raise
        return box

    @property
    def count(self) -> int:
        """How many words wait."""
        return len(self._words)

    @property
    def size_bytes(self) -> int:
        """What they take."""
        return self._size_bytes

    @property
    def oldest_at(self) -> datetime | None:
        """When the oldest of them was said."""
        first = next(iter(self._words.values()), None)
        return first.at if first else None

    def lanes(self) -> list[str]:
        """The machines that have words waiting, the oldest word first."""
        return sorted(self._lanes, key=lambda lane: next(iter(self._lanes[lane])))

    def waits(self, lane: str) -> bool:
        """Whether this machine has words waiting."""
        return lane in self._lanes

    def has(self, lane: str, seq: int) -> bool:
        """Whether this word still waits."""
        return seq in self._lanes.get(lane, {})

    def first(self, lane: str) -> Waiting | None:
        """The next word of this machine to hand in."""
        return next(iter(self._lanes.get(lane, {}).values()), None)

    def words(self) -> Iterator[Waiting]:
        """All that wait, in order."""
        return iter(tuple(self._words.values()))

    async def append(
        self,
        lane: str,
        at: datetime,
        body: bytes,
        *,
        replaces: int | None = None,
        then: Callable[[int], None] | None = None,
    ) -> int:
        """Keep a word; its number, once it is on the disk.

        Args:
            lane: whose word it is.
            at: when it was said.
            body: the word.
            replaces: the number of a word that goes in the same commit.
            then: called with the number once it is kept, also where the caller left meanwhile.

        Raises:
            NoSpace: the disk or the outbox is full; nothing was kept.
            Unavailable: the disk fails; nothing was kept.
        """
        if replaces is None and self._size_bytes + len(body) > self._limit_bytes:
            raise NoSpace(
                f"the region keeps {self.count} words for the store, which is as much as it may;"
                " it takes more when the store is back"
            )

        def action(connection: sqlite3.Connection) -> int:
            if replaces is not None:
                connection.execute("DELETE FROM words WHERE seq = ?", (replaces,))
            row = (lane, at.isoformat(), body)
            cursor = connection.execute("INSERT INTO words (lane, at, body) VALUES (?, ?, ?)", row)
            return cursor.lastrowid or 0

        def kept(seq: int) -> None:
            if replaces is not None:
                self._forget(lane, replaces)
            self._note(Waiting(seq, lane, at, len(body)))
            if then is not None:
                then(seq)

        return await self._submit(action, kept)

    async def remove(self, word: Waiting) -> None:
        """The store has it; raises as `append`."""

        def action(connection: sqlite3.Connection) -> int:
            return connection.execute("DELETE FROM words WHERE seq = ?", (word.seq,)).rowcount

        await self._submit(action, lambda _: self._forget(word.lane, word.seq))

    async def read(self, word: Waiting) -> bytes:
        """The word itself.

        Raises:
            Unavailable: the disk fails.
        """

        def read() -> bytes:
            try:
                query = "SELECT body FROM words WHERE seq = ?"
                return bytes(self._connection.execute(query, (word.seq,)).fetchone()[0])
            except sqlite3.Error as error:
                raise Unavailable(f"the outbox cannot be read: {error}") from error

        return await asyncio.get_running_loop().run_in_executor(self._thread, read)

    async def close(self) -> None:
        """Let go of the file, after what is on its way; what waits stays in it."""
        with contextlib.suppress(NoSpace, Unavailable):
            await self._submit(lambda _: 0, lambda _: None)
        await asyncio.get_running_loop().run_in_executor(self._thread, self._connection.close)
        self._thread.shutdown()

    async def _submit(self, action: _Action, then: Callable[[int], None]) -> int:
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._queue.append(_Request(action, then, answer))
        self._commit_next()
        with spanned("disk.journal", {}):
            return await asyncio.shield(answer)

    def _commit_next(self) -> None:
        """Commit all that waits for it, where no commit is under way."""
        if self._busy or not self._queue:
            return
        self._busy = True
        group, self._queue = self._queue, []
        loop = asyncio.get_running_loop()
        job = loop.run_in_executor(self._thread, self._commit, [each.action for each in group])
        job.add_done_callback(lambda done: self._committed(group, done))

    def _committed(self, group: list[_Request], done: "asyncio.Future[list[int]]") -> None:
        self._busy = False
        error = done.exception()
        for number, request in enumerate(group):
            if error is not None:
                request.answer.set_exception(error)
                request.answer.exception()  # a caller that has gone asks no more
            else:
                request.then(done.result()[number])
                request.answer.set_result(done.result()[number])
        self.commits += error is None
        self._commit_next()

    def _commit(self, actions: list[_Action]) -> list[int]:
        try:
            with self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                return [action(self._connection) for action in actions]
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL:
                raise NoSpace("the region's disk is full; make space in its state dir") from error
            raise Unavailable(f"the region's disk fails: {error}") from error

    def _load(self) -> None:
        row = self._connection.execute("SELECT id FROM outbox").fetchone()
        if row is None:
            row = (uuid.uuid4().hex,)
            self._connection.execute("INSERT INTO outbox VALUES (?)", row)
        self.id = row[0]
        query = "SELECT seq, lane, at, length(body) FROM words ORDER BY seq"
        for seq, lane, at, size_bytes in self._connection.execute(query):
            self._note(Waiting(seq, lane, datetime.fromisoformat(at), size_bytes))

    def _note(self, word: Waiting) -> None:
        self._lanes.setdefault(word.lane, {})[word.seq] = word
        self._size_bytes += word.size_bytes
        self._words[word.seq] = word

    def _forget(self, lane: str, seq: int) -> None:
        words = self._lanes.get(lane, {})
        word = words.pop(seq, None)
        if word is not None:
            self._size_bytes -= word.size_bytes
            del self._words[seq]
        if not words:
            self._lanes.pop(lane, None)


def _open(path: Path) -> sqlite3.Connection:
    try:
        return _connect(path)
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise
        aside = path.with_name(f"{path.name}.damaged-{uuid.uuid4().hex[:8]}")
        for end in ("", "-wal", "-shm"):  # they belong together
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + end).rename(f"{aside}{end}")
        structlog.get_logger().error(
            "the outbox is damaged and was set aside; a new one is begun",
            file=str(aside),
            error=str(error),
            hint="what it has can be read with `sqlite3 FILE .recover`",
        )
        return _connect(path)


def _connect(path: Path) -> sqlite3.Connection:
    """A connection for one thread at a time, each statement its own transaction unless begun."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")  # two would hand in the same words
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA quick_check")
        connection.executescript(_SCHEMA)
    except BaseException:
        connection.close()
        raise
    return connection
