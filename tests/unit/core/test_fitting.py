"""Task documents that machines make large: cut where they are for reading only, never refused."""

import msgspec

from lpmos.core.fitting import EVIDENCE_CHARACTERS, EVIDENCE_LINES, fitted
from lpmos.model.job import StepResult
from lpmos.model.lifecycle import Status
from lpmos.store.records import VALUE_LIMIT_BYTES
from tests.unit.core.conftest import World

LINE = "\u0416" * 500


async def test_ten_steps_with_all_their_evidence_fit(world: World) -> None:
    task = await world.task_that_is(Status.INSTALLING)
    full = tuple(
        StepResult(
            step="disk_test", outcome="passed", seconds=number, summary=LINE, evidence=(LINE,) * 8
        )
        for number in range(10)
    )
    cut, document = fitted(msgspec.structs.replace(task, results=full))
    assert len(document) < VALUE_LIMIT_BYTES
    assert [each.seconds for each in cut.results] == [each.seconds for each in full]
    assert cut.results[0].evidence == (LINE[:EVIDENCE_CHARACTERS],) * EVIDENCE_LINES
    assert cut.hardware == task.hardware


async def test_evidence_that_fits_is_whole(world: World) -> None:
    task = await world.task_that_is(Status.INSTALLING)
    result = StepResult(
        step="disk_test", outcome="failed", seconds=1, summary="s", evidence=(LINE,) * 8
    )
    task = msgspec.structs.replace(task, results=(result,))
    assert fitted(task)[0] == task
