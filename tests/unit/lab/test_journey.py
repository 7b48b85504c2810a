"""One server's way, driven against a control plane and a server that follow a script."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from lpmos.lab.api_client import CreatedTask, TaskState
from lpmos.lab.errors import ProcessFailed
from lpmos.lab.journey import (
    MANUAL_APPROVAL_TIMEOUT_S,
    STATUS_TIMEOUT_S,
    Journey,
    JourneyProgress,
)
from lpmos.model.lifecycle import Status
from lpmos.model.newtask import NewTask
from lpmos.model.task import Progress, StatusChange, TaskError

START = datetime(2026, 1, 1, tzinfo=UTC)
WAY = (
    Status.READY,
    Status.BOOTING,
    Status.PENDING_APPROVAL,
    Status.APPROVED,
    Status.INSTALLING,
    Status.COMPLETED,
)


class ScriptedControlPlane:
    """Each look at the task finds it one status and one `step` of time further.

    With `server` it is completed only once that came up, as where the installed system says so.
    An install tells its progress once, one that `talks` at each look.
    """

    def __init__(
        self,
        way: Sequence[Status],
        *,
        error: TaskError | None = None,
        server: "ScriptedServer | None" = None,
    ) -> None:
        self._server = server
        self._handed_over_at: datetime | None = None
        self._way = list(way)
        self._error = error
        self._history: tuple[StatusChange, ...] = ()
        self.approved = False
        self.talks = False
        self.progress: tuple[Progress, ...] = ()
        self.now = START
        self.step = timedelta(seconds=1)

    async def create_task(self, new: NewTask) -> CreatedTask:
        return CreatedTask("T1", Status.PENDING)

    async def task(self, task_id: str) -> TaskState:
        self.now += self.step
        waiting = self._history and self._history[-1].status is Status.PENDING_APPROVAL
        installing = self._history and self._history[-1].status is Status.INSTALLING
        if installing and self._server and len(self._server.deeds) < 2:
            self._handed_over_at = self._handed_over_at or self.now
        elif self._way and (self.approved or not waiting):
            change = StatusChange(status=self._way.pop(0), timestamp=self.now)
            if not self._history or self._history[-1].status is not change.status:
                self._history += (change,)
        status = self._history[-1].status
        written = self._handed_over_at is not None or status is Status.COMPLETED
        if status is Status.INSTALLING and not written and (self.talks or not self.progress):
            self.progress = (Progress(step="downloading", percent=40, timestamp=self.now),)
        elif written and len(self.progress) < 2:
            late = (("installing", 72), ("configuring", 97))
            self.progress += tuple(
                Progress(step=step, percent=percent, timestamp=self.now) for step, percent in late
            )
        return TaskState(
            task_id=task_id,
            hostname="web-1",
            status=status,
            status_history=self._history,
            progress=self.progress,
            error=self._error if status is Status.FAILED else None,
            handed_over_at=self._handed_over_at,
        )

    async def approve(self, task_id: str, notes: str) -> None:
        self.approved = True


class ScriptedServer:
    """A server that comes up, or is lost."""

    name = "web-1"
    kind = "scripted"

    def __init__(self, lost: str | None = None) -> None:
        self.deeds: list[str] = []
        self._lost = lost

    async def power_on(self) -> None:
        self.deeds.append("power on")

    async def wait_up(self, hostname: str, timeout_s: float) -> None:
        self.deeds.append(f"up as {hostname}")

    def check(self) -> None:
        if self._lost and self.deeds:
            raise ProcessFailed(self._lost)

    def last_words(self) -> str:
        return "the console ends with: panic"


class Screen:
    """Remembers every stage it was shown, and the percentage of each."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.percent: dict[str, float] = {}

    def show(self, progress: JourneyProgress) -> None:
        self.percent[progress.stage] = progress.percent
        if not self.stages or self.stages[-1] != progress.stage:
            self.stages.append(progress.stage)


