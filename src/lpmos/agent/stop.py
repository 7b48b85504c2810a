"""How one agent run is told to end: a flag that every wait and every command watches.

A run has one, and the install in it a part of its own, so that the run can still say its last word
after the install was ended.
"""

import threading
from collections.abc import Callable

from lpmos.agent.errors import InstallError, Stopped


class Stop:
    """Set once, from any thread; the first error stays.

    What must end at once (running commands) registers a callback; everything else calls `check`
    before its next step and waits only in `wait`.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.RLock()  # a signal handler may come while it is held
        self._callbacks: list[Callable[[], None]] = []
        self._error: Stopped | InstallError = Stopped("")

    def set(self, reason: str) -> None:
        """End the run because somebody says so."""
        self.end(Stopped(reason))

    def end(self, error: Stopped | InstallError) -> None:
        """End the run: it raises this error at its next step, and begins nothing new."""
        with self._lock:
            if self._event.is_set():
                return
            self._error = error
            self._event.set()
        self._call_back()

    def part(self) -> "Stop":
        """A flag for a part of the run: it is set with this one, and may be set alone."""
        part = Stop()
        self.on_set(lambda: part.end(self._error))
        return part

    def is_set(self) -> bool:
        """Whether the run shall end."""
        return self._event.is_set()

    def on_set(self, callback: Callable[[], None]) -> None:
        """Have `callback` called by the thread that sets the flag; at once where it is set."""
        with self._lock:
            self._callbacks.append(callback)
        if self._event.is_set():
            self._call_back()

    def check(self) -> None:
        """Go on only if nobody said stop.

        Raises:
            Stopped: with the reason.
            InstallError: the run failed.
        """
        if self._event.is_set():
            raise self._error

    def wait(self, seconds: float) -> None:
        """Wait `seconds`.

        Raises:
            Stopped: as soon as somebody says stop.
            InstallError: as soon as the run failed.
        """
        if self._event.wait(seconds):
            raise self._error

    def _call_back(self) -> None:
        """Each is called once, whoever comes first."""
        with self._lock:
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()
