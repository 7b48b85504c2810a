"""The agent API by TLS 1.3: who is answered at which port, and whom the agent believes."""

import asyncio
import hashlib
import ssl
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from lpmos.agent.caller import Caller
from lpmos.agent.console import Console
from lpmos.agent.errors import NoAnswer, Refused
from lpmos.agent.options import Options
from lpmos.agent.pace import Pace
from lpmos.agent.region import Region as AgentsRegion
from lpmos.agent.run import run_agent
from lpmos.agent.stop import Stop
from lpmos.core.clock import utc_now
from lpmos.model.errors import SettingsError
from lpmos.region.tls import TlsFiles, load
from tests.support.agent_identity import bearer
from tests.support.builders import MAC, actor
from tests.support.certificates import Authority
from tests.support.region import AGENT_ID, RunningRegion, running

REPORT = "/api/v1/agent/report"
APPROVAL = f"/agent/approval/{MAC}"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def files(authority: Authority) -> TlsFiles:
    pair = authority.issue("region")
    return TlsFiles(cert=pair.cert, key=pair.key, ca=authority.ca, port=0)


@pytest.fixture
async def region(tmp_path: Path, files: TlsFiles) -> AsyncIterator[RunningRegion]:
    async with running(tmp_path, agent_tls=files) as started:
        yield started


def tls_url(region: RunningRegion) -> str:
    return f"https://127.0.0.1:{region.region.tls_port}"


def fingerprint(authority: Authority) -> str:
    der = ssl.PEM_cert_to_DER_cert(authority.ca.read_text())
    return hashlib.sha256(der).hexdigest()


def agents(region: RunningRegion, ca_sha256: str, *, url: str | None = None) -> AgentsRegion:
    """The agent's own side of the protocol."""
    return AgentsRegion(url or tls_url(region), boot_url=region.url, ca_sha256=ca_sha256)


async def test_kernel_line_names_tls_and_the_ca_that_is_served(
    region: RunningRegion, authority: Authority
) -> None:
    _, script = await region.text(f"/boot/ipxe?mac={MAC}")
    assert f" lpmos_client={tls_url(region)} " in script
    assert f" lpmos_ca=sha256:{fingerprint(authority)} lpmos_boot={region.url} " in script
    assert f"kernel {region.url}/boot/agent/" in script
    assert (await region.text("/boot/ca.pem"))[1] == authority.ca.read_text()


async def test_simulated_agent_installs_by_tls(region: RunningRegion) -> None:
    task = await region.create_task()
    stop = Stop()
    console = Console()
    options = Options(region.url, sn="SN-1", mac=MAC, simulate=True)
    pace = Pace(first_s=0.01, most_s=0.05, scale=0.01)
    run = asyncio.create_task(asyncio.to_thread(run_agent, options, console, stop, pace))
    try:
        await region.task_in(task.task_id, "pending_approval")
        await region.tasks.approve(task.task_id, by=actor("admin"), notes=None)
        assert await asyncio.wait_for(run, 60) == 0
    finally:
        stop.set("the test is over")
        await asyncio.gather(run, return_exceptions=True)
    await region.task_in(task.task_id, "completed")


async def test_plain_port_refuses_agents_with_what_to_do(region: RunningRegion) -> None:
    task = await region.create_task()
    status, answer = await region.post(REPORT, {"mac_address": MAC, "agent_id": AGENT_ID})
    assert (status, answer["code"]) == (403, "tls-needed")
    assert str(region.region.tls_port) in answer["detail"]
    async with region.http.post(f"{region.url}/api/v1/agent/identity", json={}) as refused:
        assert refused.status == 403
    assert (await region.get("/health"))[0] == 200
    assert (await region.stored_task(task)).status.value == "ready"


