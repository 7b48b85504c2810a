"""A server that speaks S3, in a process of its own, which can be killed.

async with ObjectServer() as server:
    ObjectStore("s3://backups/site", work)   # with `server.environment()` in the environment
"""

import asyncio
import os
import signal
import sys
from types import TracebackType
from typing import Self

import httpx

from tests.support.etcd import free_port
from tests.support.polling import until

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
KEY_ID = "AKIAEXAMPLEOFATEST"
SECRET = "a-secret-that-no-output-may-have"


class ObjectServer:
    """One server with the bucket `backups`; what it holds is gone with its process."""

    def __init__(self, *, strict: bool = False) -> None:
        """Where `strict`, nobody is known but who makes the bucket: all keys are refused."""
        self._strict = strict
        self._port = free_port()
        self._process: asyncio.subprocess.Process | None = None

    @property
    def endpoint(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self._port}"

    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to use it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self._port)),
            env=os.environ | ({"INITIAL_NO_AUTH_ACTION_COUNT": "1"} if self._strict else {}),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        await until(self._made_bucket, START_TIMEOUT_S)
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
            self._process.send_signal(signal.SIGKILL)
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await self._process.wait()

    async def names(self) -> str:
        """The listing of the bucket, as the server gives it."""
        return await self._get("/backups?list-type=2")

    async def uploads(self) -> int:
        """How many uploads were begun and not ended."""
        return (await self._get("/backups?uploads")).count("<UploadId>")

    async def spoil(self, path: str) -> None:
        """Replace an object of the bucket with what is no backup."""
        async with httpx.AsyncClient(trust_env=False) as client:
            await client.put(f"{self.endpoint}/backups/{path}", content=b"x" * 5000)

    async def _get(self, path: str) -> str:
        async with httpx.AsyncClient(trust_env=False) as client:
            return (await client.get(self.endpoint + path)).text

    async def _made_bucket(self) -> bool:
        async with httpx.AsyncClient(trust_env=False) as client:
            try:
                return (await client.put(f"{self.endpoint}/backups")).is_success
            except httpx.TransportError:
                return False
