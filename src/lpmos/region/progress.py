"""Progress on its way to the store (B10): merged, at most one write a second for a machine.

The rule: a call is answered when what it said is in the store, in its own words or in newer ones
of the same step. The end of a step is written at once, so no step is ever seen unfinished because
the next one came too soon.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Protocol

import msgspec
import structlog

from lpmos.core.agentrun import AgentRun
from lpmos.core.loglines import NO_MARKS, Marks, Numbered, marks_of, newest, unsaid
from lpmos.core.progress import is_not_newer
from lpmos.model.errors import LpmosError, TooBusy
from lpmos.model.job import StepResult
from lpmos.model.task import Progress, Task
from lpmos.region.wire import STAGE_END_PERCENT
from lpmos.store.api import Unavailable
from lpmos.store.spans import Places, places, resumed, waited_on_purpose

INTERVAL_S = 1.0
LINES_HELD = 1000
"""Lines that wait for a write; beyond that the oldest are left out."""
LANES_LIMIT = 10_000
WRITES_AT_ONCE = 128
"""Machines whose words are on their way to the store: the others merge theirs until it is their
turn, and take no more room than that."""
CALLS_LIMIT = 16
"""Unanswered calls of one machine; an agent makes one at a time."""


class Update(msgspec.Struct, frozen=True):
    """What waits to be written: the newest word of each step, in order, and the log lines.

    `results` are of a job's steps that have ended, all of them each time. `marks` are of the lines
    that their speakers number; `left_out` lines had no room.
    """

    steps: tuple[Progress, ...] = ()
    lines: tuple[str, ...] = ()
    results: tuple[StepResult, ...] = ()
    marks: Marks = NO_MARKS
    left_out: int = 0

    @property
    def said(self) -> tuple[str, ...]:
        """The lines, and before them how many there are no more."""
        if not self.left_out:
            return self.lines
        word = f"[WARN] {self.left_out} lines are left out here: too many came at once"
        return (word, *self.lines)


def merge(
    update: Update,
    progress: Progress,
    lines: Sequence[str] = (),
    results: Sequence[StepResult] = (),
    marks: Marks = NO_MARKS,
) -> Update:
    """`update` and what came after it; the newest word of a step replaces its earlier ones.

    A word of a step that is older than the one that waits is no news: who says it had read the
    task before that.
    """
    steps = update.steps
    if not any(is_not_newer(progress, step) for step in steps):
        steps = (*(step for step in steps if step.step != progress.step), progress)
    held = (*update.lines, *lines)
    return Update(
        steps,
        held[-LINES_HELD:],
        tuple(results) or update.results,
        newest(update.marks, marks),
        update.left_out + max(0, len(held) - LINES_HELD),
    )


def with_lost(update: Update, lost: Update) -> Update:
    """`update` with the lines of `lost`, which came before it and could not be written.

    Who numbers its lines may have left them out of `update`, because they were there already; who
    does not says them again, and of those none are taken over.
    """
    if not update.marks.keys() & lost.marks.keys():
        return update
    held = (*lost.lines, *update.lines)
    return msgspec.structs.replace(
        update,
        lines=held[-LINES_HELD:],
        marks=newest(lost.marks, update.marks),
        left_out=lost.left_out + update.left_out + max(0, len(held) - LINES_HELD),
    )


def cannot_wait(update: Update) -> bool:
    """Whether a step has ended in it: it reached its end, or the next one has begun."""
    return len(update.steps) > 1 or any(
        step.percent >= STAGE_END_PERCENT.get(step.step, 100.0) for step in update.steps
    )


class Lane(msgspec.Struct, frozen=True):
    """One agent run's progress on one task: what never mixes with another's."""

    run: AgentRun
    task_id: str


_STOPPING = Unavailable("the region is stopping; repeat the call")


class Write(Protocol):
    """Writes one word of progress, with the lines and results that came until it."""

    def __call__(
        self,
        run: AgentRun,
        task_id: str,
        progress: Progress,
        lines: Sequence[str],
        results: Sequence[StepResult],
        /,
        *,
        marks: Marks,
    ) -> Awaitable[Task]:
        """The task after it; raises as `Agents.progress`."""


class _Waiting:
    """What one lane has to write, and who waits for it."""

    def __init__(self) -> None:
        self.update = Update()
        self.calls: list[asyncio.Future[Task]] = []
        self.writing: list[asyncio.Future[Task]] = []
        self.arrived = asyncio.Event()
        self.urgent = asyncio.Event()
        self.heard: Marks = NO_MARKS
        self.places: Places = ()
        """Where the calls are traced that wait: their write is a part of each."""

    def add(
        self,
        progress: Progress,
        lines: Sequence[str],
        results: Sequence[StepResult],
        numbered: Numbered | None,
    ) -> asyncio.Future[Task]:
        if len(self.calls) >= CALLS_LIMIT:
            raise TooBusy(f"more than {CALLS_LIMIT} progress calls of this machine are unanswered")
        marks = marks_of(lines, numbered)
        fresh = unsaid(lines, numbered, self.heard)
        self.heard = newest(self.heard, marks)
        self.update = merge(self.update, progress, fresh, results, marks)
        call: asyncio.Future[Task] = asyncio.get_running_loop().create_future()
        self.calls.append(call)
        self.places += places()
        self.arrived.set()
        if cannot_wait(self.update):
            self.urgent.set()
        return call

    def take(self) -> Update:
        taken = self.update
        self.update, self.writing, self.calls, self.places = Update(), self.calls, [], ()
        self.arrived.clear()
        self.urgent.clear()
        return taken

    def lose(self, taken: Update) -> None:
        """What was taken could not be written; what waits is heard all the same."""
        self.update = with_lost(self.update, taken)
        self.heard = self.update.marks


class ProgressWriter:
    """Takes the calls of all machines; `run` does the writing."""

    def __init__(self, write: Write, *, interval_s: float = INTERVAL_S) -> None:
        self._write = write
        self._interval_s = interval_s
        self._lanes: dict[Lane, _Waiting] = {}
        self._turn = asyncio.Semaphore(WRITES_AT_ONCE)
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Write until cancelled; who waits then is told to try again."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                await asyncio.Event().wait()
        finally:
            self._group = None

    async def submit(
        self,
        run: AgentRun,
        task_id: str,
        progress: Progress,
        lines: Sequence[str] = (),
        results: Sequence[StepResult] = (),
        *,
        numbered: Numbered | None = None,
    ) -> Task:
        """Hand over progress; the task as it is after this was written.

        Of `numbered` lines those that wait already, or were just written, are taken once.

        Raises:
            TooBusy: too many machines or calls at once; nothing was taken.
            Unavailable: not written; the caller repeats.
            LpmosError: what the write raised, for every call that was merged into it.
        """
        if self._group is None:
            raise Unavailable("the region is starting or stopping")
        lane = Lane(run, task_id)
        waiting = self._lanes.get(lane)
        if waiting is None:
            if len(self._lanes) >= LANES_LIMIT:
                raise TooBusy(f"{LANES_LIMIT} machines report progress already")
            waiting = self._lanes[lane] = _Waiting()
            self._group.create_task(self._serve(lane, waiting))
        return await waiting.add(progress, lines, results, numbered)

    async def flush(self, run: AgentRun, task_id: str) -> None:
        """Wait until nothing of this agent run waits to be written; it is written at once."""
        waiting = self._lanes.get(Lane(run, task_id))
        if waiting and (unanswered := [*waiting.writing, *waiting.calls]):
            waiting.urgent.set()
            await asyncio.wait(unanswered)

    async def _serve(self, lane: Lane, waiting: _Waiting) -> None:
        """Write what comes, then pause; end when a whole pause brought nothing.

        From the beginning of a write: who speaks once a second is never late for the next one.
        """
        try:
            while await _happens(waiting.arrived, self._interval_s):
                waited_on_purpose(waiting.places)
                async with self._turn:
                    began_s = asyncio.get_running_loop().time()
                    with resumed(waiting.places):
                        await self._write_once(lane, waiting)
                took_s = asyncio.get_running_loop().time() - began_s
                await _happens(waiting.urgent, max(0.0, self._interval_s - took_s))
        finally:
            del self._lanes[lane]
            _answer(waiting.calls, _STOPPING)

    async def _write_once(self, lane: Lane, waiting: _Waiting) -> None:
        update = waiting.take()
        result: Task | Exception = _STOPPING
        try:
            for step in update.steps[:-1]:
                await self._write(lane.run, lane.task_id, step, (), (), marks=NO_MARKS)
            last = update.steps[-1], update.said, update.results
            result = await self._write(lane.run, lane.task_id, *last, marks=update.marks)
        except LpmosError as error:
            result = error
        except Exception as error:  # noqa: BLE001 - the lane's boundary: its callers get it
            structlog.get_logger().exception("progress not written", task_id=lane.task_id)
            result = error
        finally:
            if isinstance(result, Exception):  # who is told so says it again
                waiting.lose(update)
            _answer(waiting.writing, result)
            waiting.writing = []


async def _happens(event: asyncio.Event, timeout_s: float) -> bool:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return event.is_set()  # it may have come in the same moment
    return True


def _answer(calls: list[asyncio.Future[Task]], result: Task | Exception) -> None:
    for call in calls:
        if call.done():  # its caller has gone
            continue
        if isinstance(result, Exception):
            call.set_exception(result)
        else:
            call.set_result(result)