def journey(
    api: ScriptedControlPlane,
    server: ScriptedServer | None = None,
    screen: Screen | None = None,
    *,
    approve: bool = True,
) -> Journey:
    task = NewTask(idc="dc1", sn="SN-1", mac="52:54:00:00:00:01", hostname="web-1")
    return Journey(
        server or ScriptedServer(),
        task,
        api=api,
        display=screen or Screen(),
        approve=approve,
        now=lambda: api.now,
        pace_s=0,
    )


async def test_journey_to_the_end_powers_on_after_ready_and_shows_each_stage() -> None:
    server, screen, api = ScriptedServer(), Screen(), ScriptedControlPlane(WAY)
    way = journey(api, server, screen)
    await way.run()
    assert way.progress.up
    assert server.deeds == ["power on", "up as web-1"]
    assert screen.stages == [
        "powered on",
        "booting",
        "pending approval",
        "approved",
        "downloading",
        "installing",
        "configuring",
        "completed",
        "restarting",
        "login prompt",
        "up",
    ]
    assert way.progress.seconds("power on", "up") == 6


async def test_journey_whose_system_says_when_it_is_up_awaits_login_and_completion() -> None:
    server, screen = ScriptedServer(), Screen()
    api = ScriptedControlPlane(WAY, server=server)
    way = journey(api, server, screen)
    await way.run()
    assert way.progress.up, way.progress.failed
    assert screen.stages[-4:] == ["restarting", "login prompt", "completed", "up"]
    for begin, end in (("restarting", "login"), ("restarting", "completed"), ("login", "up")):
        seconds = way.progress.seconds(begin, end)
        assert seconds is not None and seconds >= 0


async def test_journey_shows_the_newest_percentage_and_all_of_it_when_completed() -> None:
    """The steps after the download passed between two looks at the task."""
    screen = Screen()
    await journey(ScriptedControlPlane(WAY), screen=screen).run()
    assert screen.percent == {
        **dict.fromkeys(("powered on", "booting", "pending approval", "approved"), 0),
        **{"downloading": 40, "installing": 72, "configuring": 97},
        **dict.fromkeys(("completed", "restarting", "login prompt", "up"), 100),
    }


async def test_journey_of_a_failed_task_tells_reason_command_and_hint() -> None:
    error = TaskError(
        reason="disk full", command="tar -x", output="no space", hint="use a larger disk"
    )
    way = journey(ScriptedControlPlane((*WAY[:-1], Status.FAILED), error=error))
    await way.run()
    assert not way.progress.up
    for text in ("disk full", "tar -x", "no space", "use a larger disk", "panic"):
        assert text in (way.progress.failed or "")


async def test_journey_of_a_lost_server_ends_with_its_last_words() -> None:
    way = journey(ScriptedControlPlane(WAY), ScriptedServer(lost="web-1 went off"))
    await way.run()
    assert way.progress.failed == "web-1 went off\nthe console ends with: panic"
    assert way.progress.stage == "failed"


@pytest.mark.parametrize("status", STATUS_TIMEOUT_S)
async def test_journey_whose_task_stands_still_ends_in_time(status: Status) -> None:
    api = ScriptedControlPlane([status])
    api.step = timedelta(seconds=10)
    way = journey(api)
    await way.run()
    assert f"is {status.value} for {STATUS_TIMEOUT_S[status]:.0f} s" in (way.progress.failed or "")
    assert api.now - START <= timedelta(seconds=STATUS_TIMEOUT_S[status] + 20)


async def test_install_that_goes_on_telling_its_progress_takes_what_it_takes() -> None:
    api = ScriptedControlPlane([Status.INSTALLING] * 500 + [Status.COMPLETED])
    api.step, api.talks = timedelta(seconds=10), True
    way = journey(api)
    await way.run()
    assert way.progress.up
    assert api.now - START > timedelta(seconds=2 * STATUS_TIMEOUT_S[Status.INSTALLING])


async def test_journey_with_manual_approval_waits_longer_and_approves_nothing() -> None:
    api = ScriptedControlPlane([Status.PENDING_APPROVAL])
    api.step = timedelta(seconds=60)
    way = journey(api, approve=False)
    await way.run()
    assert not api.approved
    assert api.now - START > timedelta(seconds=MANUAL_APPROVAL_TIMEOUT_S)
