"""Secrets of every kind are planted through the API of a running process; none may be seen again.

Looked at are every line of its log (debug level, JSON), every answer of every GET of the API, every
answer to calls that fail with the secrets in their body, query and headers, the audit log, the
metrics, and the bytes of the store's files.
"""

import base64
import json
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from lpmos.core.clock import utc_now
from lpmos.lab.processes import HostProcesses, LabProcess
from lpmos.model.image import OfferedOs
from lpmos.model.machine import Machine
from lpmos.model.region import Capabilities
from lpmos.store import keys, records
from lpmos.store.sqlite import SqliteStore
from tests.support.etcd import free_port
from tests.support.polling import until

LPMOS = Path(sys.executable).with_name("lpmos")
TIMEOUT_S = 60.0


class Planted:
    """A control plane, what was planted in it, and every answer that it gave."""

    def __init__(self, client: httpx.AsyncClient, process: LabProcess, directory: Path) -> None:
        self.client = client
        self.process = process
        self.directory = directory
        self.secrets: dict[str, str] = {}
        self.answers: list[tuple[str, str]] = []
        self.ids: dict[str, str] = {"idc": "dc1", "sn": "SN-1", "region": "dc1"}

    def plant(self, kind: str) -> str:
        """A new secret of a kind."""
        secret = self.secrets[kind] = f"pLanted-{kind}-8Zq0xV7"
        return secret

    async def call(
        self, method: str, path: str, *, says_once: str | None = None, **more: Any
    ) -> httpx.Response:
        """Call, and keep the answer; `says_once` is the field of it that is a secret from now."""
        answer = await self.client.request(method, path, **more)
        text = f"{answer.headers}\n{answer.text}"
        if says_once is not None:
            assert answer.is_success, answer.text
            secret = answer.json()[says_once]
            self.secrets[f"{path} {says_once}"] = secret
            text = text.replace(secret, "")
        self.answers.append((f"{method} {path} {answer.status_code}", text))
        return answer

    async def can_log_in(self) -> bool:
        """Whether the first administrator is known yet."""
        login = {"username": "admin", "password": self.secrets["first password"]}
        answer = await self.client.post("/api/v1/session", json=login)
        self.client.cookies.clear()
        return answer.status_code == 200

    def needles(self) -> Iterator[tuple[str, bytes]]:
        """Every secret in every form in which it might be seen."""
        for kind, secret in self.secrets.items():
            plain = secret.encode()
            forms = {plain, quote(secret, safe="").encode(), base64.b64encode(plain).rstrip(b"=")}
            for form in sorted(forms):
                yield kind, form

    def seen_in(self, where: str, content: bytes) -> list[str]:
        """Which secrets are there."""
        return [f"{kind} in {where}" for kind, needle in self.needles() if needle in content]


@pytest.fixture
async def planted(tmp_path: Path) -> AsyncIterator[Planted]:
    """A fresh control plane whose log is `lpmos.log`, with every kind of secret in it."""
    async with _running(tmp_path) as planted:
        await _plant(planted)
        yield planted


@asynccontextmanager
async def _running(directory: Path) -> AsyncIterator[Planted]:
    state = directory / "state"
    state.mkdir()
    await _put_machine(state)
    port = free_port()
    async with HostProcesses() as processes:
        process = await processes.spawn(
            [str(LPMOS), "up", "--state-dir", str(state), "--listen-addr", f"127.0.0.1:{port}",
             "--api-host", "127.0.0.1", "--api-port", str(free_port()), "--dhcp-mode", "off",
             "--region-addr", "127.0.0.1", "--log-level", "debug", "--log-format", "json",
             "--rate-limit-per-s", "0", "--rate-limit-address-per-s", "0"],
            log=directory / "lpmos.log",
        )  # fmt: skip
        password = state / "admin.password"

        async def is_ready() -> bool:
            try:
                answer = await client.get("/health/ready")
            except httpx.TransportError:
                return False
            return answer.status_code == 200 and password.exists()

        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            await until(is_ready, TIMEOUT_S)
            planted = Planted(client, process, directory)
            planted.secrets["first password"] = password.read_text().strip()
            await until(planted.can_log_in, TIMEOUT_S)
            planted.secrets["signing key"] = (state / "auth.key").read_bytes().decode("latin1")
            planted.secrets["master key"] = (state / "secrets.key").read_text().split()[1]
            yield planted


async def _put_machine(state: Path) -> None:
    now = utc_now()
    machine = Machine(idc="dc1", sn="SN-1", macs=(), first_seen_at=now, updated_at=now)
    store = await SqliteStore.open(state / "store.db")
    await store.put(keys.meta("dc1", "SN-1"), records.encode(machine))
    offered = (OfferedOs(os_type="debian", os_version="12", unpacked_bytes=1),)
    said = Capabilities(idc="dc2", services=(), version="1", updated_at=now, offered=offered)
    await store.put(keys.capabilities("dc2"), records.encode(said))
    await store.close()


