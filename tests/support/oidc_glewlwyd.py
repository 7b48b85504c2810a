"""A real OpenID provider on a free port: glewlwyd, of Debian's package of that name.

It is written in C with libraries of its own, so it shares no code with what is tested. Its own
administration API makes the client and the people.
"""

import asyncio
import contextlib
import shutil
import sqlite3
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from lpmos.lab.processes import ENDS_WITH_PARENT
from tests.support.certificates import Authority
from tests.support.etcd import free_port
from tests.support.polling import until

TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 5.0
CLIENT_ID = "lpmos"
CLIENT_SECRET = "s3cret/of+the client"
PASSWORD = "a long password"

_SCHEMA = Path("/usr/share/dbconfig-common/data/glewlwyd/install/sqlite3")
_PAGES = Path("/usr/share/glewlwyd/webapp")
_CONFIG = """
port={port}
bind_address="127.0.0.1"
external_url="https://localhost:{port}"
login_url="login.html"
api_prefix="api"
log_mode="console"
log_level="WARNING"
cookie_secure=1
cookie_same_site="empty"
session_expiration=86400
session_key="GLEWLWYD2_SESSION_ID"
login_api_enabled=true
admin_scope="g_admin"
profile_scope="g_profile"
user_module_path="/usr/lib/glewlwyd/user"
client_module_path="/usr/lib/glewlwyd/client"
user_auth_scheme_module_path="/usr/lib/glewlwyd/scheme"
plugin_module_path="/usr/lib/glewlwyd/plugin"
use_secure_connection=true
secure_connection_key_file="{key}"
secure_connection_pem_file="{cert}"
hash_algorithm="SHA512"
static_files_path="{pages}"
static_files_mime_types=(
  {{extension=".html" mime_type="text/html"}},
  {{extension=".css" mime_type="text/css"}},
  {{extension=".js" mime_type="application/javascript"}},
  {{extension=".json" mime_type="application/json"}}
)
database={{ type="sqlite3" path="{database}" }};
"""


