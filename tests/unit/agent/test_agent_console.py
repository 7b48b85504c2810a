"""The console's lines and the queue for the region; pace; stop; hints."""

import io
import itertools
import json
import threading

import pytest

from lpmos.agent.console import BATCH_BYTES, BATCH_LINES, QUEUE_LINES, Console
from lpmos.agent.errors import CommandFailed, InstallError, Stopped
from lpmos.agent.hints import OTHERWISE, hint_for
from lpmos.agent.pace import Pace
from lpmos.agent.stop import Stop


def test_console_prints_steps_and_queues_the_same_lines() -> None:
    stream = io.StringIO()
    console = Console(stream)
    console.step(1, "Collecting hardware information...")
    console.warn("two\nlines")
    assert stream.getvalue() == (
        "[1/4] Collecting hardware information...\n      WARNING: two\n      WARNING: lines\n"
    )
    _, lines = console.batch()
    assert lines == [
        "[INFO] [1/4] Collecting hardware information...",
        "[WARN] two",
        "[WARN] lines",
    ]


def test_console_batch_is_forgotten_only_when_acknowledged() -> None:
    console = Console(io.StringIO())
    for number in range(BATCH_LINES + 50):
        console.info(str(number))
    mark, first = console.batch()
    assert console.batch()[1] == first
    console.info("later")
    console.acknowledge(mark)
    mark, second = console.batch()
    console.acknowledge(mark)
    assert console.waiting() == 0
    assert len(first) <= BATCH_LINES
    assert first + second == [f"[INFO] {n}" for n in range(BATCH_LINES + 50)] + ["[INFO] later"]


def test_console_batch_of_long_lines_stays_below_the_regions_limit() -> None:
    console = Console(io.StringIO())
    for _ in range(BATCH_LINES):
        console.info("\N{SNOWMAN}" * 2000)
    batches = 0
    while console.waiting():
        mark, lines = console.batch()
        assert 0 < len(json.dumps(lines)) <= BATCH_BYTES + 100
        console.acknowledge(mark)
        batches += 1
    assert batches > 1


def test_console_that_overflows_drops_the_oldest_and_says_so() -> None:
    console = Console(io.StringIO())
    mark, _ = console.batch()
    for number in range(QUEUE_LINES + 7):
        console.info(str(number))
    console.acknowledge(mark)
    mark, lines = console.batch()
    assert lines[:2] == ["[WARN] 7 older lines were dropped", "[INFO] 7"]
    assert len(lines) == BATCH_LINES
    assert console.waiting() == QUEUE_LINES
    console.acknowledge(mark)
    assert console.batch()[1][0] == f"[INFO] {7 + BATCH_LINES - 1}"


def test_pace_doubles_to_its_limit_with_jitter() -> None:
    delays = list(itertools.islice(Pace(fraction=lambda: 0.0).backoff(), 7))
    assert delays == [1, 2, 4, 8, 16, 30, 30]
    stretched = list(itertools.islice(Pace(fraction=lambda: 1.0).backoff(), 2))
    assert stretched == [1.25, 2.5]
    assert Pace(fraction=lambda: 0.0).asked(10) == 10


def test_stop_keeps_its_first_reason_and_calls_back_once() -> None:
    stop, called = Stop(), []
    stop.on_set(lambda: called.append("told"))
    stop.check()
    stop.wait(0)
    stop.set("cancelled")
    stop.set("again")
    assert called == ["told"]
    with pytest.raises(Stopped, match="cancelled"):
        stop.check()
    with pytest.raises(Stopped, match="cancelled"):
        stop.wait(60)


def test_stop_that_is_set_calls_back_at_once_and_ends_its_parts() -> None:
    stop, called = Stop(), []
    stop.set("cancelled")
    stop.on_set(lambda: called.append("told"))
    assert called == ["told"]
    with pytest.raises(Stopped, match="cancelled"):
        stop.part().check()


def test_stop_ends_a_wait_in_another_thread() -> None:
    stop, ended = Stop(), threading.Event()

    def wait() -> None:
        with pytest.raises(Stopped):
            stop.wait(60)
        ended.set()

    thread = threading.Thread(target=wait)
    thread.start()
    stop.set("now")
    thread.join(5)
    assert ended.is_set()


@pytest.mark.parametrize(
    ("command", "output", "expected"),
    [
        ("zstd -dc | tar -x", "tar: a: Cannot write: No space left on device", "too small"),
        ("efibootmgr -c", "Could not prepare: No space left on device", "variable store"),
        ("tar -x", "tar: ./a: Wrote only 7168 of 10240 bytes", "too small"),
        ("mkfs.ext4 /dev/sda3", "Input/output error", "reports errors"),
        ("sfdisk /dev/sda", "This disk is currently in use", "release it"),
        ("zstd -dc", "Decoding error (36) : Restored data doesn't match checksum", "damaged"),
        ("chroot /mnt grub-install", "chroot: failed to run: No such file", "grub-pc-bin"),
        ("mount -t vfat", "mount: unknown filesystem type 'vfat'", "kernel module"),
        ("partx", "partx: the program is not in the agent image", "build-agent"),
        ("sfdisk", "\nkilled after 600 s", "hung"),
        ("sync", "", OTHERWISE),
    ],
)
def test_hint_says_what_to_do(command: str, output: str, expected: str) -> None:
    assert expected in hint_for(command, output)


def test_command_failed_keeps_the_end_of_the_output() -> None:
    error = CommandFailed(["mkfs.ext4", "/dev/sda3"], 1, "x" * 10_000 + "the end")
    assert error.command == "mkfs.ext4 /dev/sda3 (exit code 1)"
    assert len(error.output) == 4096
    assert error.output.endswith("the end")


def test_part_of_a_stop_ends_with_it_and_may_fail_alone() -> None:
    whole = Stop()
    failed, stopped = whole.part(), whole.part()
    failed.end(InstallError("refused"))
    with pytest.raises(InstallError, match="refused"):
        failed.wait(1)
    whole.check()
    stopped.check()
    whole.set("cancelled")
    for stop in (whole, stopped, whole.part()):
        with pytest.raises(Stopped, match="cancelled"):
            stop.check()
    with pytest.raises(InstallError, match="refused"):
        failed.check()
