"""Who may talk to etcd: TLS with client certificates, users, passwords, tokens, permissions."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from lpmos.store.api import (
    AuthFailed,
    InvalidRequest,
    PermissionDenied,
    Put,
    Unavailable,
    UnsupportedServer,
)
from lpmos.store.etcd import EtcdStore, wire
from tests.support.certificates import Authority, rsa_key_pair
from tests.support.etcd import EtcdServer, ServerTls
from tests.support.polling import until
from tests.support.watch_recorder import WatchRecorder

ROOT_PASSWORD = "root-secret"
PASSWORD = "region-secret"
REFUSAL_S = 10.0
TOKEN_TTL_S = 2


@pytest.fixture
async def tls_server(tmp_path: Path) -> AsyncIterator[EtcdServer]:
    async with EtcdServer(tls=ServerTls.create(tmp_path / "pki")) as started:
        yield started


async def _with_users(server: EtcdServer) -> None:
    await server.enable_auth(ROOT_PASSWORD)
    await server.add_user("region", PASSWORD, "/os/dc1/", ROOT_PASSWORD)


@pytest.fixture
async def auth_server() -> AsyncIterator[EtcdServer]:
    async with EtcdServer() as started:
        await _with_users(started)
        yield started


@pytest.fixture
async def region_store(auth_server: EtcdServer) -> AsyncIterator[EtcdStore]:
    connected = await EtcdStore.connect([auth_server.endpoint], user="region", password=PASSWORD)
    yield connected
    await connected.close()


def _authority(server: EtcdServer) -> Authority:
    assert server.tls is not None
    return server.tls.authority


async def test_client_certificate_lets_every_kind_of_call_in(
    tls_server: EtcdServer, tmp_path: Path
) -> None:
    authority = _authority(tls_server)
    client = authority.issue("client")
    store = await EtcdStore.connect(
        [tls_server.endpoint], ca=authority.ca, cert=client.cert, key=client.key
    )
    held = await store.grant(5)
    await store.put("/a", b"1", lease=held.id)
    async with WatchRecorder(store, "/a") as seen:
        await seen.until_key("/a")
    await store.snapshot(tmp_path / "store.db")
    await held.revoke()
    assert await store.get("/a") is None
    await store.close()


async def test_client_without_a_certificate_is_refused_with_advice(tls_server: EtcdServer) -> None:
    with pytest.raises(Unavailable, match="check the CA, client certificate and key"):
        await EtcdStore.connect([tls_server.endpoint], ca=_authority(tls_server).ca)


async def test_certificate_of_another_authority_is_refused_with_advice(
    tls_server: EtcdServer, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path / "other").issue("client")
    with pytest.raises(Unavailable, match="check the CA, client certificate and key"):
        await EtcdStore.connect(
            [tls_server.endpoint],
            ca=_authority(tls_server).ca,
            cert=stranger.cert,
            key=stranger.key,
        )


async def test_server_of_another_authority_is_not_trusted(
    tls_server: EtcdServer, tmp_path: Path
) -> None:
    client = _authority(tls_server).issue("client")
    other = Authority(tmp_path / "other")
    with pytest.raises(Unavailable, match="check the CA, client certificate and key"):
        await EtcdStore.connect(
            [tls_server.endpoint], ca=other.ca, cert=client.cert, key=client.key
        )


async def test_certificate_without_its_key_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="go together"):
        await EtcdStore.connect(["https://127.0.0.1:1"], cert=Path("/nowhere/client.pem"))


@pytest.mark.parametrize(
    ("user", "password"), [("region", "wrong"), ("nobody", PASSWORD)], ids=["password", "user"]
)
async def test_wrong_password_or_user_is_auth_failed(
    auth_server: EtcdServer, user: str, password: str
) -> None:
    with pytest.raises(AuthFailed):
        await EtcdStore.connect([auth_server.endpoint], user=user, password=password)


async def test_client_without_a_user_is_auth_failed(auth_server: EtcdServer) -> None:
    store = await EtcdStore.connect([auth_server.endpoint])
    with pytest.raises(AuthFailed, match="check the store's user"):
        await store.get("/os/dc1/a")
    async with WatchRecorder(store, "/os/dc1/") as seen:
        await seen.until(lambda: seen.error is not None, REFUSAL_S)
    assert isinstance(seen.error, AuthFailed | PermissionDenied)
    await store.close()


async def test_user_where_the_store_has_none_is_auth_failed() -> None:
    async with EtcdServer() as server:
        with pytest.raises(AuthFailed, match="not enabled"):
            await EtcdStore.connect([server.endpoint], user="region", password=PASSWORD)


async def test_key_of_another_prefix_is_denied_to_every_call(region_store: EtcdStore) -> None:
    await region_store.put("/os/dc1/a", b"")
    with pytest.raises(PermissionDenied):
        await region_store.get("/os/dc2/a")
    with pytest.raises(PermissionDenied):
        await region_store.put("/os/dc2/a", b"")
    with pytest.raises(PermissionDenied):
        await region_store.range("/os/")
    with pytest.raises(PermissionDenied):
        await region_store.txn([], [Put("/os/dc1/b", b""), Put("/os/dc2/b", b"")])
    assert await region_store.get("/os/dc1/b") is None


async def test_watch_of_a_denied_prefix_is_denied_and_does_not_hang(
    region_store: EtcdStore,
) -> None:
    async with WatchRecorder(region_store, "/os/dc2/") as seen:
        await seen.until(lambda: seen.error is not None, REFUSAL_S)
    assert isinstance(seen.error, PermissionDenied)


async def test_tokens_lost_by_a_restarted_server_are_renewed(
    auth_server: EtcdServer, region_store: EtcdStore
) -> None:
    async with WatchRecorder(region_store, "/os/dc1/") as seen:
        await region_store.put("/os/dc1/before", b"")
        await seen.until_key("/os/dc1/before")
        await auth_server.restart()
        await _put_when_possible(region_store, "/os/dc1/after")
        await seen.until_key("/os/dc1/after")
        seen.assert_ordered_and_whole()


async def _put_when_possible(store: EtcdStore, key: str) -> None:
    async def written() -> bool:
        try:
            await store.put(key, b"")
        except Unavailable:
            return False
        return True

    await until(written)


async def test_expired_token_is_renewed_by_calls_leases_and_watches(tmp_path: Path) -> None:
    public, private = rsa_key_pair(tmp_path)
    token = f"jwt,pub-key={public},priv-key={private},sign-method=RS256,ttl={TOKEN_TTL_S}s"
    async with EtcdServer(flags=[f"--auth-token={token}"]) as server:
        await _with_users(server)
        store = await EtcdStore.connect([server.endpoint], user="region", password=PASSWORD)
        held = await store.grant(6)
        await store.put("/os/dc1/leased", b"", lease=held.id)
        await asyncio.sleep(TOKEN_TTL_S + 1)
        async with WatchRecorder(store, "/os/dc1/") as seen:
            await seen.until_key("/os/dc1/leased")
        await asyncio.sleep(TOKEN_TTL_S + 1)
        await asyncio.gather(*(store.put(f"/os/dc1/{number}", b"") for number in range(20)))
        assert await store.get("/os/dc1/leased") is not None
        assert not held.lost.is_set()
        await store.close()


class _OldServer(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Answers every status call as etcd 3.5.1 does."""

    def service(self, details: Any) -> Any:
        async def status(request: wire.Message, context: Any) -> wire.Message:
            return wire.STATUS.response(version="3.5.1")

        if details.method != wire.STATUS.path:
            return None
        return grpc.unary_unary_rpc_method_handler(
            status,
            request_deserializer=wire.STATUS.request.FromString,
            response_serializer=wire.STATUS.response.SerializeToString,
        )


async def test_server_version_that_loses_writes_is_refused() -> None:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_OldServer(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        with pytest.raises(UnsupportedServer, match=r"3\.5\.1"):
            await EtcdStore.connect([f"http://127.0.0.1:{port}"])
    finally:
        await server.stop(None)


async def test_endpoint_that_is_no_url_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="http"):
        await EtcdStore.connect(["127.0.0.1:2379"])
