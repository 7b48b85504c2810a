"""A server of somebody else's making, in a process of its own: started, waited for, and killed.

What derives from it says the command, its environment and when it serves.
"""

import asyncio
import os
import signal
from abc import abstractmethod
from collections.abc import Mapping, Sequence

from lpmos.lab.processes import ENDS_WITH_PARENT
from tests.support.etcd import free_port
from tests.support.opened import Opened
from tests.support.polling import until

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0


class ServerProcess(Opened):
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

    async def start(self) -> None:
        """Start it, and wait until it serves."""
        command, environment = self._command()
        self._process = await asyncio.create_subprocess_exec(
            *ENDS_WITH_PARENT,
            *command,
            env={**os.environ, **environment},
            start_new_session=True,  # the program may be a script that starts the server
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        await until(self._serves, START_TIMEOUT_S)

    async def close(self) -> None:
        """End it at once, in the middle of whatever it does."""
        if self._process is not None and self._process.returncode is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await self._process.wait()
