"""Progress to the region from a thread of its own, so that a slow region never slows an install.

The rule: one call at a time. What came between two calls is skipped, but for log lines and the
newest of each stage: every stage is told of at least once, in order. Without news the newest is
repeated, which keeps the machine's lease alive and brings a cancellation within `REPEAT_S`.
"""

import threading
from collections import deque
from typing import NamedTuple

from lpmos.agent.caller import Caller
from lpmos.agent.console import BATCH_LINES, Console
from lpmos.agent.errors import InstallError, NoAnswer, Stopped, TakenOver
from lpmos.agent.pace import Pace
from lpmos.agent.region import Answer, Region
from lpmos.agent.stop import Stop

REPEAT_S = 5.0
LEAST_INTERVAL_S = 1.0
CLOSE_TIMEOUT_S = 60.0
ENDS = (404, 409)
"""Answers by which a region ends an install: the task is gone, or no longer this run's."""
TAKEN_OVER = "foreign-claim"
"""The code of such an answer where another run has claimed the install."""


class Progress(NamedTuple):
    """How far an install is; `percentage` is of the whole."""

    stage: str
    percentage: float
    message: str
    bytes_done: int | None = None
    bytes_total: int | None = None
    bytes_per_second: float | None = None


class Result(NamedTuple):
    """How a step of a job ended; `outcome` is `passed` or `failed`."""

    step: str
    outcome: str
    seconds: float
    summary: str
    evidence: tuple[str, ...]


class Reporter:
    """Sends the newest progress of each stage of one task until closed."""

    def __init__(
        self,
        region: Region,
        identity: dict[str, object],
        console: Console,
        stop: Stop,
        pace: Pace,
    ) -> None:
        self._region = region
        self._identity = identity
        self._console = console
        self._stop = stop
        self._pace = pace
        self._changed = threading.Condition()
        self._newest: Progress | None = None
        self._untold: deque[Progress] = deque()
        self._results: list[dict[str, object]] = []
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)

    @property
    def percentage(self) -> float:
        """How far the install came."""
        return self._newest.percentage if self._newest is not None else 0

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def update(self, progress: Progress) -> None:
        """Make this the newest progress; never waits."""
        with self._changed:
            self._newest = progress
            if self._untold and self._untold[-1].stage == progress.stage:
                self._untold.pop()
            self._untold.append(progress)
            self._changed.notify()

    def note(self, result: Result) -> None:
        """Send this result of a job's step with every call from now on."""
        with self._changed:
            self._results.append({**result._asdict(), "seconds": round(result.seconds, 1)})

    def close(self) -> None:
        """End the thread after the call that is under way."""
        with self._changed:
            self._closed.set()
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(CLOSE_TIMEOUT_S)

    def hand_in_log(self, caller: Caller, most_left: int = 0) -> None:
        """After `close`: send the stages that wait, and the lines, up to `most_left` of these.

        What the kernel says meanwhile is not waited for: it may never be silent.

        Raises:
            Stopped: the region ended the install.
        """
        while self._untold:
            first = self._untold[0]
            self._send(caller, first)
            self._told(first)
        end = self._console.newest
        while self._newest is not None and self._console.waiting(until=end) > most_left:
            self._send(caller, self._newest)

    def finish(self, caller: Caller, last: Progress) -> None:
        """After `close`: send all that waits and then `last`, and wait until it is written.

        `last` stands for what waits of its own stage.

        Raises:
            Stopped: the region does not take it.
        """
        if self._untold and self._untold[-1].stage == last.stage:
            self._untold.pop()
        self.hand_in_log(caller, BATCH_LINES)
        self._newest = last
        self._send(caller, last)

    def _send(self, caller: Caller, progress: Progress) -> None:
        mark, body = self._body(progress)
        answer = caller.call("POST", "/agent/progress", body)
        if answer.status != 200:
            raise stopped(answer)
        self._console.acknowledge(mark)

    def _body(self, progress: Progress) -> tuple[int, dict[str, object]]:
        """The call for `progress` with the lines that wait, and their mark for the console."""
        mark, lines = self._console.batch()
        log = {"log": lines, "log_first": mark - len(lines) + 1}
        body = {**self._identity, **progress._asdict(), **log}
        with self._changed:
            return mark, {**body, "results": [*self._results]} if self._results else body

    def _run(self) -> None:
        backoff = self._pace.backoff()
        while (progress := self._next()) is not None:
            mark, body = self._body(progress)
            try:
                answer = self._region.call("POST", "/agent/progress", body)
            except NoAnswer as problem:
                delay_s = next(backoff)
                if problem.retry_after_s is not None:
                    delay_s = self._pace.asked(problem.retry_after_s)
                self._console.warn(f"progress is not heard ({problem}); again in {delay_s:.0f} s")
                self._closed.wait(delay_s)
                continue
            if answer.status in ENDS:
                self._stop.end(stopped(answer))
                return
            if answer.status != 200:
                self._stop.end(
                    refusal(f"the region refused progress with {answer.status}: {answer.text()}")
                )
                return
            self._console.acknowledge(mark)
            self._told(progress)
            backoff = self._pace.backoff()
            self._closed.wait(LEAST_INTERVAL_S)

    def _next(self) -> Progress | None:
        """Wait for news, or for the time to repeat; None when closed."""
        with self._changed:
            self._changed.wait_for(self._due, REPEAT_S)
            while self._newest is None and not self._closed.is_set():
                self._changed.wait_for(self._due, REPEAT_S)
            if self._closed.is_set():
                return None
            return self._untold[0] if self._untold else self._newest

    def _told(self, progress: Progress) -> None:
        """The region has it; what has taken its place meanwhile waits on."""
        with self._changed:
            if self._untold and self._untold[0] is progress:
                self._untold.popleft()

    def _due(self) -> bool:
        return bool(self._untold) or self._closed.is_set()


def refusal(words: str) -> InstallError:
    """The failure of an install whose calls the region does not understand."""
    return InstallError(
        words,
        hint="Status 401: the region takes this run's identity no longer; boot the machine again."
        " Else the agent image and the region are of different versions: build the agent image"
        " again with `lpmos image build-agent`, then create the task again.",
    )


def stopped(answer: Answer) -> Stopped:
    """How a region ends an install: for good, or because another run has it now."""
    kind = TakenOver if answer.document.get("code") == TAKEN_OVER else Stopped
    return kind(stop_reason(answer))


def stop_reason(answer: Answer) -> str:
    """Why the region ends an install, for the console."""
    return f"the region ended the install ({answer.status}): {answer.text()}"
