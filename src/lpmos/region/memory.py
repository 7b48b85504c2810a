"""What the region knows, kept on its disk: a region that starts while the store is away goes on.

Tasks and machines of the region as of one revision. What changed is written twice a second in one
transaction with the revision it brings the file to, so the file always is one moment of the store.
Each row has a checksum; a row that is damaged is left out, and a file that is damaged is begun
anew: the store has all of it.
"""

import asyncio
import contextlib
import sqlite3
import zlib
from hashlib import blake2b
from itertools import chain, islice
from pathlib import Path

import structlog

from lpmos.region.joined import Joined
from lpmos.store import keys
from lpmos.store.api import KV
from lpmos.store.mirror import Mirror, deflated

INTERVAL_S = 0.5
RETRY_S = 10.0
ROWS_AT_ONCE = 500
"""So many are one statement: after each the thread waits for its turn again."""
LIMIT_BYTES = 2 << 30
"""What the file may take; where it is full it stays as it is, and the log says so."""
PAGE_BYTES = 4096
KINDS = frozenset({"task", "meta", "signer", "taken", "sealed", "log_reader"})
"""What machines are served from without the store, and who may read their logs; a task's secrets
are sealed here, too."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS moment (id INTEGER PRIMARY KEY CHECK (id = 1), revision INTEGER);
CREATE TABLE IF NOT EXISTS documents (
    key TEXT PRIMARY KEY,
    create_revision INTEGER NOT NULL,
    mod_revision INTEGER NOT NULL,
    version INTEGER NOT NULL,
    packed BLOB NOT NULL,
    sum BLOB NOT NULL
) WITHOUT ROWID;
"""


class Memory:
    """The file beside one mirror."""

    def __init__(self, path: Path, mirror: Mirror, *, interval_s: float = INTERVAL_S) -> None:
        self._path = path
        self._mirror = mirror
        self._interval_s = interval_s
        self._changed: set[str] = set()
        self._arrived = asyncio.Event()
        self._writes = Joined(self._write_changed)
        self._log = structlog.get_logger()

    async def restore(self) -> int:
        """Fill the mirror with what the file has; how many documents.

        Call it before the mirror runs. A file that cannot be read is as good as none.
        """
        try:
            revision, kvs = await asyncio.to_thread(self._read)
        except (OSError, sqlite3.Error) as error:
            self._log.error("what the region knew cannot be read", error=str(error))
            revision, kvs = 0, []
        if revision:
            self._mirror.restore(kvs, revision)
        self._mirror.subscribe(self._note)
        return len(kvs)

    async def run(self) -> None:
        """Write what changes until cancelled."""
        while True:
            await self._arrived.wait()
            await asyncio.sleep(self._interval_s)
            self._arrived.clear()
            try:
                await self.flush()
            except (OSError, sqlite3.Error) as error:
                self._log.error(
                    "what the region knows cannot be written; after a restart without the store it"
                    " would know less",
                    error=str(error),
                )
                await asyncio.sleep(RETRY_S)
                self._arrived.set()

    async def flush(self) -> None:
        """Write what has changed; raises `OSError` and `sqlite3.Error`, and forgets nothing."""
        await self._writes.run()

    async def _write_changed(self) -> None:
        names, self._changed = self._changed, set()
        if not names:
            return
        changed = {key: self._mirror.kept(key) for key in names}
        revision = self._mirror.revision
        try:
            await asyncio.to_thread(self._write, changed, revision)
        except BaseException:
            self._changed |= names
            raise

    def _note(self, key: str, _before: KV | None, _after: KV | None) -> None:
        name = keys.parse(key)
        if name is not None and name.kind in KINDS:
            self._changed.add(key)
            self._arrived.set()

    def _read(self) -> tuple[int, list[KV]]:
        with contextlib.closing(self._open()) as connection:
            row = connection.execute("SELECT revision FROM moment").fetchone()
            if row is None:
                return 0, []
            found = map(_document, connection.execute("SELECT * FROM documents"))
            kvs = [kv for kv in found if kv is not None]
            return row[0], sorted(kvs, key=lambda kv: kv.mod_revision)

    def _write(self, changed: dict[str, KV | None], revision: int) -> None:
        with contextlib.closing(self._open()) as connection, connection:
            connection.execute("BEGIN IMMEDIATE")
            gone = [(key,) for key, kv in changed.items() if kv is None]
            connection.executemany("DELETE FROM documents WHERE key = ?", gone)
            rows = (_row(kv) for kv in changed.values() if kv is not None)
            while part := list(islice(rows, ROWS_AT_ONCE)):
                places = ", ".join(["(?, ?, ?, ?, ?, ?)"] * len(part))
                values = list(chain.from_iterable(part))
                connection.execute(f"REPLACE INTO documents VALUES {places}", values)  # noqa: S608
            connection.execute("REPLACE INTO moment VALUES (1, ?)", (revision,))

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise
            self._log.error("what the region knew is damaged; it is begun anew", error=str(error))
            for name in ("", "-wal", "-shm"):
                self._path.with_name(self._path.name + name).unlink(missing_ok=True)
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA max_page_count = {LIMIT_BYTES // PAGE_BYTES}")
            connection.executescript(_SCHEMA)
        except BaseException:
            connection.close()
            raise
        return connection


def _row(kv: KV) -> tuple[str, int, int, int, bytes, bytes]:
    packed = deflated(kv)
    head = (kv.key, kv.create_revision, kv.mod_revision, kv.version)
    return (*head, packed, _sum(head, packed))


def _document(row: tuple[str, int, int, int, bytes, bytes]) -> KV | None:
    *head, packed, given = row
    if _sum(tuple(head), packed) != given:
        structlog.get_logger().error("left out a damaged document of the region's", key=row[0])
        return None
    key, create_revision, mod_revision, version = row[:4]
    return KV(key, zlib.decompress(packed), create_revision, mod_revision, version)


def _sum(head: tuple[object, ...], packed: bytes) -> bytes:
    return blake2b(repr(head).encode() + packed, digest_size=8).digest()
