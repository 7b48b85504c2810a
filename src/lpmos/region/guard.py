"""What may stand only while its region's right to it lasts: a process or an address of this host.

    guard.py UNDO COMMAND      both lists of words in JSON; either may be empty

On its standard input come lines, each a time of CLOCK_MONOTONIC in seconds until which the right
lasts. Once that has passed, or the input has ended because the region is gone, the command is
killed and the undoing is done. SIGHUP is handed on to the command. It runs for itself because a
region that is stopped, or waits for a disk, cannot do it: its dnsmasq would go on answering beside
the next region's.

The rule: the standard library and no other module of ours, so that it starts in a moment and stays
small. It ends with the command's status; 75 (EX_TEMPFAIL of sysexits.h) where the right had ended.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time

FIRST_WORD_S = 10.0
LONGEST_WAIT_S = 60.0
"""How long it looks at nothing: a right may have no end."""
UNDO_TIMEOUT_S = 5.0
STOP_GRACE_S = 3.0
RIGHT_ENDED = 75


def main(undo: list[str], command: list[str]) -> int:
    """Guard until the right, the input or the command ends; the exit status."""
    told_to_end, tell = os.pipe()
    os.set_blocking(tell, False)
    signal.set_wakeup_fd(tell)
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    signal.signal(signal.SIGHUP, lambda number, frame: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL) if command else None
    try:
        return _watch(told_to_end, child)
    finally:
        if child and child.poll() is None:
            child.kill()
            child.wait()
        if undo:
            subprocess.run(undo, check=False, timeout=UNDO_TIMEOUT_S)


def _watch(told_to_end: int, child: "subprocess.Popen[bytes] | None") -> int:
    until = time.monotonic() + FIRST_WORD_S
    inputs = [0, told_to_end]
    ended = os.pidfd_open(child.pid) if child else None
    inputs += [] if ended is None else [ended]
    rest = b""
    while (left_s := until - time.monotonic()) > 0:
        ready, _, _ = select.select(inputs, [], [], min(left_s, LONGEST_WAIT_S))
        if child and ended in ready:
            return child.wait()
        if told_to_end in ready:
            if signal.SIGTERM in os.read(told_to_end, 4096):
                return _end(child)
            if child:
                child.send_signal(signal.SIGHUP)
        if 0 not in ready:
            continue
        text = os.read(0, 4096)
        if not text:
            return RIGHT_ENDED
        *lines, rest = (rest + text).split(b"\n")
        until = float(lines[-1]) if lines else until
    return RIGHT_ENDED


def _end(child: "subprocess.Popen[bytes] | None") -> int:
    if child is None:
        return 0
    child.terminate()
    try:
        return child.wait(STOP_GRACE_S)
    except subprocess.TimeoutExpired:
        return RIGHT_ENDED


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1]), json.loads(sys.argv[2])))
