"""The image on its way from the region to the unpacking programs: constant memory, every byte
hashed, a broken connection resumed where it broke.

The rule: `stream` returns only after exactly the planned bytes with the planned digest have passed.
"""

import hashlib
from collections import deque
from collections.abc import Callable
from typing import Protocol

from lpmos.agent.console import Console
from lpmos.agent.errors import InstallError, NoAnswer
from lpmos.agent.pace import Pace
from lpmos.agent.plan import Image
from lpmos.agent.region import Region
from lpmos.agent.stop import Stop

PATIENCE_S = 900.0
"""How long a download may go without one new byte."""
RATE_WINDOW_S = 5.0
WATCH_INTERVAL_S = 0.25

Clock = Callable[[], float]
Watch = Callable[[int, float], None]
"""Called now and then, and at the end, with the bytes done and the rate in bytes per second."""


class Sink(Protocol):
    """Where the bytes go."""

    def write(self, data: bytes, /) -> object:
        """Take the next bytes."""


class Rate:
    """Bytes per second over the last `RATE_WINDOW_S`."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque()

    def at(self, now_s: float, bytes_done: int) -> float:
        """Note how far it is now; the rate since the oldest mark in the window."""
        self._marks.append((now_s, bytes_done))
        while now_s - self._marks[0][0] > RATE_WINDOW_S and len(self._marks) > 2:
            self._marks.popleft()
        since_s, since_bytes = self._marks[0]
        return (bytes_done - since_bytes) / (now_s - since_s) if now_s > since_s else 0.0


class ImageStream:
    """One image from one region."""

    def __init__(
        self, region: Region, console: Console, stop: Stop, pace: Pace, clock: Clock
    ) -> None:
        self._region = region
        self._console = console
        self._stop = stop
        self._pace = pace
        self._clock = clock

    def stream(self, image: Image, sink: Sink, watch: Watch) -> None:
        """Pass the whole image to `sink`.

        Raises:
            InstallError: the image is not the planned one, cannot be had, or `sink` failed.
            Stopped: the run was told to end.
        """
        digest = hashlib.sha256()
        rate = Rate()
        done = 0
        backoff = self._pace.backoff()
        heard_s = watched_s = self._clock()
        while done < image.size_bytes:
            try:
                with self._region.download(image.url, done, image.size_bytes) as download:
                    for data in download:
                        self._stop.check()
                        done += len(data)
                        if done > image.size_bytes:
                            raise _damaged(image, "the region sent more bytes than planned")
                        digest.update(data)
                        sink.write(data)
                        heard_s = self._clock()
                        backoff = self._pace.backoff()
                        if heard_s - watched_s >= WATCH_INTERVAL_S or done == image.size_bytes:
                            watched_s = heard_s
                            watch(done, rate.at(heard_s, done))
                problem = NoAnswer("the connection ended early")
            except NoAnswer as broken:
                problem = broken
            if done < image.size_bytes:
                self._wait(problem, image, done, next(backoff), self._clock() - heard_s)
        if digest.hexdigest() != image.sha256:
            raise _damaged(image, f"its sha256 is {digest.hexdigest()}, not {image.sha256}")

    def _wait(
        self, problem: NoAnswer, image: Image, done: int, delay_s: float, silent_s: float
    ) -> None:
        if silent_s > PATIENCE_S:
            raise InstallError(
                f"image {image.name}: no new byte in {silent_s:.0f} s ({problem})",
                hint="Check the region and the network, then create the task again.",
            )
        if problem.retry_after_s is not None:
            delay_s = self._pace.asked(problem.retry_after_s)
        self._console.warn(
            f"download broke after {done} of {image.size_bytes} bytes ({problem});"
            f" going on there in {delay_s:.0f} s"
        )
        self._stop.wait(delay_s)


def _damaged(image: Image, what: str) -> InstallError:
    return InstallError(
        f"image {image.name} is damaged: {what}",
        hint="Check the image at the region with `lpmos image verify`; if it is sound there, the"
        " network changes bytes on the way.",
    )