async def _plant(planted: Planted) -> None:
    """Every kind of secret that the API takes or makes."""
    login = {"username": "admin", "password": planted.secrets["first password"]}
    tokens = await planted.call("POST", "/api/v1/login", json=login, says_once="refresh_token")
    planted.secrets["access token"] = access = tokens.json()["access_token"]
    planted.answers.clear()  # it says both tokens, which is what it is for
    planted.client.headers["Authorization"] = f"Bearer {access}"
    await _plant_users(planted)
    await _plant_webhooks(planted)
    bmc = {"address": "192.0.2.5", "username": "root", "password": planted.plant("bmc-password")}
    assert (await planted.call("PUT", "/api/v1/machines/dc1/SN-1/bmc", json=bmc)).status_code == 200
    await _plant_task(planted)
    assert (await planted.call("POST", "/api/v1/secrets/rotate")).status_code == 200
    key_file = planted.directory / "state/secrets.key"
    planted.secrets["second master key"] = key_file.read_text().split()[3]


async def _plant_task(planted: Planted) -> None:
    """A task with passwords and values for its commands; one that is refused says none, too."""
    hashes = [f"$6$saltsalt${planted.plant(f'{who}hash')}" for who in ("root", "user")]
    setup = {
        "root_password_hash": hashes[0],
        "users": [{"name": "alice", "password_hash": hashes[1]}],
        "secrets": {"TOKEN": planted.plant("task-value")},
        "commands": ["register $TOKEN"],
    }
    task = {"idc": "dc2", "mac": "52:54:00:12:34:99", "os_type": "debian", "os_version": "12"}
    made = await planted.call("POST", "/api/v1/tasks", json={**task, "setup": setup})
    assert made.status_code == 201, made.text
    planted.ids["task_id"] = made.json()["task_id"]
    wrong = {**setup, "root_password_hash": planted.plant("no-hash"), "packages": ["-y"]}
    refused = await planted.call("POST", "/api/v1/tasks", json={**task, "setup": wrong})
    assert refused.status_code == 422


async def _plant_users(planted: Planted) -> None:
    user = {"name": "alice", "roles": ["admin"], "password": planted.plant("password")}
    made = await planted.call("POST", "/api/v1/users", json=user)
    assert made.status_code == 201
    planted.ids |= {"name": "alice", "user": "alice"}
    change = {"password": planted.plant("new-password")}
    changed = await planted.call("PUT", "/api/v1/users/alice/password", json=change)
    assert changed.status_code in (200, 204)
    token = await planted.call("POST", "/api/v1/tokens", json={"name": "ci"}, says_once="token")
    planted.ids["token_id"] = token.json()["id"]
    planted.client.headers["Authorization"] = f"Bearer {token.json()['token']}"
    for wrong in ({"username": "alice", "password": planted.plant("wrong-password")},
                  {"token": planted.plant("wrong-token")}):  # fmt: skip
        assert (await planted.call("POST", "/api/v1/session", json=wrong)).status_code == 401
    async with httpx.AsyncClient(base_url=planted.client.base_url) as browser:
        login = {"username": "alice", "password": planted.secrets["new-password"]}
        answer = await browser.post("/api/v1/session", json=login)
        assert answer.status_code == 200
        planted.secrets["cookie"] = browser.cookies["lpmos_session"]


async def _plant_webhooks(planted: Planted) -> None:
    """One that signs and some of services, each with what gives access in its URL; tried, too."""
    here = f"127.0.0.1:{free_port()}"
    mail = f"user:{planted.plant('mail-password')}@{here}?smtp=127.0.0.1&to=a@example.com"
    key = planted.secrets["chat"] = "pLantedchat8Zq0xV7aaaaaa"
    urls = {
        "http": f"http://user:{planted.plant('url-password')}@{here}/{planted.plant('url-path')}"
        f"?key={planted.plant('url-query')}",
        "service": f"json://user:{planted.plant('service')}@{here}/{planted.plant('service-path')}",
        "mail": f"mailto://{mail}&from=b@example.com",
        "chat": f"slack://T1JJ3T3L2/A1BRTD4JD/{key}/",
    }
    for name, url in urls.items():
        # Nothing is sent to the one service that is not on this machine.
        events = ["never.happens"] if name == "chat" else ["*"]
        body = {"name": name, "url": url, "events": events}
        answer = await planted.client.post("/api/v1/webhooks", json=body)
        assert answer.status_code == 201, answer.text
        made = answer.json()
        planted.ids["webhook_id"] = made["webhook_id"]
        if name != "chat":
            await planted.call("POST", f"/api/v1/webhooks/{made['webhook_id']}/test")
        if made["signed"]:
            planted.secrets["signing secret"] = made["secret"]
            path = f"/api/v1/webhooks/{made['webhook_id']}/rotate-secret"
            await planted.call("POST", path, says_once="secret")


