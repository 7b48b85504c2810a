"""A server that speaks as Azure Blob Storage does (Azurite), in a process of its own.

async with AzureServer() as server:
    ObjectStore("az://backups/site", work)   # with `server.environment()` in the environment

Its account and key are those that every such server of a developer has, by Microsoft's papers.
"""

import asyncio
import base64
import hashlib
import hmac
import os
import signal
from email.utils import formatdate
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from tests.support.etcd import free_port
from tests.support.polling import until

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "build/azurite/node_modules/azurite/dist/src/blob/main.js"
NODE = ROOT / ".venv/node/bin"
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
VERSION = "2021-08-06"
START_TIMEOUT_S = 60.0


class AzureServer:
    """One server with the container `backups`; what it holds is gone with its process."""

    def __init__(self) -> None:
        self._port = free_port()
        self._process: asyncio.subprocess.Process | None = None

    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to use it."""
        return {
            "AZURE_STORAGE_USE_EMULATOR": "true",
            "AZURITE_BLOB_STORAGE_URL": f"http://127.0.0.1:{self._port}",
        }

    async def __aenter__(self) -> Self:
        path = f"{NODE}{os.pathsep}{os.environ['PATH']}"
        self._process = await asyncio.create_subprocess_exec(
            *("node", str(PROGRAM), "--inMemoryPersistence", "--silent", "--skipApiVersionCheck"),
            *("--blobPort", str(self._port)),
            env=os.environ | {"PATH": path},
            start_new_session=True,  # `node` is a script that starts the program
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        await until(self._made_container, START_TIMEOUT_S)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None and self._process.returncode is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()

    async def _made_container(self) -> bool:
        """Azure's shared key (its "Authorize with Shared Key"), for this one request."""
        date = formatdate(usegmt=True)
        named = f"/{ACCOUNT}/{ACCOUNT}/backups\nrestype:container"
        signed = "PUT" + "\n" * 12 + f"x-ms-date:{date}\nx-ms-version:{VERSION}\n{named}"
        digest = hmac.digest(base64.b64decode(KEY), signed.encode(), hashlib.sha256)
        headers = {
            "Authorization": f"SharedKey {ACCOUNT}:{base64.b64encode(digest).decode()}",
            "x-ms-date": date,
            "x-ms-version": VERSION,
        }
        url = f"http://127.0.0.1:{self._port}/{ACCOUNT}/backups?restype=container"
        async with httpx.AsyncClient(trust_env=False) as client:
            try:
                return (await client.put(url, headers=headers)).status_code in (201, 409)
            except httpx.TransportError:
                return False
