"""Reading in threads, each with a connection of its own, so that no read waits for a commit."""

import asyncio
import queue
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar, TypeVarTuple

from lpmos.store.api import Unavailable
from lpmos.store.sqlite.schema import connect, store_error

READERS = 2

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


class Readers:
    """A few connections and a thread for each; more reads than that wait their turn."""

    def __init__(self, path: Path) -> None:
        self._idle: queue.SimpleQueue[sqlite3.Connection] = queue.SimpleQueue()
        for _ in range(READERS):
            connection = connect(path)
            connection.execute("PRAGMA query_only = ON")
            self._idle.put(connection)
        self._threads = ThreadPoolExecutor(READERS, thread_name_prefix="store-reader")
        self._closed = False

    async def run(
        self, work: Callable[[sqlite3.Connection, *Arguments], T], *arguments: *Arguments
    ) -> T:
        """The result of `work` on a connection.

        Raises:
            Unavailable: the store is closed or its file cannot be read now.
            Damaged: the file is broken.
        """
        if self._closed:
            raise Unavailable("the store is closed")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._use, work, *arguments)

    def close(self) -> None:
        """Wait for the reads under way and let go of the file."""
        self._closed = True
        self._threads.shutdown()
        while not self._idle.empty():
            self._idle.get().close()

    def _use(
        self, work: Callable[[sqlite3.Connection, *Arguments], T], *arguments: *Arguments
    ) -> T:
        connection = self._idle.get()
        try:
            return work(connection, *arguments)
        except sqlite3.Error as error:
            raise store_error(error) from error
        finally:
            self._idle.put(connection)
