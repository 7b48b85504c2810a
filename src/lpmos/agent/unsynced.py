"""Programs that do not wait for the disk: fsync(2) and its like return to them at once.

GRUB's installer syncs each of the hundreds of files that it writes, and every time all else that
waits for the disk goes there first. An agent that flushes at the end, and asks then what the disk
refused (syncfs(2)), gains nothing by these waits. So a filter of the kernel (seccomp(2), as
systemd-nspawn has for `--suppress-sync=`) answers the calls in the disk's place. A filter is its
thread's and is inherited by what the thread starts; it is put on a thread that ends right after.
"""

import ctypes
import os
import struct
import threading
from collections.abc import Callable
from typing import TypeVar

from lpmos.agent.errors import AgentError

_Started = TypeVar("_Started")

_CALLS = {
    "x86_64": (0xC000003E, (74, 75, 162, 306)),
    "aarch64": (0xC00000B7, (82, 83, 81, 267)),
}
"""Of fsync, fdatasync, sync and syncfs: the kernel's name of the machine (linux/audit.h) and the
numbers of the calls (arch/x86/entry/syscalls/syscall_64.tbl, asm-generic/unistd.h)."""
_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
_LOAD_WORD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_NUMBER_AT, _MACHINE_AT = 0, 4
_ALLOW, _ANSWER_NOTHING = 0x7FFF0000, 0x00050000
"""SECCOMP_RET_ALLOW, and SECCOMP_RET_ERRNO with no error (linux/seccomp.h)."""


class _Program(ctypes.Structure):
    """`struct sock_fprog` (linux/filter.h)."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def unsynced(start: Callable[[], _Started]) -> _Started:
    """What `start` returns; programs that it starts do not wait for the disk.

    Where the kernel takes no filter, they do.

    Raises:
        AgentError: `start` did.
    """
    started: list[_Started] = []
    failures: list[AgentError] = []

    def run() -> None:
        _answer_in_place_of_the_disk()
        try:
            started.append(start())
        except AgentError as failure:
            failures.append(failure)

    thread = threading.Thread(target=run, name="unsynced")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return started[0]


def _answer_in_place_of_the_disk() -> None:
    """Put the filter on the thread that calls this, for as long as it runs."""
    name = os.uname().machine
    if name not in _CALLS:
        return
    machine, calls = _CALLS[name]
    lines = [
        (_LOAD_WORD, 0, 0, _MACHINE_AT),
        (_JUMP_IF_EQUAL, 0, len(calls) + 1, machine),
        (_LOAD_WORD, 0, 0, _NUMBER_AT),
        *((_JUMP_IF_EQUAL, len(calls) - n, 0, call) for n, call in enumerate(calls)),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _ANSWER_NOTHING),
    ]
    code = b"".join(struct.pack("=HBBI", *line) for line in lines)  # struct sock_filter
    program = _Program(len(lines), ctypes.cast(ctypes.c_char_p(code), ctypes.c_void_p))
    ctypes.CDLL(None).prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program))
