"""A sign of life of what cannot say itself how far it is: minutes, told while it goes on."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lpmos.agent.errors import InstallError, Stopped

TICK_S = 60.0


@contextmanager
def ticking(
    tell: Callable[[str], None],
    limit_s: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    tick_s: float = TICK_S,
) -> Iterator[None]:
    """Tell each minute how long the block goes on (`for 7 min`).

    After `limit_s`, in which it should have ended, nothing more is said: it may hang, and what
    brings no news ends by the deadline of its task.
    """
    over = threading.Event()
    begun = clock()

    def tick() -> None:
        while not over.wait(tick_s) and (passed_s := clock() - begun) <= limit_s:
            try:
                tell(f"for {passed_s / 60:.0f} min")
            except (Stopped, InstallError):
                return

    thread = threading.Thread(target=tick, name="ticking", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
