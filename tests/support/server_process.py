"""A server of somebody else's making, in a process of its own: started, waited for, and killed.

What derives from it says the command, its environment and when it serves.
"""

import asyncio
import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from tests.support.etcd import free_port
from tests.support.polling import until

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0


class ServerProcess(ABC):
    """One server on a free port from `async with` on; what it holds is gone with its process."""

    def __init__(self) -> None:
        self._port = free_port()
        self._process: asyncio.subprocess.Process | None = None

    @property
    def endpoint(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self._port}"

    @abstractmethod
    def _command(self) -> tuple[Sequence[str], Mapping[str, str]]:
        """What is run, and what it has in its environment besides this process's own."""

    @abstractmethod
    async def _serves(self) -> bool:
        """Whether it is ready to be used."""

    async def __aenter__(self) -> Self:
        command, environment = self._command()
        self._process = await asyncio.create_subprocess_exec(
            *command,
            env={**os.environ, **environment},
            start_new_session=True,  # the program may be a script that starts the server
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            await until(self._serves, START_TIMEOUT_S)
        except BaseException:
            await self.kill()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.kill()

    async def kill(self) -> None:
        """End it at once, in the middle of whatever it does."""
        if self._process is not None and self._process.returncode is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await self._process.wait()
