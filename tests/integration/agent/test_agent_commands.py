"""Real programs under the agent's runner: output, failure, hanging, being stopped."""

import errno
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lpmos.agent.commands import Commands
from lpmos.agent.errors import CommandFailed, Stopped
from lpmos.agent.stop import Stop

SOON_S = 30.0


def _commands(stop: Stop | None = None) -> tuple[Commands, list[str]]:
    said: list[str] = []
    return Commands(stop or Stop(), said.append), said


def _alive(marker: Path) -> bool:
    pid = int(marker.read_text())
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]
    except FileNotFoundError:
        return False


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < end
        threading.Event().wait(0.01)


def test_run_returns_output_and_says_each_line() -> None:
    commands, said = _commands()
    assert commands.run(["sh", "-c", "cat; echo more >&2"], stdin="given\n") == "given\nmore\n"
    assert said == ["$ sh -c cat; echo more >&2", "  given", "  more"]


def test_run_that_is_not_synced_does_not_wait_for_the_disk_and_nobody_else_is_spared() -> None:
    commands, _ = _commands()
    # No such file is open, so only a call that never reaches the kernel's own code succeeds.
    sync = [
        sys.executable,
        "-c",
        "import os\nfor sync in os.fsync, os.fdatasync:\n"
        " try: sync(9999)\n except OSError as error: print(error.strerror)\n else: print('spared')",
    ]
    refused = os.strerror(errno.EBADF)
    assert commands.run(sync, synced=False) == "spared\nspared\n"
    assert commands.run(sync) == f"{refused}\n{refused}\n"
    with pytest.raises(OSError, match=refused):
        os.fsync(9999)


def test_run_that_is_not_synced_is_stopped_and_fails_like_any_other() -> None:
    stop = Stop()
    commands, _ = _commands(stop)
    with pytest.raises(CommandFailed) as missing:
        commands.run(["no-such-program"], synced=False)
    assert "not in the agent image" in missing.value.output
    with pytest.raises(CommandFailed) as failure:
        commands.run(["sh", "-c", "exit 7"], synced=False)
    assert failure.value.code == 7
    stop.set("told to end")
    with pytest.raises(Stopped):
        commands.run(["true"], synced=False)


def test_run_that_fails_carries_command_code_and_output() -> None:
    commands, _ = _commands()
    with pytest.raises(CommandFailed) as failure:
        commands.run(["sh", "-c", "echo Input/output error >&2; exit 7"])
    assert failure.value.code == 7
    assert failure.value.command.endswith("(exit code 7)")
    assert failure.value.output == "Input/output error\n"
    assert "reports errors" in failure.value.hint


def test_run_of_a_missing_program_says_so() -> None:
    commands, _ = _commands()
    with pytest.raises(CommandFailed) as failure:
        commands.run(["no-such-program"])
    assert failure.value.code == 127
    assert "build-agent" in failure.value.hint


def test_run_that_hangs_is_killed_with_its_children() -> None:
    commands, _ = _commands()
    with pytest.raises(CommandFailed) as failure:
        commands.run(["sh", "-c", "sleep 60 & sleep 60"], timeout_s=0.3)
    assert "killed after 0 s" in failure.value.output
    assert "hung" in failure.value.hint


def test_run_under_way_is_killed_by_a_stop(tmp_path: Path) -> None:
    stop = Stop()
    commands, _ = _commands(stop)
    marker = tmp_path / "pid"
    ended: list[BaseException] = []

    def work() -> None:
        try:
            commands.run(["sh", "-c", f"sh -c 'echo $$ > {marker}; sleep 60'"])
        except Stopped as error:
            ended.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    _until(lambda: marker.exists() and marker.read_text() != "")
    stop.set("cancelled")
    thread.join(SOON_S)
    assert [str(error) for error in ended] == ["cancelled"]
    _until(lambda: not _alive(marker))


def test_run_after_a_stop_starts_nothing_but_cleans_up(tmp_path: Path) -> None:
    stop = Stop()
    commands, _ = _commands(stop)
    stop.set("cancelled")
    for start in (commands.run, commands.ask, commands.pipeline):
        with pytest.raises(Stopped):
            start(["touch", str(tmp_path / "made")])
    assert not (tmp_path / "made").exists()
    assert commands.clean_up(["echo", "undone"]).text == "undone\n"


def test_pipeline_feeds_its_programs(tmp_path: Path) -> None:
    commands, said = _commands()
    pipeline = commands.pipeline(["cat"], ["sh", "-c", f"cat > {tmp_path}/out"])
    pipeline.write(b"one ")
    pipeline.write(b"two")
    pipeline.finish()
    assert (tmp_path / "out").read_text() == "one two"
    assert said[0].startswith("$ cat | sh -c")


@pytest.mark.parametrize("failing", [0, 1])
def test_pipeline_whose_program_fails_names_it(failing: int) -> None:
    commands, _ = _commands()
    argvs = [["cat"], ["sh", "-c", "cat > /dev/null"]]
    argvs[failing] = ["sh", "-c", "head -c 1 > /dev/null; echo tar: broken >&2; exit 2"]
    pipeline = commands.pipeline(*argvs)
    with pytest.raises(CommandFailed) as failure:
        for _ in range(100):
            pipeline.write(b"x" * 1_000_000)
        pipeline.finish()
    pipeline.abort()
    assert failure.value.code == 2
    assert "tar: broken" in failure.value.output


def test_pipeline_that_blocks_is_ended_by_a_stop() -> None:
    stop = Stop()
    commands, _ = _commands(stop)
    pipeline = commands.pipeline(["cat"], ["sleep", "60"])
    ended: list[BaseException] = []

    def work() -> None:
        try:
            while True:
                pipeline.write(b"x" * 1_000_000)
        except Stopped as error:
            ended.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    stop.set("cancelled")
    thread.join(SOON_S)
    pipeline.abort()
    assert len(ended) == 1


def test_pipeline_of_a_missing_program_leaves_none_running() -> None:
    commands, _ = _commands()
    with pytest.raises(CommandFailed, match="no-such-program"):
        commands.pipeline(["cat"], ["no-such-program"])


def test_stream_is_over_when_the_end_that_was_told_is_dealt_with() -> None:
    commands, said = _commands()

    def deal() -> None:
        threading.Event().wait(0.2)  # as who looks through all processes of a busy machine
        said.append("dealt with")

    commands.stream(["true"], say=said.append, timeout_s=SOON_S, ended=deal)
    said.append("next")
    assert said[-2:] == ["dealt with", "next"]


def test_what_was_left_holding_the_output_is_dealt_with_again_when_the_time_is_over(
    tmp_path: Path,
) -> None:
    commands, said = _commands()
    left = tmp_path / "left"
    # It is there only after its parent's end was told, and in a session of its own.
    late = f"sleep 1; echo $$ > {left}.new; mv {left}.new {left}; exec sleep 600"

    def deal() -> None:
        if left.exists():
            os.kill(int(left.read_text()), signal.SIGKILL)

    output = commands.stream(
        ["sh", "-c", f"setsid sh -c '{late}' &"], say=said.append, timeout_s=5, ended=deal
    )
    assert "killed after 5 s" in output.text
    _until(lambda: not _alive(left))
