"""TLS 1.3 and nothing older; certificates that are replaced under a running server."""

import asyncio
import shutil
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from litestar import Litestar
from structlog.testing import capture_logs

from lpmos.control.server import listen, serve
from lpmos.control.tls import Tls, TlsFiles
from lpmos.model.errors import SettingsError
from tests.support.certificates import Authority, KeyPair, rsa_key_pair
from tests.support.control_plane import RunningControlPlane, running_with_debian
from tests.support.polling import ANSWER_TIMEOUT_S, until

TIMEOUT_S = 20.0


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Who issues all certificates here."""
    return Authority(tmp_path / "ca")


@pytest.fixture
def served(tmp_path: Path, authority: Authority) -> TlsFiles:
    """The files that the server is given, with a first pair in them."""
    files = TlsFiles(tmp_path / "served.pem", tmp_path / "served.key")
    put(authority.issue("first"), files)
    return files


@pytest.fixture
async def secured(tmp_path: Path, served: TlsFiles) -> AsyncIterator[RunningControlPlane]:
    """A control plane that serves them."""
    async with running_with_debian(tmp_path, tls=served) as control_plane:
        yield control_plane


def put(pair: KeyPair, files: TlsFiles) -> None:
    """Replace both files, each at once, as a renewing program does."""
    for source, target in ((pair.cert, files.certificate), (pair.key, files.key)):
        new = target.with_suffix(".new")
        shutil.copy(source, new)
        new.rename(target)


async def shown(control_plane: RunningControlPlane, authority: Authority) -> str:
    """The name on the certificate that a new connection is shown."""
    context = ssl.create_default_context(cafile=str(authority.ca))
    reader, writer = await asyncio.open_connection("127.0.0.1", control_plane.port, ssl=context)
    tls = writer.get_extra_info("ssl_object")
    certificate = x509.load_der_x509_certificate(tls.getpeercert(binary_form=True))
    assert tls.version() == "TLSv1.3"
    writer.close()
    await reader.read()
    return certificate.subject.rfc4514_string().removeprefix("CN=")


async def until_shown(control_plane: RunningControlPlane, authority: Authority, name: str) -> None:
    """Wait until new connections are shown the certificate of this name."""

    async def is_shown() -> bool:
        return await shown(control_plane, authority) == name

    await until(is_shown, TIMEOUT_S)


async def test_older_version_is_refused(secured: RunningControlPlane, authority: Authority) -> None:
    context = ssl.create_default_context(cafile=str(authority.ca))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection("127.0.0.1", secured.port, ssl=context)


async def test_plain_http_on_the_tls_port_is_cut_off(secured: RunningControlPlane) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", secured.port)
    writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(TIMEOUT_S):
        assert b"HTTP" not in await reader.read()
    writer.close()


async def test_new_certificate_is_shown_to_new_connections_while_old_ones_go_on(
    secured: RunningControlPlane, authority: Authority, served: TlsFiles
) -> None:
    context = ssl.create_default_context(cafile=str(authority.ca))
    async with httpx.AsyncClient(
        verify=context, base_url=secured.url, timeout=ANSWER_TIMEOUT_S
    ) as open_before:
        assert (await open_before.get("/health")).status_code == 200
        assert await shown(secured, authority) == "first"
        put(authority.issue("second"), served)
        await until_shown(secured, authority, "second")
        assert (await open_before.get("/health")).status_code == 200


async def test_bad_pair_is_refused_and_the_old_one_goes_on(
    secured: RunningControlPlane, authority: Authority, served: TlsFiles
) -> None:
    second = authority.issue("second")
    with capture_logs() as logs:
        shutil.copy(second.cert, served.certificate)

        async def refused() -> bool:
            return any(line["event"] == "the old certificate goes on" for line in logs)

        await until(refused, TIMEOUT_S)
        assert await shown(secured, authority) == "first"
    shutil.copy(second.key, served.key)
    await until_shown(secured, authority, "second")


@pytest.fixture
def tls(served: TlsFiles) -> Tls:
    """The context alone, looked at by hand."""
    return Tls(served)


def spoil(files: TlsFiles, how: str, authority: Authority, directory: Path) -> None:
    """Make the pair one that cannot be used."""
    if how == "key of another":
        shutil.copy(authority.issue("other").key, files.key)
    elif how == "empty":
        files.certificate.write_bytes(b"")
    elif how == "gone":
        files.key.unlink()
    elif how == "half":
        files.certificate.write_bytes(files.certificate.read_bytes()[:200])
    elif how == "key with a passphrase":
        _, key = rsa_key_pair(directory)
        files.key.write_bytes(encrypted(key))
    elif how == "directory":
        files.certificate.unlink()
        files.certificate.mkdir()


def encrypted(key: Path) -> bytes:
    """A private key under a passphrase."""
    loaded = serialization.load_pem_private_key(key.read_bytes(), None)
    return loaded.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"passphrase"),
    )


HOWS = ["key of another", "empty", "gone", "half", "key with a passphrase", "directory"]


@pytest.mark.parametrize("how", HOWS)
def test_pair_that_cannot_be_used_is_refused_at_the_start_and_logged_later(
    tls: Tls, served: TlsFiles, authority: Authority, tmp_path: Path, how: str
) -> None:
    spoil(served, how, authority, tmp_path)
    with pytest.raises(SettingsError, match="cannot be used"):
        Tls(served)
    with capture_logs() as logs:
        tls.look()
        tls.look()
    assert [line["event"] for line in logs] == ["the old certificate goes on"]


async def test_plain_http_beyond_loopback_is_warned_of() -> None:
    async def warned(address: str) -> bool:
        ready = asyncio.Event()
        with capture_logs() as logs:
            serving = asyncio.create_task(
                serve(Litestar([]), addresses=listen(address), ready=ready)
            )
            async with asyncio.timeout(TIMEOUT_S):
                await ready.wait()
        serving.cancel()
        await asyncio.wait([serving], timeout=TIMEOUT_S)
        return any("plain HTTP beyond" in line["event"] for line in logs)

    assert await warned(":0")
    assert not await warned("127.0.0.1:0")
    assert not await warned("[::1]:0")


async def test_hang_up_has_the_certificate_taken_at_once(
    served: TlsFiles, authority: Authority
) -> None:
    tls, hung_up = Tls(served, look_every_s=3600.0), asyncio.Event()
    running = asyncio.create_task(tls.run(hung_up))
    put(authority.issue("second"), served)
    with capture_logs() as logs:
        hung_up.set()

        async def is_taken() -> bool:
            return any(line["event"] == "took a new certificate" for line in logs)

        await until(is_taken, TIMEOUT_S)
    running.cancel()
    await asyncio.wait([running])
