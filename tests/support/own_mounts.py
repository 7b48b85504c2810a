"""Mounts that no other process of the tests sees.

Who makes a mount namespace meanwhile, as the lab's rack does, gets a copy of every mount there is,
and keeps the devices below busy for as long as it lives: a loop device could not be given back, and
would stand beside the next test's as a second disk of its size.
"""

import ctypes
import os

CLONE_NEWNS = 0x20000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
_LIBC = ctypes.CDLL(None, use_errno=True)
_own: list[int] = []


def take_own_mounts() -> None:
    """Let mounts of this process, and of those that it starts, be theirs alone (unshare(2)).

    Once for each process; it needs root.
    """
    if os.getpid() in _own:
        return
    if _LIBC.unshare(CLONE_NEWNS) or _LIBC.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None):
        raise OSError(ctypes.get_errno(), "mounts of one's own cannot be had")
    _own.append(os.getpid())
