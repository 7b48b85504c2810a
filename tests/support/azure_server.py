"""A server that speaks as Azure Blob Storage does (Azurite), in a process of its own.

async with AzureServer() as server:
    ObjectStore("az://backups/site", work)   # with `server.environment()` in the environment

Its account and key are those that every such server of a developer has, by Microsoft's papers.
"""

import base64
import hashlib
import hmac
import os
from collections.abc import Mapping, Sequence
from email.utils import formatdate
from pathlib import Path

import httpx

from tests.support.server_process import ServerProcess

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "build/azurite/node_modules/azurite/dist/src/blob/main.js"
NODE = ROOT / ".venv/node/bin"
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
VERSION = "2021-08-06"


class AzureServer(ServerProcess):
    """One server with the container `backups`; what it holds is gone with its process."""

    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to use it."""
        return {
            "AZURE_STORAGE_USE_EMULATOR": "true",
            "AZURITE_BLOB_STORAGE_URL": self.endpoint,
        }

    def _command(self) -> tuple[Sequence[str], Mapping[str, str]]:
        settings = ("--inMemoryPersistence", "--silent", "--skipApiVersionCheck")
        command = ("node", str(PROGRAM), *settings, "--blobPort", str(self._port))
        return command, {"PATH": f"{NODE}{os.pathsep}{os.environ['PATH']}"}

    async def _serves(self) -> bool:
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
        url = f"{self.endpoint}/{ACCOUNT}/backups?restype=container"
        async with httpx.AsyncClient(trust_env=False) as client:
            try:
                return (await client.put(url, headers=headers)).status_code in (201, 409)
            except httpx.TransportError:
                return False
