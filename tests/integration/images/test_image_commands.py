"""Running external programs: output, failure, time limits, and that none is left behind."""

from pathlib import Path

import pytest

from lpmos.images.commands import feed, pipe, require_programs, run
from lpmos.model.errors import ImageError

QUICK_S = 20.0


def test_run_returns_the_output_of_both_streams() -> None:
    assert run(["sh", "-c", "echo out; echo err >&2"], timeout_s=QUICK_S) == "out\nerr\n"


def test_run_passes_lines_as_they_come() -> None:
    lines: list[str] = []
    run(["sh", "-c", "echo one; echo two"], timeout_s=QUICK_S, on_line=lines.append)
    assert lines == ["one", "two"]


def test_run_of_a_failure_shows_a_line_for_a_shell_and_the_output() -> None:
    with pytest.raises(ImageError) as raised:
        run(["sh", "-c", "echo why; exit 3"], timeout_s=QUICK_S)
    assert str(raised.value) == (
        "`sh -c 'echo why; exit 3'` ended with status 3. Its last output:\nwhy"
    )


def test_run_of_a_missing_program_says_so() -> None:
    with pytest.raises(ImageError, match="cannot run `no-such-program`"):
        run(["no-such-program"], timeout_s=QUICK_S)


def test_run_over_its_time_ends_the_whole_group(tmp_path: Path) -> None:
    # The background child holds the pipe: run() returns only because it is ended as well.
    with pytest.raises(ImageError, match="ran longer than 1 s"):
        run(["sh", "-c", "sleep 600 & sleep 600"], timeout_s=1.0)


def test_run_interrupted_by_its_caller_ends_the_program() -> None:
    def refuse(line: str) -> None:
        raise KeyboardInterrupt(line)

    with pytest.raises(KeyboardInterrupt):
        run(["sh", "-c", "echo x; exec sleep 600"], timeout_s=QUICK_S, on_line=refuse)


def test_pipe_moves_every_byte_and_counts(tmp_path: Path) -> None:
    counted: list[int] = []
    target = tmp_path / "copy"
    pipe(
        ["head", "-c", "3000000", "/dev/zero"],
        ["dd", f"of={target}", "status=none"],
        timeout_s=QUICK_S,
        on_bytes=counted.append,
    )
    assert target.stat().st_size == counted[-1] == 3000000


def test_pipe_with_a_failing_producer_is_an_error() -> None:
    with pytest.raises(ImageError, match="`sh -c 'echo why >&2; exit 2'` ended with status 2"):
        pipe(["sh", "-c", "echo why >&2; exit 2"], ["cat"], timeout_s=QUICK_S)


def test_pipe_with_a_failing_consumer_shows_its_reason() -> None:
    with pytest.raises(ImageError, match="No space"):
        pipe(["head", "-c", "9000000", "/dev/zero"], ["dd", "of=/dev/full"], timeout_s=QUICK_S)


def test_feed_to_a_program_that_reads_nothing_is_its_status_that_counts() -> None:
    feed((bytes(1 << 20) for _ in range(4)), ["true"], timeout_s=QUICK_S)
    with pytest.raises(ImageError, match="ended with status 1"):
        feed((bytes(1 << 20) for _ in range(4)), ["false"], timeout_s=QUICK_S)


def test_require_programs_names_all_that_are_missing_with_their_packages() -> None:
    with pytest.raises(ImageError, match="sudo apt-get install one two"):
        require_programs({"no-such-a": "one", "no-such-b": "two", "sh": "dash"})
