"""The kernel's messages: which are told, and that they stay bounded."""

import io
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from lpmos.agent.console import Console
from lpmos.agent.kernellog import (
    BURST,
    BURST_S,
    Bounded,
    KernelLog,
    Message,
    parse_message,
)

IO_ERROR = b"3,1042,5011372,-;I/O error, dev sda, sector 2048 op 0x1:(WRITE)\n SUBSYSTEM=scsi\n"


def test_record_is_read_without_what_says_which_device_it_is_of() -> None:
    assert parse_message(IO_ERROR) == Message(
        3, 1042, "I/O error, dev sda, sector 2048 op 0x1:(WRITE)"
    )


def test_record_that_a_program_wrote_or_that_is_none_is_not_the_kernels() -> None:
    assert parse_message(b"12,7,1,-;systemd says\n") is None
    for record in (b"", b"text", b"a,b,c;d", b"3;x", b"3,1;x"):
        assert parse_message(record) is None


@given(st.binary(max_size=200))
def test_any_record_is_a_message_of_one_line_or_none(record: bytes) -> None:
    found = parse_message(record)
    assert found is None or (0 <= found.level <= 7 and "\n" not in found.text)


def test_messages_beyond_a_burst_are_counted_and_the_count_is_said() -> None:
    now = [0.0]
    console = Console(io.StringIO())
    bounded = Bounded(console, lambda: now[0])
    for number in range(BURST + 30):
        bounded.take(Message(4, number, f"message {number}"))
    bounded.take(Message(6, 0, "of no interest"))
    now[0] = BURST_S
    bounded.tick()
    lines = console.batch()[1]
    assert lines[:1] == ["[WARN] [kernel] message 0"]
    assert lines[BURST:] == ["[WARN] [kernel] 30 messages were left out"]


def test_log_tells_errors_that_were_there_before_it_began(tmp_path: Path) -> None:
    device = tmp_path / "kmsg"
    device.write_bytes(IO_ERROR)
    stream = io.StringIO()
    console = Console(stream)
    log = KernelLog(console, device)
    log.start()
    log.join()
    assert console.batch()[1] == ["[ERROR] [kernel] I/O error, dev sda, sector 2048 op 0x1:(WRITE)"]
    assert stream.getvalue() == "", "the kernel prints its messages itself"


def test_log_of_a_machine_without_the_device_is_empty(tmp_path: Path) -> None:
    console = Console(io.StringIO())
    log = KernelLog(console, tmp_path / "none")
    log.start()
    log.join()
    assert console.waiting() == 0
