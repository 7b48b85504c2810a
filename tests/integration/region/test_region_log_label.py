"""All that a region's process logs begins with its name, whoever wrote it: a library or dnsmasq."""

import asyncio
import re
import signal
import sys
from pathlib import Path

import aiohttp

from tests.support.etcd import EtcdServer
from tests.support.region import until
from tests.support.wire import ADDRESS, BRIDGE, wire

LPMOS = Path(sys.executable).with_name("lpmos")
PORT = 8081
STOP_TIMEOUT_S = 20.0
_EVENT = re.compile(r"\d{4}-\d\d-\d\dT\S+ \[[a-z]+ *\] ")
_LABELLED = re.compile(_EVENT.pattern + r"\[dc1\] \S")


async def test_every_line_of_a_region_begins_with_its_name(tmp_path: Path) -> None:
    with wire() as network:
        async with EtcdServer() as etcd, aiohttp.ClientSession() as http:
            log = tmp_path / "region.log"
            region = await _start(etcd, tmp_path, log)
            try:

                async def healthy() -> bool:
                    try:
                        async with http.get(f"http://{ADDRESS}:{PORT}/health") as answer:
                            return answer.status == 200
                    except aiohttp.ClientConnectionError:
                        return False

                await until(healthy, "the region to be healthy", 60)
                await network.lease("52:54:00:00:00:01", o93="0007")
                await _send_nonsense()
                await etcd.stop()
                await until(lambda: "heartbeat not written" in log.read_text(), "the outage", 60)
            finally:
                region.send_signal(signal.SIGTERM)
                async with asyncio.timeout(STOP_TIMEOUT_S):
                    await region.wait()
    lines = log.read_text().splitlines()
    assert _EVENT.match(lines[0])
    assert [line for line in lines if _EVENT.match(line) and not _LABELLED.match(line)] == []
    assert any("aiohttp/" in line for line in lines)
    for words in ("dnsmasq started", "dhcp ack", "stopping", "stopped"):
        assert any(f"[dc1] {words}" in line for line in lines), words


async def _start(etcd: EtcdServer, directory: Path, log: Path) -> asyncio.subprocess.Process:
    with log.open("wb") as output:
        return await asyncio.create_subprocess_exec(
            *(str(LPMOS), "region", "--idc", "dc1", "--etcd-endpoints", etcd.endpoint),
            *("--region-addr", ADDRESS, "--api-host", ADDRESS, "--api-port", str(PORT)),
            *("--dhcp-interface", BRIDGE, "--dhcp-range", "10.92.0.100,10.92.0.199"),
            *("--state-dir", str(directory / "state"), "--log-level", "debug"),
            stdout=output,
            stderr=output,
        )


async def _send_nonsense() -> None:
    """A request that the HTTP library itself refuses and logs."""
    reader, writer = await asyncio.open_connection(ADDRESS, PORT)
    writer.write(b"\x16\x03\x01 no HTTP\r\n\r\n")
    await reader.read()
    writer.close()
    await writer.wait_closed()
