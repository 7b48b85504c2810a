"""A server that speaks the calls of Vault's KV version 2 engine that the key provider makes.

It is no Vault: it answers as the reference of its HTTP API says (reading and writing the latest
version of one secret, check-and-set, deleted versions, a wrong token, a sealed Vault).
"""

import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any

from tests.support.certificates import KeyPair
from tests.support.served import served_by_thread

TOKEN = "hvs.planted-vault-token"


class FakeVault(ThreadingHTTPServer):
    """One KV engine under `secret`; `versions` has each path's versions, None for a deleted one."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.versions: dict[str, list[dict[str, Any] | None]] = {}
        self.sealed = False
        self.rival: dict[str, Any] | None = None
        """What somebody else writes between the next read and the write that follows it."""
        self.lock = Lock()
        self.scheme = "http"

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"{self.scheme}://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: FakeVault

    def do_GET(self) -> None:
        """`GET /v1/secret/data/PATH`: the latest version."""
        self._answer(self._read)

    def do_POST(self) -> None:
        """`POST /v1/secret/data/PATH`: a new version."""
        self._answer(self._write)

    do_PUT = do_POST  # noqa: N815 - the name that the standard library calls

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""

    def _answer(self, call: Any) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(length)) if length else {}
        mount, _, path = self.path.removeprefix("/v1/").partition("/data/")
        with self.server.lock:
            if self.server.sealed:
                status, document = 503, {"errors": ["Vault is sealed"]}
            elif self.headers.get("X-Vault-Token") != TOKEN:
                status, document = 403, {"errors": ["permission denied"]}
            elif mount != "secret":
                status, document = 404, {"errors": [f'no handler for route "{mount}/data/{path}"']}
            else:
                status, document = call(self.server.versions.setdefault(path, []), body)
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _read(self, versions: list[Any], _: Any) -> tuple[int, dict[str, Any]]:
        if not versions:
            return 404, {"errors": []}
        data = versions[-1]
        metadata = {
            "created_time": "2026-01-01T00:00:00Z",
            "deletion_time": "" if data else "2026-01-02T00:00:00Z",
            "destroyed": False,
            "version": len(versions),
        }
        if self.server.rival is not None:
            versions.append(self.server.rival)
            self.server.rival = None
        return (200 if data else 404), {"data": {"data": data, "metadata": metadata}}

    def _write(self, versions: list[Any], body: Any) -> tuple[int, dict[str, Any]]:
        cas = body.get("options", {}).get("cas")
        if cas is not None and cas != len(versions):
            error = "check-and-set parameter did not match the current version"
            return 400, {"errors": [error]}
        versions.append(body["data"])
        return 200, {"data": {"version": len(versions)}}


@contextmanager
def fake_vault(tls: KeyPair | None = None) -> Iterator[FakeVault]:
    """A server until the block ends."""
    vault = FakeVault()
    if tls is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(tls.cert, tls.key)
        vault.socket = context.wrap_socket(vault.socket, server_side=True)
        vault.scheme = "https"
    with served_by_thread(vault):
        yield vault


def token_file(directory: Path, token: str = TOKEN) -> Path:
    """A file with a token for Vault."""
    path = directory / "vault.token"
    path.write_text(token + "\n")
    return path
