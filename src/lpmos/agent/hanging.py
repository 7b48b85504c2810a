"""A disk that hangs, rather than fails: the last resort is to restart the machine.

The rule: only while work does not end that was told to, and only after no disk did anything for
`PATIENCE_S`. A program that waits for such a disk cannot be killed (proc(5), state `D`), nor can
the agent itself; a disk that is only slow is waited for.

Sources: Linux, Documentation/admin-guide/sysrq.rst (`b`) and iostats.rst.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from lpmos.agent.console import Console
from lpmos.agent.inventory.tree import Tree
from lpmos.agent.stop import Stop

PATIENCE_S = 120.0
LOOK_EVERY_S = 5.0
IMAGE = Path("/etc/lpmos-image")
"""What only the agent's own image has."""
_SYSRQ = Path("/proc/sysrq-trigger")
_COMPLETED = (3, 7, 14, 18)
"""Words of a line of diskstats: reads, writes, discards and flushes that the disk has completed."""

Restart = Callable[[], None]


def own_restart(parent: int, image: Path = IMAGE) -> Restart | None:
    """What restarts this machine whatever hangs; None where it is not the agent's alone.

    It is the agent's where the first process of its image started it: `parent` is the id of the
    process that did.
    """
    return _restart if parent == 1 and image.exists() else None


class HangWatch:
    """A context: restarts the machine where the work in it does not end though it was told to."""

    def __init__(
        self,
        stop: Stop,
        console: Console,
        tree: Tree,
        restart: Restart,
        *,
        patience_s: float = PATIENCE_S,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        self._stop = stop
        self._console = console
        self._tree = tree
        self._restart = restart
        self._patience_s = patience_s
        self._look_every_s = look_every_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="hang watch", daemon=True)

    def __enter__(self) -> "HangWatch":
        self._stop.on_set(self._thread.start)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()

    def _watch(self) -> None:
        done, idle_s = _done_by_disks(self._tree), 0.0
        while idle_s < self._patience_s:
            if self._over.wait(self._look_every_s):
                return
            before, done = done, _done_by_disks(self._tree)
            idle_s = idle_s + self._look_every_s if done == before else 0.0
        self._console.error(
            f"the run was told to end, and for {idle_s:.0f} s no disk has done anything: a disk"
            " hangs. Restarting the machine."
        )
        self._restart()


def _restart() -> None:
    """At once: nothing is written, and no driver is asked."""
    _SYSRQ.write_text("b")


def _done_by_disks(tree: Tree) -> list[list[str]]:
    """What every disk has completed since the start, by line of diskstats."""
    lines = (tree.text("proc/diskstats") or "").splitlines()
    return [[word for at, word in enumerate(line.split()) if at in _COMPLETED] for line in lines]
