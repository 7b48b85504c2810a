"""Parts of a benchmark in processes of their own, and what processor time they take.

The rule: a part ends with its block, and with this process however that ends.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

END_TIMEOUT_S = 5.0
_PR_SET_PDEATHSIG = 1
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Part(NamedTuple):
    """A part that runs."""

    link: Connection
    """To the part; ends where that does."""
    process: BaseProcess


class Used(NamedTuple):
    """Processor time in seconds, in so many seconds of the clock."""

    parts: tuple[float, ...]
    """Of each process that was asked for."""
    others: float
    """Of all else on this machine, of all its cores together."""
    seconds: float


@contextlib.contextmanager
def started(run: Callable[..., None], *values: object) -> Iterator[Part]:
    """Run a part in a process of its own: `run(link, *values)`, until the block ends.

    It is interrupted then, as by Ctrl-C, at which `asyncio.run` cancels what it runs; what goes on
    for `END_TIMEOUT_S` is killed. The kernel kills it when the thread ends that started it: let
    that be the main thread.
    """
    context = get_context("spawn")
    link, theirs = context.Pipe()
    process = context.Process(target=_run, args=(run, theirs, *values), daemon=True)
    process.start()
    theirs.close()
    try:
        yield Part(link, process)
    finally:
        _end(process)
        link.close()


async def received(link: Connection) -> Any:
    """What comes next over a link; unlike a thread that waits for it, this can be cancelled.

    Raises:
        EOFError: the other end is gone.
    """
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(link.fileno(), readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(link.fileno())
    return link.recv()


def watch(*processes: BaseProcess) -> Callable[[], Used]:
    """Begin to watch; what is returned says what was used from now until it is called."""
    began, before, all_before = time.monotonic(), _parts_s(processes), _machine_s()

    def used() -> Used:
        each = tuple(now - then for now, then in zip(_parts_s(processes), before, strict=True))
        return Used(each, _machine_s() - all_before - sum(each), time.monotonic() - began)

    return used


def _run(run: Callable[..., None], link: Connection, *values: object) -> None:
    """The part's process: out of reach of the terminal's Ctrl-C, which its parent hands on."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _end_with_parent()
    with contextlib.suppress(KeyboardInterrupt):
        run(link, *values)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends by itself now


def _end_with_parent() -> None:
    """Have the kernel kill this process when its parent ends (prctl(2), PR_SET_PDEATHSIG)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    parent = parent_process()
    if parent is None or os.getppid() != parent.pid:
        raise SystemExit("the parent ended meanwhile")


def _end(process: BaseProcess) -> None:
    if process.pid is not None and process.is_alive():
        os.kill(process.pid, signal.SIGINT)
    process.join(END_TIMEOUT_S)
    if process.is_alive():
        process.kill()
        process.join()


def _parts_s(processes: tuple[BaseProcess, ...]) -> list[float]:
    return [_process_s(process.pid) for process in processes]


def _process_s(pid: int | None) -> float:
    """User and system time, fields 14 and 15 (proc_pid_stat(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def _machine_s() -> float:
    """Time of all cores in which they were not idle (proc_stat(5)), nor another machine's."""
    user, nice, system, _, _, irq, softirq = map(
        int, Path("/proc/stat").read_text().splitlines()[0].split()[1:8]
    )
    return (user + nice + system + irq + softirq) / _TICKS_PER_S