async def _routes(planted: Planted) -> list[tuple[str, str]]:
    """Every call of the API, as method and path."""
    schema = (await planted.client.get("/schema/openapi.json")).json()
    return [
        (method.upper(), path)
        for path, item in schema["paths"].items()
        for method in item
        if method in ("get", "post", "put", "patch", "delete")
    ]


def _filled(path: str, ids: dict[str, str]) -> str:
    return re.sub(r"\{(\w+)[^}]*\}", lambda name: ids.get(name[1], "x"), path)


async def _get_everything(planted: Planted) -> None:
    for method, path in await _routes(planted):
        if method == "GET":
            await planted.call(method, _filled(path, planted.ids))
    audit = (await planted.client.get("/api/v1/audit?limit=500")).json()
    planted.answers.append(("the audit log", json.dumps(audit)))


async def _fail_everywhere(planted: Planted) -> None:
    """Every call once for each way of sending secrets where they do not belong."""
    secret = planted.plant("misplaced")
    bodies: list[Any] = [
        secret,
        {"password": secret, "token": secret, "url": f"https://u:{secret}@127.0.0.1/{secret}"},
        {"password": [secret], "username": {"a": secret}, "secret": secret, "address": secret},
    ]
    basic = base64.b64encode(f"u:{secret}".encode()).decode()
    planted.secrets["basic"] = basic
    json_type = {"Content-Type": "application/json"}
    for method, path in await _routes(planted):
        place = _filled(path, {**planted.ids, "name": "nobody", "token_id": "x", "key_id": "x"})
        ways: list[dict[str, Any]] = [
            {"params": {"password": secret}},
            {"headers": {"Authorization": f"Basic {basic}"}},
            {"headers": {"Authorization": f"Bearer {secret}"}},
            {"headers": {"Authorization": "", "Cookie": f"lpmos_session={secret}"}},
            {"headers": {"X-Forwarded-For": secret, "If-Match": secret, "Origin": secret}},
        ]
        if method != "GET":
            ways += [{"json": body} for body in bodies]
            ways += [
                {"content": f'{{"password": "{secret}', "headers": json_type},
                {"content": secret, "headers": {"Content-Type": "text/plain"}},
            ]
        for way in ways:
            await planted.call(method, place, **way)


async def _until_all_is_logged(planted: Planted) -> None:
    """Wait until the audit log, which takes one event after the other, has one made now."""
    last = {"name": "last", "roles": ["viewer"], "password": planted.plant("last-password")}
    assert (await planted.call("POST", "/api/v1/users", json=last)).status_code == 201

    async def logged() -> bool:
        entries = (await planted.client.get("/api/v1/audit?target=user/last")).json()
        return bool(entries["entries"])

    await until(logged, TIMEOUT_S)


async def test_planted_secret_is_seen_nowhere(planted: Planted) -> None:
    await _get_everything(planted)
    await _fail_everywhere(planted)
    await _until_all_is_logged(planted)
    await _get_everything(planted)
    found = [
        finding
        for where, text in planted.answers
        for finding in planted.seen_in(where, text.encode("utf-8", "surrogateescape"))
    ]
    log = planted.directory / "lpmos.log"
    for number, line in enumerate(log.read_bytes().splitlines(), start=1):
        found += planted.seen_in(f"line {number} of the log: {line[:200]!r}", line)
    for file in (planted.directory / "state").glob("store.db*"):
        found += planted.seen_in(file.name, file.read_bytes())
    assert not found


async def test_planted_secret_would_be_found(planted: Planted) -> None:
    """The search finds what is there: ids are in answers, the log and the store."""
    planted.secrets = {"name": "alice"}
    await _get_everything(planted)
    assert any(planted.seen_in(where, text.encode()) for where, text in planted.answers)
    assert planted.seen_in("the log", (planted.directory / "lpmos.log").read_bytes())
    files = (planted.directory / "state").glob("store.db*")
    assert any(planted.seen_in(file.name, file.read_bytes()) for file in files)
    assert len([path for path, _ in planted.answers if " 200" in path]) > 20


async def test_every_sealed_value_is_known_to_rotation(planted: Planted) -> None:
    """One that is stored where no rotation looks would be lost with its key."""
    uses = (await planted.client.get("/api/v1/secrets")).json()["keys"]
    counted = {use["key_id"].encode(): use["values"] for use in uses}
    assert [use["current"] for use in uses] == [False, True]
    await planted.process.stop()
    store = await SqliteStore.open(planted.directory / "state/store.db")
    stored: Counter[bytes] = Counter()
    async for page in store.list("/"):
        for kv in page.kvs:
            stored.update(re.findall(rb"sealed:v1:([^:]*):", kv.value))
    await store.close()
    assert {name: count for name, count in counted.items() if count} == stored
    assert sum(stored.values()) >= 6
