"""Progress on its way to the store (B10): how many writes, what they hold, who is answered when."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from lpmos.core.agentrun import AgentRun
from lpmos.core.loglines import Marks, Numbered
from lpmos.model.errors import ForeignClaim, TooBusy
from lpmos.model.job import StepResult
from lpmos.model.task import Progress, Task
from lpmos.model.tracecontext import TraceContext
from lpmos.region.progress import CALLS_LIMIT, WRITES_AT_ONCE, ProgressWriter
from lpmos.store.api import Unavailable
from lpmos.store.spans import Trail, following, spanned
from tests.support.builders import MAC, NOW, make_task
from tests.support.region import AGENT_ID, running

RUN = AgentRun(mac=MAC, agent_id=AGENT_ID)
INTERVAL_S = 0.5
ENDLESS_S = 3600.0
"""What waits for the interval waits for ever: who is answered all the same did not wait."""
TIMEOUT_S = 60.0


class Sink:
    """A write that is counted, and may be held up or refused."""

    def __init__(self) -> None:
        self.written: list[tuple[float, Progress, tuple[str, ...]]] = []
        self.marks: list[Marks] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.under_way = self.most_under_way = 0

    async def write(
        self,
        run: AgentRun,
        task_id: str,
        progress: Progress,
        lines: Sequence[str],
        results: Sequence[StepResult],
        marks: Marks,
    ) -> Task:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await self.gate.wait()
        self.under_way -= 1
        if self.error:
            raise self.error
        self.written.append((time.monotonic(), progress, tuple(lines)))
        self.marks.append(marks)
        return make_task(progress=(progress,))

    @property
    def steps(self) -> list[tuple[str, float]]:
        return [(progress.step, progress.percent) for _, progress, _ in self.written]


@asynccontextmanager
async def writing(sink: Sink, interval_s: float = INTERVAL_S) -> AsyncIterator[ProgressWriter]:
    writer = ProgressWriter(sink.write, interval_s=interval_s)
    running = asyncio.create_task(writer.run())
    await asyncio.sleep(0)
    try:
        yield writer
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def at(percent: float, step: str = "downloading", message: str = "") -> Progress:
    return Progress(step=step, percent=percent, timestamp=NOW, message=message)


async def test_submit_of_more_machines_than_write_at_once_merges_until_their_turn() -> None:
    sink = Sink()
    sink.gate.clear()
    machines = [f"t{n}" for n in range(WRITES_AT_ONCE + 10)]
    async with writing(sink) as writer:
        calls = [asyncio.create_task(writer.submit(RUN, task, at(21))) for task in machines]
        await asyncio.sleep(0.05)  # all that may begin has begun
        last = machines[-1]
        calls.append(asyncio.create_task(writer.submit(RUN, last, at(22), ["[INFO] later"])))
        await asyncio.sleep(0)
        sink.gate.set()
        async with asyncio.timeout(TIMEOUT_S):
            answers = await asyncio.gather(*calls)
    assert sink.most_under_way == WRITES_AT_ONCE
    assert len(answers) == len(machines) + 1
    assert len(sink.written) == len(machines)
    assert ("downloading", 22) in sink.steps


async def test_submit_many_in_one_interval_is_one_write_after_the_first() -> None:
    sink = Sink()
    async with writing(sink) as writer:
        await writer.submit(RUN, "t", at(21), ["[INFO] a"])
        calls = [writer.submit(RUN, "t", at(22 + n), [f"[INFO] {n}"]) for n in range(10)]
        answers = await asyncio.gather(*calls)
    assert sink.steps == [("downloading", 21), ("downloading", 31)]
    assert sink.written[1][2] == tuple(f"[INFO] {n}" for n in range(10))
    assert sink.written[1][0] - sink.written[0][0] >= INTERVAL_S * 0.9
    assert {answer.percent for answer in answers} == {31}


async def test_submit_end_of_a_step_is_written_at_once_and_not_overtaken() -> None:
    sink = Sink()
    async with writing(sink, ENDLESS_S) as writer, asyncio.timeout(TIMEOUT_S):
        await writer.submit(RUN, "t", at(21))
        held = asyncio.create_task(writer.submit(RUN, "t", at(59)))
        await asyncio.sleep(0)
        await writer.submit(RUN, "t", at(60, "installing"))
        await held
        await writer.submit(RUN, "t", at(90, "installing"))
    assert sink.steps == [
        *(("downloading", 21), ("downloading", 59)),
        *(("installing", 60), ("installing", 90)),
    ]


async def test_write_is_a_part_of_each_call_that_it_answers_and_its_pause_makes_none_slow() -> None:
    trails = [
        Trail(TraceContext(trace_id=f"{n:032x}", span_id=f"{n:016x}"), NOW) for n in range(1, 4)
    ]

    async def write(
        run: AgentRun, task_id: str, progress: Progress, *_: object, marks: Marks
    ) -> Task:
        with spanned(f"write {progress.percent:.0f}", {}):
            return make_task(progress=(progress,))

    async def submit(trail: Trail, percent: float) -> None:
        with following(trail):
            await writer.submit(RUN, "t", at(percent))

    writer = ProgressWriter(write, interval_s=INTERVAL_S)
    running = asyncio.create_task(writer.run())
    await asyncio.sleep(0)
    await submit(trails[0], 21)
    await asyncio.gather(submit(trails[1], 22), submit(trails[2], 23))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    names = [[span.name for span in trail.spans] for trail in trails]
    assert names == [["write 21"], ["write 23"], ["write 23"]]
    for trail in trails[1:]:
        assert trail.now() - trail.began - trail.took > timedelta(seconds=INTERVAL_S / 2)


async def test_submit_of_other_machines_is_not_held_up() -> None:
    sink = Sink()
    async with writing(sink, ENDLESS_S) as writer, asyncio.timeout(TIMEOUT_S):
        others = [AgentRun(mac=MAC, agent_id=f"{n:032x}") for n in range(100)]
        await asyncio.gather(*(writer.submit(run, "t", at(30)) for run in others))
    assert len(sink.written) == 100


async def test_submit_whose_caller_left_is_written_all_the_same() -> None:
    sink = Sink()
    async with writing(sink) as writer:
        await writer.submit(RUN, "t", at(21))
        gone = asyncio.create_task(writer.submit(RUN, "t", at(22)))
        await asyncio.sleep(0)
        gone.cancel()
        await writer.submit(RUN, "t", at(23), ["[INFO] x"])
    assert sink.steps == [("downloading", 21), ("downloading", 23)]


@pytest.mark.parametrize("error", [Unavailable("away"), ForeignClaim("another"), OSError("odd")])
async def test_submit_where_the_write_fails_every_caller_is_told(error: Exception) -> None:
    sink = Sink()
    async with writing(sink) as writer:
        await writer.submit(RUN, "t", at(21))
        sink.error = error
        calls = (writer.submit(RUN, "t", at(22 + n)) for n in range(3))
        assert await asyncio.gather(*calls, return_exceptions=True) == [error] * 3
        sink.error = None
        assert (await writer.submit(RUN, "t", at(30))).percent == 30


async def test_lines_said_again_during_a_write_that_fails_are_in_the_next_one_once() -> None:
    sink = Sink()
    async with writing(sink, 0.05) as writer, asyncio.timeout(TIMEOUT_S):
        await writer.submit(RUN, "t", at(21))
        sink.gate.clear()
        sink.error = Unavailable("away")
        first = asyncio.create_task(
            writer.submit(RUN, "t", at(22), ["1", "2"], numbered=Numbered("agent", 1))
        )
        while not sink.under_way:  # noqa: ASYNC110 - what is waited for is another's write
            await asyncio.sleep(0.01)
        again = asyncio.create_task(
            writer.submit(RUN, "t", at(23), ["1", "2", "3"], numbered=Numbered("agent", 1))
        )
        await asyncio.sleep(0)
        sink.gate.set()
        with pytest.raises(Unavailable):
            await first
        sink.error = None
        await again
        await writer.submit(RUN, "t", at(24), ["3", "4"], numbered=Numbered("agent", 3))
    assert [lines for _, _, lines in sink.written[1:]] == [("1", "2", "3"), ("4",)]
    assert sink.marks[1:] == [{"agent": 3}, {"agent": 4}]


async def test_submit_beyond_the_limit_of_calls_is_refused() -> None:
    sink = Sink()
    async with writing(sink) as writer:
        await writer.submit(RUN, "t", at(21))
        calls = [asyncio.create_task(writer.submit(RUN, "t", at(22))) for _ in range(CALLS_LIMIT)]
        await asyncio.sleep(0)
        with pytest.raises(TooBusy):
            await writer.submit(RUN, "t", at(23))
        await asyncio.gather(*calls)


async def test_run_cancelled_tells_who_waits_to_try_again() -> None:
    sink = Sink()
    async with writing(sink) as writer:
        await writer.submit(RUN, "t", at(21))
        sink.gate.clear()
        waiting = [asyncio.create_task(writer.submit(RUN, "t", at(22)))]
        await asyncio.sleep(0)
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(answer) for answer in answers] == [Unavailable]
    with pytest.raises(Unavailable):
        await writer.submit(RUN, "t", at(23))


async def test_flush_waits_for_what_is_being_written_and_what_waits() -> None:
    sink = Sink()
    async with writing(sink, ENDLESS_S) as writer, asyncio.timeout(TIMEOUT_S):
        await writer.submit(RUN, "t", at(21))
        held = asyncio.create_task(writer.submit(RUN, "t", at(22)))
        await asyncio.sleep(0)
        await writer.flush(RUN, "t")
        assert sink.steps[-1] == ("downloading", 22)
        await held


async def test_lane_that_was_quiet_is_forgotten_and_begins_anew() -> None:
    sink = Sink()
    async with writing(sink) as writer:
        await writer.submit(RUN, "t", at(21))
        await asyncio.sleep(3 * INTERVAL_S)
        began = time.monotonic()
        await writer.submit(RUN, "t", at(22))
        assert time.monotonic() - began < INTERVAL_S


async def test_progress_in_a_storm_is_at_most_one_write_a_second_and_ends_complete(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as region:
        task = await region.installing_task()
        before, began, calls = region.store.txns, time.monotonic(), 0
        while time.monotonic() - began < 3.2:
            storm = [region.progress(task, "downloading", 20 + calls % 39) for _ in range(3)]
            answers = await asyncio.gather(*storm)
            assert {status for status, _ in answers} == {200}
            calls += 3
        seconds = time.monotonic() - began
        assert region.store.txns - before <= seconds + 2
        status, body = await region.progress(task, "downloading", 60, message="done")
        assert (status, body["status"]) == (200, "installing")
        stored = await region.stored_task(task)
        assert [(p.step, p.percent, p.message) for p in stored.progress] == [
            ("downloading", 60, "done")
        ]
