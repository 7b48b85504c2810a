"""Programs that the lab starts: in order, with a log each, and never left behind.

The rule: a program ends before what started it. It is asked first (SIGTERM) and killed after a
grace time; where the lab itself dies without a word, the kernel kills it (prctl(2),
PR_SET_PDEATHSIG), unless a rack's process namespace already did.
"""

import asyncio
import contextlib
import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Final

STOP_GRACE_S: Final = 10.0
KILL_TIMEOUT_S: Final = 5.0
ENDS_WITH_PARENT: Final = ("setpriv", "--pdeathsig", "KILL", "--")
"""Put before a command: the kernel kills it when the thread ends that started it."""


class LabProcess:
    """A running program; `name` is how messages call it."""

    def __init__(
        self, name: str, process: asyncio.subprocess.Process, *, wrapped: bool = False
    ) -> None:
        """`wrapped`: the process is `nsenter`, which has the program as its child."""
        self.name = name
        self._process = process
        self._wrapped = wrapped

    @property
    def returncode(self) -> int | None:
        """Its exit status, negative for the signal that ended it; None while it runs."""
        return self._process.returncode

    @property
    def pid(self) -> int | None:
        """The program's process id as the host counts; None once it ended."""
        if self._process.returncode is not None:
            return None
        if not self._wrapped:
            return self._process.pid
        return next(iter(children(self._process.pid)), None)

    async def wait(self) -> int:
        """Its exit status, once it has ended."""
        return await self._process.wait()

    def send(self, number: signal.Signals) -> None:
        """Signal the program itself; nothing happens where it has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid or self._process.pid, number)

    async def stop(self, grace_s: float = STOP_GRACE_S) -> int:
        """End it: SIGTERM, and SIGKILL after `grace_s`; answers its exit status."""
        if self._process.returncode is None:
            self.send(signal.SIGTERM)
            try:
                async with asyncio.timeout(grace_s):
                    return await self.wait()
            except TimeoutError:
                self.send(signal.SIGKILL)
        async with asyncio.timeout(KILL_TIMEOUT_S):
            return await self.wait()


class Starter(ABC):
    """Where programs can be started: in a rack, or beside the lab on the host.

    What it started ends when it is left, the newest first.
    """

    wrapped: ClassVar[bool]
    """Whether `inside` makes the program a child of the process that is started."""

    def __init__(self) -> None:
        self._at_exit = contextlib.AsyncExitStack()

    @abstractmethod
    def inside(self, argv: Sequence[str]) -> list[str]:
        """The command that runs `argv` there, as can be pasted into a shell."""

    def at_exit(self, stop: Callable[[], Awaitable[object]]) -> None:
        """Have something stopped when this is left; the newest is stopped first."""
        self._at_exit.push_async_callback(stop)

    async def spawn(
        self,
        argv: Sequence[str],
        *,
        log: Path,
        name: str | None = None,
        pass_fds: Sequence[int] = (),
        env: Mapping[str, str] | None = None,
        stdin: int = asyncio.subprocess.DEVNULL,
        stdout: int | None = None,
    ) -> LabProcess:
        """Start a program.

        Args:
            argv: the program and its arguments; paths are the host's.
            log: gets what it prints (standard output only where `stdout` does not take that).
            name: how messages call it, the program's own name where None.
            pass_fds: open files that it gets under the same numbers.
            env: added to this process's environment.
            stdin: an open file for its standard input.
            stdout: an open file for its standard output, the log where None.
        """
        with log.open("ab") as sink:
            process = await asyncio.create_subprocess_exec(
                *self.inside(argv),
                stdin=stdin,
                stdout=sink if stdout is None else stdout,
                stderr=sink,
                pass_fds=pass_fds,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )
        started = LabProcess(name or Path(argv[0]).name, process, wrapped=self.wrapped)
        self.at_exit(started.stop)
        return started


class HostProcesses(Starter):
    """An async context that starts programs on the host and ends them when it is left."""

    wrapped = False

    async def __aenter__(self) -> "HostProcesses":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._at_exit.aclose()

    def inside(self, argv: Sequence[str]) -> list[str]:
        """The command that runs `argv` and dies with the lab."""
        return [*ENDS_WITH_PARENT, *argv]


def children(pid: int) -> tuple[int, ...]:
    """The child processes of a process (proc(5), `/proc/pid/task/tid/children`)."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ()
    return tuple(int(word) for word in text.split())
