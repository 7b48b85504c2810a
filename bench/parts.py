"""Parts of a benchmark in processes of their own, and what processor time they take."""

import os
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Used(NamedTuple):
    """Processor time in seconds, in so many seconds of the clock."""

    parts: tuple[float, ...]
    """Of each process that was asked for."""
    others: float
    """Of all else on this machine, of all its cores together."""
    seconds: float


def start(part: Callable[..., None], *values: object) -> tuple[Connection, BaseProcess]:
    """Start a part in a process of its own; a link to one that dies ends."""
    context = get_context("spawn")
    link, theirs = context.Pipe()
    process = context.Process(target=part, args=(theirs, *values), daemon=True)
    process.start()
    theirs.close()
    return link, process


def watch(*processes: BaseProcess) -> Callable[[], Used]:
    """Begin to watch; what is returned says what was used from now until it is called."""
    began, before, all_before = time.monotonic(), _parts_s(processes), _machine_s()

    def used() -> Used:
        each = tuple(now - then for now, then in zip(_parts_s(processes), before, strict=True))
        return Used(each, _machine_s() - all_before - sum(each), time.monotonic() - began)

    return used


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
