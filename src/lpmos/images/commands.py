"""External programs of the builders: each has a time limit; a failure can be pasted into a shell.

A program runs in a process group of its own, which is ended however its caller leaves.
"""

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from lpmos.model.errors import ImageError

TAIL_LINES = 30
"""How much of a failed program's output its error shows."""
PIPE_CHUNK_BYTES = 1 << 20
ENDING_S = 20.0
"""How long a program may take to clean up after SIGTERM before it is killed."""

Argument = str | Path
AnyProcess = subprocess.Popen[str] | subprocess.Popen[bytes]


def require_programs(programs: Mapping[str, str]) -> None:
    """Check that every program (name to Debian package) is on the search path.

    Raises:
        ImageError: names all that are missing and the command that installs them.
    """
    missing = {name: package for name, package in programs.items() if shutil.which(name) is None}
    if missing:
        packages = " ".join(sorted(set(missing.values())))
        raise ImageError(
            f"missing programs: {', '.join(sorted(missing))}; install them with"
            f" `sudo apt-get install {packages}`"
        )


def run(
    arguments: Sequence[Argument],
    *,
    timeout_s: float,
    environment: Mapping[str, str] | None = None,
    on_line: Callable[[str], None] | None = None,
) -> str:
    """Run a program to its end and return its output, standard error included.

    Args:
        arguments: the program and its arguments; no shell is involved.
        timeout_s: after this the program is ended.
        environment: variables set on top of this process's own.
        on_line: called with each line of output as it comes.

    Raises:
        ImageError: the program failed, ran too long or does not exist; the text holds the command
            line and the end of its output.
    """
    command = [str(argument) for argument in arguments]
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, "LC_ALL": "C.UTF-8", **(environment or {})},
            start_new_session=True,
        )
    except OSError as error:
        raise _not_started(command, error) from error
    with ended_within(process, timeout_s) as expired:
        output = _read(process, on_line)
    _check(process, command, output, expired, timeout_s)
    return "".join(output)


def feed(pieces: Iterable[bytes], consumer: Sequence[Argument], *, timeout_s: float) -> None:
    """Write `pieces` to the standard input of a program and wait for its end.

    Raises:
        ImageError: the program failed, ran too long or does not exist.
    """
    command = [str(argument) for argument in consumer]
    with tempfile.TemporaryFile() as output:
        process = _start(command, stdin=subprocess.PIPE, stdout=output, stderr=output)
        with ended_within(process, timeout_s) as expired:
            assert process.stdin is not None  # noqa: S101 - a pipe, as asked
            # A consumer that ends early says why with its status; the unwritten rest is lost.
            with suppress(BrokenPipeError), process.stdin:
                for piece in pieces:
                    process.stdin.write(piece)
        output.seek(0)
        text = output.read().decode("utf-8", "replace").splitlines(keepends=True)
    _check(process, command, text, expired, timeout_s)


def pipe(
    producer: Sequence[Argument],
    consumer: Sequence[Argument],
    *,
    timeout_s: float,
    on_bytes: Callable[[int], None] | None = None,
) -> None:
    """Feed the output of one program to another; `on_bytes` is told how many have passed so far.

    Raises:
        ImageError: either program failed, ran too long or does not exist.
    """
    command = [str(argument) for argument in producer]
    with tempfile.TemporaryFile() as errors:
        process = _start(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors)
        with ended_within(process, timeout_s) as expired:
            feed(_chunks(process, on_bytes), consumer, timeout_s=timeout_s)
        errors.seek(0)
        text = errors.read().decode("utf-8", "replace").splitlines(keepends=True)
    _check(process, command, text, expired, timeout_s)


@contextmanager
def ended_within(process: AnyProcess, timeout_s: float) -> Iterator[threading.Event]:
    """Wait for the process at the end of the block; yields the event that its time ran out.

    Where the block raises, or the time is up, the process and its group are ended first.
    """
    expired = threading.Event()

    def expire() -> None:
        expired.set()
        end_group(process)

    timer = threading.Timer(timeout_s, expire)
    timer.start()
    try:
        yield expired
        process.wait()
    finally:
        timer.cancel()
        end_group(process)


def end_group(process: AnyProcess) -> None:
    """End a process and the group that it leads, gently first, and wait for it."""
    if process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(ENDING_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _read(
    process: subprocess.Popen[str], on_line: Callable[[str], None] | None
) -> list[str] | deque[str]:
    """All the output, or only its tail where a caller takes the lines as they come."""
    assert process.stdout is not None  # noqa: S101 - opened as a pipe above
    output: list[str] | deque[str] = [] if on_line is None else deque(maxlen=TAIL_LINES)
    with process.stdout:
        for line in process.stdout:
            output.append(line)
            if on_line is not None:
                on_line(line.rstrip("\n"))
    return output


def _chunks(
    process: subprocess.Popen[bytes], on_bytes: Callable[[int], None] | None
) -> Iterator[bytes]:
    assert process.stdout is not None  # noqa: S101 - a pipe, as asked
    passed = 0
    with process.stdout:
        while chunk := process.stdout.read(PIPE_CHUNK_BYTES):
            yield chunk
            passed += len(chunk)
            if on_bytes is not None:
                on_bytes(passed)


def _start(
    command: Sequence[str], *, stdin: int | IO[bytes], stdout: int | IO[bytes], stderr: IO[bytes]
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            command, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True
        )
    except OSError as error:
        raise _not_started(command, error) from error


def _not_started(command: Sequence[str], error: OSError) -> ImageError:
    return ImageError(f"cannot run `{shlex.join(command)}`: {error}")


def _check(
    process: AnyProcess,
    command: Sequence[str],
    output: Iterable[str],
    expired: threading.Event,
    timeout_s: float,
) -> None:
    """Raise unless the process, which has ended, ended well and in time."""
    if expired.is_set():
        what = f"ran longer than {timeout_s:.0f} s"
    elif process.returncode != 0:
        what = f"ended with status {process.returncode}"
    else:
        return
    tail = "".join(list(output)[-TAIL_LINES:]).strip()
    raise ImageError(f"`{shlex.join(command)}` {what}. Its last output:\n{tail or '(none)'}")
