"""A benchmark with a part, to be killed: `python -m tests.support.parts_of_a_benchmark WAITS PART`.

It prints its part's process id, and does what WAITS names until it is ended.
"""

import asyncio
import os
import signal
import sys
import threading
from multiprocessing.connection import Connection

from bench.parts import received, started


def asks(link: Connection) -> None:
    """Waits for words as the server of a benchmark does."""

    async def ask() -> None:
        link.send(os.getpid())
        while True:
            await received(link)

    asyncio.run(ask())


def stubborn(link: Connection) -> None:
    """Never looks at its link, and ignores what can be ignored."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    link.send(os.getpid())
    threading.Event().wait()


def awaits(link: Connection) -> None:
    """Waits for the part in a loop of asyncio."""
    asyncio.run(received(link))


def blocks(link: Connection) -> None:
    """Waits for it without one."""
    link.recv()


def fails(_: Connection) -> None:
    """Does not wait."""
    raise SystemExit("it failed")


PARTS = {each.__name__: each for each in (asks, stubborn)}
WAITS = {each.__name__: each for each in (awaits, blocks, fails)}


def main() -> None:
    """Start the part, say its number, wait."""
    waits, part = sys.argv[1:]
    with started(PARTS[part]) as running:
        print(running.link.recv(), flush=True)
        WAITS[waits](running.link)


if __name__ == "__main__":
    main()
