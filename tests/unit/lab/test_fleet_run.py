"""What a run of a fleet reads at its end, so that its invariants can be judged."""

import pytest

from lpmos.lab.api_client import ApiClient, TaskState
from lpmos.lab.errors import ApiRefused
from lpmos.lab.fleet.run import read_tasks
from lpmos.model.lifecycle import Status


class Answers(ApiClient):
    """A control plane with the task `there`; any other is answered with `status`."""

    def __init__(self, status: int) -> None:
        super().__init__("http://control-plane.invalid")
        self.status = status

    async def task(self, task_id: str) -> TaskState:
        if task_id != "there":
            raise ApiRefused(self.status, "refused")
        return TaskState(task_id=task_id, hostname="h", status=Status.READY, status_history=())


async def test_task_that_is_gone_is_left_out() -> None:
    found = await read_tasks(Answers(404), {"SN-1": "there", "SN-2": "gone"})
    assert list(found) == ["SN-1"]


async def test_task_that_cannot_be_read_ends_the_run() -> None:
    with pytest.raises(ApiRefused):
        await read_tasks(Answers(503), {"SN-1": "there", "SN-2": "away"})