async def test_agent_believes_the_ca_of_its_kernel_line_only(
    region: RunningRegion, authority: Authority, tmp_path: Path
) -> None:
    task = await region.create_task()
    mine = agents(region, fingerprint(authority))
    mine.identity = region.minted.identity(MAC, AGENT_ID, task.task_id)
    path = f"{APPROVAL}?task_id={task.task_id}"
    answer = await asyncio.to_thread(mine.call, "GET", path)
    assert (answer.status, answer.document) == (200, {"status": "pending"})
    other = agents(region, fingerprint(Authority(tmp_path / "other")))
    with pytest.raises(Refused, match="somebody stands between"):
        await asyncio.to_thread(other.call, "GET", path)


async def test_agent_refuses_a_server_of_another_ca_and_goes_on_asking(
    region: RunningRegion, authority: Authority, tmp_path: Path
) -> None:
    pair = Authority(tmp_path / "other").issue("liar")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)
    heard: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(1000))
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        liar = agents(region, fingerprint(authority), url=f"https://127.0.0.1:{port}")
        liar.identity = "secret"
        with pytest.raises(NoAnswer, match="certificate verify failed"):
            await asyncio.to_thread(liar.call, "GET", APPROVAL)
    assert not any(heard)


async def test_agent_asks_again_while_the_ca_cannot_be_had(
    region: RunningRegion, authority: Authority
) -> None:
    nobody = AgentsRegion(tls_url(region), boot_url="http://127.0.0.1:1", ca_sha256="0" * 64)
    with pytest.raises(NoAnswer):
        await asyncio.to_thread(nobody.call, "GET", APPROVAL)
    stop = Stop()
    caller = Caller(nobody, Console(), stop, Pace(first_s=0.01, most_s=0.01))
    threading.Timer(0.2, stop.set, ["enough"]).start()
    with pytest.raises(Exception, match="enough"):
        await asyncio.to_thread(caller.call, "GET", APPROVAL)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_only_tls_1_3_is_spoken(
    region: RunningRegion, authority: Authority, version: ssl.TLSVersion
) -> None:
    context = ssl.create_default_context(cafile=str(authority.ca))
    context.maximum_version = version
    headers = bearer(region.minted.identity(MAC, AGENT_ID, None))

    async def asked() -> int:
        url = f"{tls_url(region)}/api/v1{APPROVAL}"
        async with region.http.get(url, ssl=context, headers=headers) as answer:
            return answer.status

    if version is ssl.TLSVersion.TLSv1_3:
        assert await asked() == 404
    else:
        with pytest.raises(aiohttp.ClientConnectionError):
            await asked()


async def test_region_without_tls_has_no_ca(tmp_path: Path) -> None:
    async with running(tmp_path) as region:
        assert (await region.text("/boot/ca.pem"))[0] == 404
        assert "lpmos_ca" not in (await region.text(f"/boot/ipxe?mac={MAC}"))[1]


async def test_region_on_a_port_that_is_taken_says_which_flag(
    tmp_path: Path, region: RunningRegion, files: TlsFiles
) -> None:
    port = region.region.tls_port
    assert port is not None
    taken = TlsFiles(files.cert, files.key, files.ca, port)
    with pytest.raises(ExceptionGroup) as refused:
        async with running(tmp_path / "second", agent_tls=taken):
            pass
    assert refused.group_contains(SettingsError, match="--agent-tls-port")


async def test_files_that_agents_would_not_believe_are_refused_by_name(
    tmp_path: Path, files: TlsFiles
) -> None:
    other = Authority(tmp_path / "other")
    for wrong, address, said in (
        (TlsFiles(files.cert, files.key, other.ca, 0), "127.0.0.1", "did not issue"),
        (TlsFiles(files.cert, other.issue("x").key, files.ca, 0), "127.0.0.1", "agent_tls_key"),
        (TlsFiles(files.cert, files.key, files.key, 0), "127.0.0.1", "no certificate in PEM"),
        (TlsFiles(tmp_path / "no", files.key, files.ca, 0), "127.0.0.1", "cannot be used"),
        (files, "192.0.2.1", "subjectAltName=IP:192.0.2.1"),
    ):
        with pytest.raises(SettingsError, match=said):
            load(wrong, address, utc_now())
    made = load(files, "127.0.0.1", utc_now())
    assert made.context.minimum_version is ssl.TLSVersion.TLSv1_3
