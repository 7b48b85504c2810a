"""A guard's process from the region's side: started, told how long the right lasts, ended."""

import asyncio
import contextlib
import json
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

TELL_S = 0.25
"""How often a guard is told."""
END_TIMEOUT_S = 5.0
LINE_LIMIT_BYTES = 8192

Until = Callable[[], float]
"""The `time.monotonic()` until which the right lasts, as it is known now."""


@contextlib.asynccontextmanager
async def guarded(
    until: Until, *, undo: Sequence[str] = (), command: Sequence[str] = ()
) -> AsyncIterator[Process]:
    """The guard of `command` until the block ends; `undo` is done whatever ends it.

    The command's standard error is the process's.

    Raises:
        OSError: the system did not start it.
    """
    script = Path(__file__).with_name("guard.py")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", str(script), json.dumps(undo), json.dumps(command)),
        stdin=PIPE,
        stdout=DEVNULL,
        stderr=PIPE,
        limit=LINE_LIMIT_BYTES,
        start_new_session=True,
    )
    telling = asyncio.create_task(_tell(process, until))
    try:
        yield process
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)
        await end(process, END_TIMEOUT_S)


async def end(process: Process, grace_s: float) -> None:
    """SIGTERM, and SIGKILL after the grace time; nothing where it has ended."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(grace_s):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def _tell(process: Process, until: Until) -> None:
    assert process.stdin is not None  # noqa: S101 - a pipe was asked for
    with contextlib.suppress(ConnectionError):
        while process.returncode is None:
            process.stdin.write(b"%.3f\n" % until())
            await process.stdin.drain()
            await asyncio.sleep(TELL_S)
