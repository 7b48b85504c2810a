"""External programs: the one place that starts them, so that a stop can end them all.

The rule: every program runs in a process group of its own that is registered before anything can
wait for it, and `Stop` kills every registered group. Tests put a recording stand-in here.
"""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from typing import IO, NamedTuple

from lpmos.agent.errors import OUTPUT_BYTES, CommandFailed, InstallError
from lpmos.agent.stop import Stop
from lpmos.agent.unsynced import unsynced

COMMAND_TIMEOUT_S = 600.0
UNPACK_END_TIMEOUT_S = 1800.0
"""From the last byte handed over until the unpacking programs have ended."""
KEPT_BYTES = 65_536
"""How much of a command's output is kept for reading; the rest only passes the console."""
PIPE_BYTES = 1 << 20
"""Between programs that feed each other: fewer, longer turns on a machine with few processors."""
_ENVIRONMENT = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C",
    "HOME": "/root",
    # Nobody else makes the nodes of device mapper here: its tools would wait for that for ever.
    "DM_DISABLE_UDEV": "1",
}


class Output(NamedTuple):
    """How a program ended: its exit code and its output, standard error included."""

    code: int
    text: str


class Pipeline:
    """Programs that feed each other (`zstd -dc | tar -x`), fed by `write`."""

    def __init__(
        self,
        argvs: Sequence[Sequence[str]],
        processes: Sequence["subprocess.Popen[bytes]"],
        errors: IO[bytes],
        stop: Stop,
        release: Callable[["subprocess.Popen[bytes]"], None],
        *,
        take: Callable[[bytes], None] | None = None,
    ) -> None:
        self._failure: InstallError | None = None
        self._taker: threading.Thread | None = None
        if take is not None:
            self._taker = threading.Thread(target=self._hand_on, args=(take,), daemon=True)
        self._argvs = argvs
        self._processes = processes
        self._stop = stop
        self._release = release
        self._tail = b""
        self._reader = threading.Thread(target=self._keep_tail, args=(errors,), daemon=True)
        self._reader.start()
        if self._taker is not None:
            self._taker.start()

    def write(self, data: bytes) -> None:
        """Hand over bytes.

        Raises:
            CommandFailed: a program ended early; its output says why.
            Stopped: the run was told to end.
        """
        stdin = self._processes[0].stdin
        try:
            if stdin is not None:
                stdin.write(data)
        except (BrokenPipeError, ValueError):
            self.finish()
            raise CommandFailed(self._argvs[0], 0, "ended before all was read") from None

    def finish(self) -> None:
        """Wait until every program has ended well.

        Raises:
            CommandFailed: one did not; the last in the chain is named first, it knows why.
            Stopped: the run was told to end.
        """
        self._close_stdin()
        if self._taker is not None:
            self._taker.join(UNPACK_END_TIMEOUT_S)
        codes = [self._wait(process) for process in self._processes]
        self._reader.join(COMMAND_TIMEOUT_S)
        self._stop.check()
        if self._failure is not None:
            raise self._failure
        for argv, code in reversed(list(zip(self._argvs, codes, strict=True))):
            if code not in (0, -signal.SIGPIPE):
                raise CommandFailed(argv, code, self._tail.decode(errors="replace"))

    def abort(self) -> None:
        """Kill what still runs."""
        for process in self._processes:
            _kill(process)
        self._close_stdin()
        for process in self._processes:
            self._wait(process)
        if self._taker is not None:
            self._taker.join(UNPACK_END_TIMEOUT_S)

    def _close_stdin(self) -> None:
        stdin = self._processes[0].stdin
        try:
            if stdin is not None:
                stdin.close()
        except BrokenPipeError:
            pass  # the exit code says why it ended

    def _wait(self, process: "subprocess.Popen[bytes]") -> int:
        try:
            code = process.wait(UNPACK_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            _kill(process)
            code = process.wait(COMMAND_TIMEOUT_S)
        self._release(process)
        return code

    def _hand_on(self, take: Callable[[bytes], None]) -> None:
        """Give what the last program puts out to `take`, in whole blocks but the last."""
        output = self._processes[-1].stdout
        try:
            while output is not None and (block := output.read(PIPE_BYTES)):
                take(block)
        except InstallError as failure:  # raised again by `finish`, in the thread that waits
            self._failure = failure
            for process in self._processes:
                _kill(process)
        finally:
            if output is not None:
                output.close()

    def _keep_tail(self, errors: IO[bytes]) -> None:
        with errors:
            while data := errors.read1(8192):  # type: ignore[attr-defined]
                self._tail = (self._tail + data)[-OUTPUT_BYTES:]


class Commands:
    """Runs programs for one agent run."""

    def __init__(self, stop: Stop, say: Callable[[str], None]) -> None:
        self._stop = stop
        self._say = say
        self._lock = threading.RLock()  # a signal handler may come while it is held
        self._running: set[subprocess.Popen[bytes]] = set()
        stop.on_set(self._kill_all)

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: str = "",
        timeout_s: float = COMMAND_TIMEOUT_S,
        synced: bool = True,
    ) -> str:
        """Run a program to its end and return its output.

        One that is not `synced` does not wait for the disk: the caller has all flushed later.

        Raises:
            CommandFailed: its exit code was not 0, it hung, or it is not there.
            Stopped: the run was told to end.
        """
        self._say("$ " + " ".join(argv))
        output = self._run(argv, stdin, timeout_s, forced=False, say=self._say, synced=synced)
        self._stop.check()
        if output.code:
            raise CommandFailed(argv, output.code, output.text)
        return output.text

    def stream(
        self,
        argv: Sequence[str],
        *,
        say: Callable[[str], None],
        timeout_s: float,
        ended: Callable[[], None] | None = None,
    ) -> Output:
        """Run a program to its end, each line of its output said by `say` as it comes.

        Any exit code is an answer; one that hung was killed, and its output says so. Its output
        ends when all that it started has closed it; `ended` is called when it itself is over, and
        again when its time is.

        Raises:
            Stopped: the run was told to end.
        """
        output = self._run(argv, "", timeout_s, forced=False, say=say, ended=ended)
        self._stop.check()
        return output

    def ask(self, argv: Sequence[str], *, timeout_s: float = COMMAND_TIMEOUT_S) -> Output:
        """Run a program for its answer, quietly; any exit code is an answer."""
        return self._run(argv, "", timeout_s, forced=False, say=None)

    def clean_up(self, argv: Sequence[str], *, timeout_s: float = COMMAND_TIMEOUT_S) -> Output:
        """Run a program that undoes something: also after a stop, and whatever its exit code."""
        return self._run(argv, "", timeout_s, forced=True, say=None)

    def pipeline(
        self, *argvs: Sequence[str], take: Callable[[bytes], None] | None = None
    ) -> Pipeline:
        """Start programs that feed each other; `take` gets what the last one puts out.

        It gets blocks of `PIPE_BYTES` but the last, in a thread of its own; an InstallError of
        it is raised by `write` or `finish`.

        Raises:
            CommandFailed: one of them is not there.
            Stopped: the run was told to end.
        """
        self._say("$ " + " | ".join(" ".join(argv) for argv in argvs))
        read_fd, write_fd = os.pipe()
        processes: list[subprocess.Popen[bytes]] = []
        try:
            for number, argv in enumerate(argvs):
                last = number == len(argvs) - 1
                source = processes[-1].stdout if processes else subprocess.PIPE
                processes.append(
                    self._start(
                        argv,
                        stdin=source,
                        stdout=write_fd if last and take is None else subprocess.PIPE,
                        stderr=write_fd,
                    )
                )
                if len(processes) > 1 and processes[-2].stdout is not None:
                    processes[-2].stdout.close()
        except BaseException:
            os.close(read_fd)
            for process in processes:
                _kill(process)
                for pipe in (process.stdin, process.stdout):
                    if pipe is not None:
                        pipe.close()
                process.wait(COMMAND_TIMEOUT_S)
                self._release(process)
            raise
        finally:
            os.close(write_fd)
        errors = os.fdopen(read_fd, "rb")
        return Pipeline(argvs, processes, errors, self._stop, self._release, take=take)

    def _run(
        self,
        argv: Sequence[str],
        stdin: str,
        timeout_s: float,
        *,
        forced: bool,
        say: Callable[[str], None] | None,
        ended: Callable[[], None] | None = None,
        synced: bool = True,
    ) -> Output:
        def start() -> "subprocess.Popen[bytes]":
            return self._start(
                argv,
                stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                forced=forced,
            )

        try:
            process = start() if synced else unsynced(start)
        except CommandFailed as missing:
            return Output(missing.code, missing.output)
        hung = threading.Event()

        def hang() -> None:
            hung.set()
            _kill(process)
            if ended is not None:
                ended()

        watchdog = threading.Timer(timeout_s, hang)
        watchdog.daemon = True
        watchdog.start()
        telling = self._tell_of_end(process, ended) if ended is not None else None
        try:
            with process:
                _feed(process, stdin)
                text = _drain(process, say)
        finally:
            watchdog.cancel()
            if telling is not None:  # what it does would meet the next program
                telling.join()
            self._release(process)
        if hung.is_set():
            text += f"\nkilled after {timeout_s:.0f} s"
        return Output(process.returncode, text)

    @staticmethod
    def _tell_of_end(
        process: "subprocess.Popen[bytes]", ended: Callable[[], None]
    ) -> threading.Thread:
        """Call `ended` when the program itself is over: what it left may hold its output open."""

        def wait() -> None:
            process.wait()
            ended()

        telling = threading.Thread(target=wait, daemon=True)
        telling.start()
        return telling

    def _start(
        self,
        argv: Sequence[str],
        *,
        stdin: int | IO[bytes] | None,
        stdout: int,
        stderr: int,
        forced: bool = False,
    ) -> "subprocess.Popen[bytes]":
        with self._lock:
            if not forced:
                self._stop.check()
            try:
                process = subprocess.Popen(
                    list(argv),
                    stdin=stdin,
                    stdout=stdout,
                    stderr=stderr,
                    env=_ENVIRONMENT,
                    start_new_session=True,
                    pipesize=PIPE_BYTES,
                )
            except OSError as error:
                reason = f"{argv[0]}: {error.strerror}"
                if isinstance(error, FileNotFoundError):
                    reason = f"{argv[0]}: the program is not in the agent image"
                raise CommandFailed(argv, 127, reason) from None
            self._running.add(process)
            return process

    def _release(self, process: "subprocess.Popen[bytes]") -> None:
        with self._lock:
            self._running.discard(process)

    def _kill_all(self) -> None:
        with self._lock:
            for process in self._running:
                _kill(process)


def _feed(process: "subprocess.Popen[bytes]", text: str) -> None:
    if process.stdin is None:
        return
    try:
        with process.stdin as stdin:
            stdin.write(text.encode())
    except BrokenPipeError:
        pass  # the exit code says why it did not read


def _drain(process: "subprocess.Popen[bytes]", say: Callable[[str], None] | None) -> str:
    """The end of the output, each line said as it comes."""
    kept = ""
    for line in process.stdout or ():
        text = line.decode(errors="replace").rstrip()
        if say is not None and text:
            say("  " + text)
        kept = (kept + text + "\n")[-KEPT_BYTES:]
    return kept


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """End a program and everything that it started."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):  # it ended by itself
            os.killpg(process.pid, signal.SIGKILL)