class Glewlwyd:
    """The provider, and its administrator's part."""

    def __init__(self, directory: Path, redirect_uri: str) -> None:
        """Browsers may be sent back to `redirect_uri` only; `directory` is made."""
        directory.mkdir()
        self._directory = directory
        self._redirect_uri = redirect_uri
        self._process: asyncio.subprocess.Process | None = None
        authority = Authority(directory / "authority")
        self._pair = authority.issue("glewlwyd")
        self.ca = authority.ca
        self.tls = ssl.create_default_context(cafile=str(self.ca))
        self.port = free_port()
        self.url = f"https://localhost:{self.port}"
        self.issuer = f"{self.url}/api/oidc"
        self._admin = httpx.AsyncClient(base_url=f"{self.url}/api", verify=self.tls)

    async def start(self) -> None:
        """Let it run, and wait until it answers."""
        program = shutil.which("glewlwyd")
        assert program, "these tests need glewlwyd: apt-get install dbconfig-sqlite3 glewlwyd"
        file = self._directory / "glewlwyd.conf"
        with (self._directory / "glewlwyd.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *ENDS_WITH_PARENT, program, "-c", str(file), stdout=log, stderr=log
            )
        await until(self._answers, TIMEOUT_S)

    async def stop(self) -> None:
        """End it; what it knows stays."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def prepare(self) -> None:
        """Make its database, and in it the client."""
        self._write_files()
        await self.start()
        await self._post("/auth/", {"username": "admin", "password": "password"})
        await self._know_claims()
        await self._post("/mod/plugin/", self._plugin())
        await self._post(
            "/client/",
            {
                "client_id": CLIENT_ID,
                "name": "LPMOS",
                "password": CLIENT_SECRET,
                "client_secret": CLIENT_SECRET,
                "confidential": True,
                "enabled": True,
                "redirect_uri": [self._redirect_uri],
                "authorization_type": ["code"],
                "token_endpoint_auth_method": ["client_secret_basic"],
                "scope": ["openid"],
            },
        )

    async def put_user(self, name: str, groups: Iterable[str], **more: str) -> None:
        """Make a person, or change what is known of one."""
        user = {"username": name, "password": PASSWORD, "scope": ["openid"], "enabled": True}
        user |= {"name": name.title(), "groups": list(groups), **more}
        known = await self._admin.get(f"/user/{name}")
        if known.status_code == 200:
            answer = await self._admin.put(f"/user/{name}", json=user)
            assert answer.status_code == 200, answer.text
        else:
            await self._post("/user/", user)

    async def rotate_key(self) -> None:
        """Sign with another key from now on, and publish that one only."""
        answer = await self._admin.put("/mod/plugin/oidc", json=self._plugin())
        assert answer.status_code == 200, answer.text
        answer = await self._admin.put("/mod/plugin/oidc/reset")
        assert answer.status_code == 200, answer.text

    async def sign_in(self, browser: httpx.AsyncClient, name: str, begun_at: str) -> httpx.URL:
        """What a person does there, from where the browser was sent to; where it is sent back."""
        api = f"{self.url}/api"
        answer = await browser.get(begun_at)
        assert answer.status_code == 302, answer.text
        assert "/login.html" in answer.headers["location"]
        login = {"username": name, "password": PASSWORD}
        assert (await browser.post(f"{api}/auth/", json=login)).status_code == 200
        granted = await browser.put(f"{api}/auth/grant/{CLIENT_ID}/", json={"scope": "openid"})
        assert granted.status_code == 200
        answer = await browser.get(f"{begun_at}&g_continue")
        assert answer.status_code == 302, answer.text
        return httpx.URL(answer.headers["location"])

    async def close(self) -> None:
        """End it for good."""
        await self._admin.aclose()
        await self.stop()

    def _write_files(self) -> None:
        with contextlib.closing(sqlite3.connect(self._directory / "glewlwyd.db")) as database:
            database.executescript(_SCHEMA.read_text())
        text = _CONFIG.format(
            port=self.port,
            key=self._pair.key,
            cert=self._pair.cert,
            database=self._directory / "glewlwyd.db",
            pages=self._pages(),
        )
        (self._directory / "glewlwyd.conf").write_text(text)

    def _pages(self) -> Path:
        """Its own pages; the package has a directory where they look for their configuration."""
        pages = self._directory / "pages"
        shutil.copytree(_PAGES, pages, ignore=shutil.ignore_patterns("config.json"))
        shutil.copy(_PAGES / "config.json" / "config.json", pages)
        return pages

    async def _answers(self) -> bool:
        try:
            return (await self._admin.get(f"{self.url}/config")).status_code == 200
        except httpx.HTTPError:
            return False

    async def _know_claims(self) -> None:
        module = (await self._admin.get("/mod/user/database")).json()
        for name, multiple in (("groups", True), ("tenant", False)):
            module["parameters"]["data-format"][name] = {
                "multiple": multiple,
                "read": True,
                "write": True,
            }
        for path, body in (("", module), ("/reset", None)):
            answer = await self._admin.put(f"/mod/user/database{path}", json=body)
            assert answer.status_code == 200, answer.text

    async def _post(self, path: str, body: dict[str, Any]) -> None:
        answer = await self._admin.post(path, json=body)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text}"

    def _plugin(self) -> dict[str, Any]:
        key, public = _key_pair()
        claims = (("groups", "groups"), ("preferred_username", "username"), ("tenant", "tenant"))
        parameters = {
            "iss": self.issuer,
            "jwt-type": "rsa",
            "jwt-key-size": "256",
            "key": key,
            "cert": public,
            "jwks-show": True,
            "access-token-duration": 600,
            "refresh-token-duration": 600,
            "code-duration": 60,
            "refresh-token-rolling": False,
            "auth-type-code-enabled": True,
            "auth-type-code-revoke-replayed": True,
            "auth-type-token-enabled": False,
            "auth-type-id-token-enabled": True,
            "auth-type-none-enabled": False,
            "auth-type-password-enabled": False,
            "auth-type-client-enabled": False,
            "auth-type-device-enabled": False,
            "auth-type-refresh-enabled": False,
            "allow-non-oidc": False,
            "subject-type": "public",
            "allowed-scope": ["openid"],
            "pkce-allowed": True,
            "pkce-required": True,
            "pkce-method-plain-allowed": False,
            "name-claim": "mandatory",
            "claims": [
                {
                    "name": name,
                    "user-property": known_as,
                    "type": "string",
                    "mandatory": True,
                    "scope": [],
                }
                for name, known_as in claims
            ],
        }
        return {
            "module": "oidc",
            "name": "oidc",
            "display_name": "OpenID",
            "parameters": parameters,
            "order_rank": 0,
        }


@asynccontextmanager
async def glewlwyd(directory: Path, redirect_uri: str) -> AsyncIterator[Glewlwyd]:
    """A provider with its client, and nobody yet, until the block ends."""
    provider = Glewlwyd(directory, redirect_uri)
    try:
        await provider.prepare()
        yield provider
    finally:
        await provider.close()


def _key_pair() -> tuple[str, str]:
    """A private and a public key as PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private.decode(), public.decode()
