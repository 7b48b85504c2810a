"""Patience: which answers of the region are repeated, for how long, and what is said meanwhile."""

from lpmos.agent.console import Console
from lpmos.agent.errors import NoAnswer, Refused
from lpmos.agent.pace import Pace
from lpmos.agent.region import ANSWER_TIMEOUT_S, Answer, Region
from lpmos.agent.stop import Stop

_DECISIONS = (200, 201, 204, 404, 409)
"""Statuses whose meaning depends on the call; every other one that is not weather is a defect."""


class Caller:
    """Makes calls that are repeated until the region answers."""

    def __init__(self, region: Region, console: Console, stop: Stop, pace: Pace) -> None:
        self._region = region
        self._console = console
        self._stop = stop
        self._pace = pace

    def call(
        self,
        method: str,
        path: str,
        body: dict[str, object] | None = None,
        *,
        timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> Answer:
        """Call until there is an answer of 200, 404 or 409; each repetition is said.

        Raises:
            Refused: the region does not understand the call.
            Stopped: the run was told to end.
        """
        backoff = self._pace.backoff()
        while True:
            try:
                answer = self._region.call(method, path, body, timeout_s=timeout_s)
            except NoAnswer as problem:
                delay_s = next(backoff)
                if problem.retry_after_s is not None:
                    delay_s = self._pace.asked(problem.retry_after_s)
                self._console.warn(
                    f"no answer from {self._region.url} ({problem}); again in {delay_s:.0f} s"
                )
                self._stop.wait(delay_s)
                continue
            if answer.status not in _DECISIONS:
                raise Refused(
                    f"the region refused {method} {path} with {answer.status}: {answer.text()}"
                )
            return answer
