"""A server that speaks S3, in a process of its own, which can be killed.

async with ObjectServer() as server:
    ObjectStore("s3://backups/site", work)   # with `server.environment()` in the environment
"""

import sys
from collections.abc import Mapping, Sequence

import httpx

from tests.support.server_process import ServerProcess

KEY_ID = "AKIAEXAMPLEOFATEST"
SECRET = "a-secret-that-no-output-may-have"


class ObjectServer(ServerProcess):
    """One server with the bucket `backups`; what it holds is gone with its process."""

    def __init__(self, *, strict: bool = False) -> None:
        """Where `strict`, nobody is known but who makes the bucket: all keys are refused."""
        super().__init__()
        self._strict = strict

    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to use it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }

    def _command(self) -> tuple[Sequence[str], Mapping[str, str]]:
        strict = {"INITIAL_NO_AUTH_ACTION_COUNT": "1"} if self._strict else {}
        return (sys.executable, "-m", "moto.server", "-H127.0.0.1", f"-p{self._port}"), strict

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

    async def _serves(self) -> bool:
        async with httpx.AsyncClient(trust_env=False) as client:
            try:
                return (await client.put(f"{self.endpoint}/backups")).is_success
            except httpx.TransportError:
                return False
