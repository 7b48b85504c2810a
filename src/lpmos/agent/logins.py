"""The processes of SSH logins, found and ended: none of them is in the process group of its server.

The rule: only what a server with this host key has started is ended: its process for each
connection, what these started, and what shares a session with one of those.

Sources: proc_pid_stat(5), proc_pid_cmdline(5), setsid(2); dropbear gives each connection's process
the words of the server's command line, and each login a session of its own.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

LOOK_AGAIN_S = 0.05
_PROC = Path("/proc")


class _Process(NamedTuple):
    pid: int
    parent: int
    session: int
    argv: list[str]


def end_logins(host_key: str, within_s: float) -> bool:
    """Kill all that the server with this host key has started; whether nothing of it is left."""
    ends_at = time.monotonic() + within_s
    sessions: set[int] = set()
    while found := _of_logins(host_key, sessions):
        sessions |= {process.session for process in found}
        for process in found:
            with contextlib.suppress(ProcessLookupError):  # it ended by itself
                os.kill(process.pid, signal.SIGKILL)
        if time.monotonic() > ends_at:
            return False
        time.sleep(LOOK_AGAIN_S)
    return True


def _of_logins(host_key: str, sessions: set[int]) -> list[_Process]:
    """The server's processes, their children's children too, and all of these sessions."""
    own = os.getsid(0)
    alive = [process for process in _processes() if process.pid != os.getpid()]
    found = {
        process.pid: process
        for process in alive
        if _is_server(process, host_key) or process.session in sessions - {own, 0}
    }
    while more := [p for p in alive if p.parent in found and p.pid not in found]:
        found |= {process.pid: process for process in more}
    known = {process.session for process in found.values()} - {own, 0}
    found |= {process.pid: process for process in alive if process.session in known}
    return list(found.values())


def _is_server(process: _Process, host_key: str) -> bool:
    argv = process.argv
    return bool(argv) and argv[0].rpartition("/")[2] == "dropbear" and host_key in argv


def _processes() -> Iterator[_Process]:
    """What runs; not what has ended and waits for its parent."""
    for place in _PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            # The name, in parentheses, may have anything in it.
            state, parent, _, session, *_ = (place / "stat").read_text().rpartition(")")[2].split()
            if state not in "ZX":
                argv = (place / "cmdline").read_text(errors="replace").split("\0")
                yield _Process(int(place.name), int(parent), int(session), argv)
