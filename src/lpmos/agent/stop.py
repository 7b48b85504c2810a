"""How one agent run is told to end: a flag that every wait and every command watches."""

import threading
from collections.abc import Callable

from lpmos.agent.errors import Stopped


class Stop:
    """Set once, from any thread; the first reason stays.

    What must end at once (running commands) registers a callback; everything else calls `check`
    before its next step and waits only in `wait`.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.RLock()  # a signal handler may come while it is held
        self._callbacks: list[Callable[[], None]] = []
        self.reason = ""

    def set(self, reason: str) -> None:
        """End the run."""
        with self._lock:
            if self._event.is_set():
                return
            self.reason = reason
            self._event.set()
            callbacks = list(self._callbacks)
        for callback in callbacks:
            callback()

    def is_set(self) -> bool:
        """Whether the run shall end."""
        return self._event.is_set()

    def on_set(self, callback: Callable[[], None]) -> None:
        """Have `callback` called by the thread that sets the flag."""
        with self._lock:
            self._callbacks.append(callback)

    def check(self) -> None:
        """Go on only if nobody said stop.

        Raises:
            Stopped: with the reason.
        """
        if self._event.is_set():
            raise Stopped(self.reason)

    def wait(self, seconds: float) -> None:
        """Wait `seconds`.

        Raises:
            Stopped: as soon as somebody says stop.
        """
        if self._event.wait(seconds):
            raise Stopped(self.reason)
