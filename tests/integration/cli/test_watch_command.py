"""`lpmos task watch` as lines and in a terminal, and what is asked in a terminal."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest

from lpmos.model.lifecycle import Status
from lpmos.model.task import Progress, StatusChange, Task, TaskError
from tests.integration.cli.conftest import LPMOS, Shell
from tests.integration.cli.test_task_commands import put_waiting
from tests.support.builders import NOW, make_task
from tests.support.control_plane import RunningControlPlane
from tests.support.tcp_proxy import TcpProxy
from tests.support.terminal import Terminal

STEPS = (Status.APPROVED, Status.INSTALLING, Status.COMPLETED)


def task_at(status: Status, **fields: Any) -> Task:
    """The task with a history up to `status`."""
    passed = (Status.PENDING, *STEPS[: STEPS.index(status) + 1])
    history = tuple(StatusChange(status=each, timestamp=NOW) for each in passed)
    return make_task(**{"status": status, "status_history": history, **fields})


def downloading(percent: float) -> tuple[Progress, ...]:
    return (
        Progress(
            step="downloading", percent=percent, timestamp=NOW, message="root archive",
            bytes_done=int(percent) * 1_000_000, bytes_total=100_000_000, bytes_per_second=2e7,
        ),
    )  # fmt: skip


class Watching:
    """`task watch` as a process, line by line."""

    def __init__(self, shell: Shell, process: asyncio.subprocess.Process) -> None:
        self._shell = shell
        self.process = process
        self.lines: list[str] = []

    async def until(self, text: str) -> None:
        """Read lines until one has `text`."""
        assert self.process.stdout is not None
        async with asyncio.timeout(30):
            while not (self.lines and text in self.lines[-1]):
                line = (await self.process.stdout.readline()).decode()
                assert line, f"ended before {text!r}: {self.lines}"
                self.lines.append(line.rstrip("\n"))

    async def ended(self) -> tuple[int, str]:
        """The exit code and what was said of it, without the calls."""
        async with asyncio.timeout(30):
            _, err = await self.process.communicate()
        assert self.process.returncode is not None
        said = [line for line in err.decode().splitlines() if not line.startswith("* ")]
        return self.process.returncode, "\n".join(said)


async def watching(shell: Shell, *words: str) -> Watching:
    return Watching(shell, await shell.start("task", "watch", *words))


async def test_watch_prints_a_line_for_each_change_until_the_end(
    shell: Shell, control_plane: RunningControlPlane
) -> None:
    await control_plane.put_task(task_at(Status.APPROVED))
    seen = await watching(shell, "SN-1")
    await seen.until("SN-1 approved")
    for percent in (1.0, 4.0, 25.0):
        await control_plane.put_task(task_at(Status.INSTALLING, progress=downloading(percent)))
        await asyncio.sleep(0.05)
    await seen.until("25 % downloading: root archive")
    await control_plane.put_task(task_at(Status.COMPLETED, progress=downloading(100.0)))
    await seen.until("completed")
    assert await seen.ended() == (0, "")
    assert not any(" 4 %" in line for line in seen.lines)


async def test_watch_of_a_task_that_fails_ends_with_1_and_says_why(
    shell: Shell, control_plane: RunningControlPlane
) -> None:
    await control_plane.put_task(task_at(Status.INSTALLING))
    seen = await watching(shell, "SN-1", "--json")
    await seen.until('"installing"')
    await control_plane.put_task(
        make_task(status=Status.FAILED, error=TaskError(reason="no disk \x1b[31m"))
    )
    await seen.until('"failed"')
    assert json.loads(seen.lines[-1])["status"] == "failed"
    assert await seen.ended() == (1, "lpmos: SN-1 failed: no disk �[31m")


@pytest.fixture
async def proxy(control_plane: RunningControlPlane) -> AsyncIterator[TcpProxy]:
    async with TcpProxy(control_plane.port) as proxy:
        yield proxy


async def test_watch_misses_nothing_over_a_lost_connection(
    shell: Shell, control_plane: RunningControlPlane, proxy: TcpProxy
) -> None:
    await control_plane.put_task(task_at(Status.APPROVED))
    shell.environment["LPMOS_SERVER"] = proxy.endpoint
    seen = await watching(shell, "SN-1")
    await seen.until("approved")
    await proxy.cut()
    await control_plane.put_task(task_at(Status.INSTALLING))
    await control_plane.put_task(task_at(Status.COMPLETED))
    await proxy.heal()
    await seen.until("completed")
    assert [line.split()[-1] for line in seen.lines] == ["approved", "installing", "completed"]
    code, said = await seen.ended()
    assert code == 0 and "connecting again" in said


async def test_watch_of_a_dead_server_ends_at_once(shell: Shell) -> None:
    shell.environment["LPMOS_SERVER"] = "http://127.0.0.1:1"
    ended = await shell.run("task", "watch", code=6)
    assert "is it running" in ended.err


async def test_watch_without_a_name_shows_what_begins(
    shell: Shell, control_plane: RunningControlPlane
) -> None:
    await control_plane.put_task(task_at(Status.INSTALLING))
    seen = await watching(shell)
    await seen.until("SN-1 installing")
    await control_plane.put_task(
        make_task(
            task_id="0b0b6f5e-0000-4000-8000-000000000002", sn="SN-2", mac="52:54:00:00:00:02"
        )
    )
    await seen.until("SN-2 pending")
    seen.process.send_signal(signal.SIGINT)
    assert (await seen.ended())[0] == 130


async def test_logs_follow_a_task_to_its_end(
    shell: Shell, control_plane: RunningControlPlane
) -> None:
    await control_plane.put_task(task_at(Status.INSTALLING, logs=("one",)))
    process = await shell.start("task", "logs", "SN-1", "--follow")
    seen = Watching(shell, process)
    await seen.until("one")
    await control_plane.put_task(
        task_at(Status.INSTALLING, logs=("one", "two"), progress=downloading(1.0))
    )
    await seen.until("two")
    await control_plane.put_task(task_at(Status.COMPLETED, logs=("two", "three"), log_count=3))
    await seen.until("three")
    assert seen.lines == ["one", "two", "three"]
    assert (await seen.ended())[0] == 0


async def test_watch_in_a_terminal_draws_a_bar_that_moves(
    shell: Shell, control_plane: RunningControlPlane
) -> None:
    await control_plane.put_task(task_at(Status.INSTALLING, progress=downloading(40.0)))
    terminal = Terminal(columns=130)
    await terminal.start(LPMOS, "task", "watch", "SN-1", environment=shell.environment)
    await terminal.until("40 MB of 100 MB")
    await control_plane.put_task(task_at(Status.INSTALLING, progress=downloading(60.0)))
    await terminal.until("60 %")
    await terminal.until("left")
    await control_plane.put_task(task_at(Status.COMPLETED, progress=downloading(100.0)))
    assert await terminal.ended() == 0
    assert "completed" in terminal.text and "━" in terminal.text


async def test_approve_in_a_terminal_asks_and_takes_no_for_no(
    shell: Shell, control_plane: RunningControlPlane
) -> None:
    task = await put_waiting(control_plane)
    for answer, code, status in (
        ("n", 1, Status.PENDING_APPROVAL),
        ("y", 0, Status.APPROVED),
    ):
        terminal = Terminal()
        await terminal.start(LPMOS, "task", "approve", "SN-1", environment=shell.environment)
        await terminal.until("Write /dev/vda of SN-1? [y/N]")
        terminal.type(f"{answer}\n")
        assert await terminal.ended() == code
        stored = control_plane.fleet.task(task.task_id)
        assert stored is not None and stored.status is status


async def test_login_in_a_terminal_asks_and_does_not_show_the_password(
    shell: Shell, control_plane: RunningControlPlane
) -> None:
    password = "correct horse battery"
    words = ("user", "create", "alice", "--role", "viewer", "--password-file", "-")
    await shell.run(*words, typed=password)
    del shell.environment["LPMOS_TOKEN"]
    terminal = Terminal()
    await terminal.start(LPMOS, "login", environment=shell.environment)
    await terminal.until("User: ")
    terminal.type("alice\n")
    await terminal.until("Password of alice")
    terminal.type(f"{password}\n")
    assert await terminal.ended() == 0
    assert password not in terminal.text and "as alice" in terminal.text


async def test_table_in_a_narrow_terminal_drops_what_matters_least(
    shell: Shell, control_plane: RunningControlPlane
) -> None:
    await control_plane.put_task(task_at(Status.INSTALLING, progress=downloading(40.0)))
    terminal = Terminal(columns=44)
    await terminal.start(LPMOS, "task", "list", environment={**shell.environment, "NO_COLOR": "1"})
    assert await terminal.ended() == 0
    drawn = terminal.text.splitlines()
    assert drawn[0].split() == ["TASK", "IDC", "SN", "STATUS", "%"]
    assert max(map(len, drawn)) <= 44
    assert b"\x1b[3" not in bytes(terminal._drawn)
