"""TFTP for machines with Secure Boot, asked by curl; and what GRUB itself says of its scripts."""

import asyncio
import contextlib
import hashlib
import re
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lpmos.model.errors import NotFound, SettingsError
from lpmos.model.evidence import Evidence
from lpmos.region import grub
from lpmos.region.dhcp_networks import DhcpNetwork, DhcpSettings
from lpmos.region.scripts import AgentCall, AgentFiles, InstallerFiles
from lpmos.region.tftp import SIGNED
from lpmos.region.tftp_server import TRANSFERS_OF_ONE, TftpServer
from lpmos.store import keys, records
from tests.support.builders import MAC
from tests.support.region import running, until
from tests.support.wire import ADDRESS, BRIDGE, wire

LOOPBACK = "127.0.0.1"
ASK_TIMEOUT_S = 60.0
CURL = ("curl", "-sS", "--max-time", "20")
FILES = {
    "machine/52:54:00:00:00:01/SN 1": b"echo hello\n",
    "whole-blocks": b"x" * 512 * 3,
    "large": bytes(range(256)) * 20_000,
}


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[int]:
    """A server that answers at this port."""
    large = tmp_path / "large"
    large.write_bytes(FILES["large"])

    async def find(name: str, ip: str, at: str) -> bytes | Path:
        assert (ip, at) == (LOOPBACK, LOOPBACK)
        if name not in FILES:
            raise NotFound(f"there is nothing behind {name}")
        return large if name == "large" else FILES[name]

    free = _free_port()
    async with _answering(TftpServer([LOOPBACK], free, find, idc="dc1")):
        yield free


@contextlib.asynccontextmanager
async def _answering(server: TftpServer) -> AsyncIterator[None]:
    running = asyncio.create_task(server.run())
    try:
        await asyncio.wait_for(server.listening.wait(), ASK_TIMEOUT_S)
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def _free_port() -> int:
    with _client() as probe:
        return int(probe.getsockname()[1])


def _client(ip: str = LOOPBACK) -> socket.socket:
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.bind((ip, 0))
    client.setblocking(False)
    return client


REQUEST = b"\0\x01large\0octet\0"


async def _asked(port: int, name: str, *options: str) -> tuple[int, bytes]:
    """What curl got: its status, and the file."""
    url = f"tftp://{LOOPBACK}:{port}/{name}"
    process = await asyncio.create_subprocess_exec(
        *("curl", "--silent", "--max-time", "50", *options, url),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await asyncio.wait_for(process.communicate(), ASK_TIMEOUT_S)
    assert process.returncode is not None
    return process.returncode, output


@pytest.mark.parametrize("name", FILES)
async def test_what_is_asked_for_comes_whole(port: int, name: str) -> None:
    wanted = FILES[name]
    quoted = name.replace(" ", "%20")
    assert await _asked(port, quoted, "--tftp-blksize", "1024") == (0, wanted)
    assert await _asked(port, quoted, "--tftp-no-options") == (0, wanted)


async def test_many_at_once_are_all_answered(port: int) -> None:
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(_asked(port, "whole-blocks")) for _ in range(TRANSFERS_OF_ONE)]
    assert {each.result() for each in asked} == {(0, FILES["whole-blocks"])}


async def test_one_address_leaves_room_for_others() -> None:
    asked: list[str] = []
    other_asked = asyncio.Event()

    async def find(name: str, ip: str, at: str) -> bytes | Path:
        asked.append(ip)
        if ip != LOOPBACK:
            other_asked.set()
        await asyncio.Event().wait()
        return b""

    free = _free_port()
    with contextlib.ExitStack() as stack:
        greedy = [stack.enter_context(_client()) for _ in range(TRANSFERS_OF_ONE * 3)]
        other = stack.enter_context(_client("127.0.0.2"))
        async with _answering(TftpServer([LOOPBACK], free, find, idc="dc1")):
            for client in (*greedy, other):
                client.sendto(REQUEST, (LOOPBACK, free))
            await asyncio.wait_for(other_asked.wait(), ASK_TIMEOUT_S)
    assert asked == [LOOPBACK] * TRANSFERS_OF_ONE + ["127.0.0.2"]


async def test_request_that_takes_too_long_is_left() -> None:
    begun = asyncio.Event()

    async def find(name: str, ip: str, at: str) -> bytes | Path:
        begun.set()
        await asyncio.Event().wait()
        return b""

    free = _free_port()
    server = TftpServer([LOOPBACK], free, find, idc="dc1", transfer_timeout_s=0.1)

    async def left() -> bool:
        return not server.transfers

    with _client() as client:
        async with _answering(server):
            client.sendto(REQUEST, (LOOPBACK, free))
            await asyncio.wait_for(begun.wait(), ASK_TIMEOUT_S)
            await until(left, "the transfer to end")


async def test_address_that_is_not_here_is_named_in_the_error() -> None:
    server = TftpServer(["192.0.2.1"], 0, _nothing, idc="dc1")
    with pytest.raises(SettingsError, match=r"192\.0\.2\.1"):
        await server.run()


async def _nothing(name: str, ip: str, at: str) -> bytes | Path:
    raise NotFound(name)


async def test_what_is_not_there_is_refused_at_once(port: int) -> None:
    status, _ = await _asked(port, "nothing")
    assert status == 68  # TFTP file not found (curl(1))


async def test_machine_with_secure_boot_gets_shim_its_script_and_the_files_that_it_names(
    tmp_path: Path,
) -> None:
    loaders = tmp_path / "state/loaders"
    loaders.mkdir(parents=True)
    for name in SIGNED:
        (loaders / name).write_text(f"signed {name}")
    network = DhcpNetwork(interface=BRIDGE, range=("10.92.0.50", "10.92.0.59"), secure_boot=True)
    with wire() as client:
        dhcp = DhcpSettings(networks=(network,))
        async with running(tmp_path, dhcp=dhcp, address=ADDRESS) as region:
            task = await region.create_task()
            lease = await client.lease(MAC, o93="0007")
            assert lease["file"] == "shimx64.efi"
            for name in SIGNED:
                loaded = await client.run(*CURL, f"tftp://{ADDRESS}/{name}")
                assert loaded.decode() == f"signed {name}"
            at = f"tftp://{ADDRESS}:{grub.TFTP_PORT}"
            script = (await client.run(*CURL, f"{at}/machine/{MAC}/SN-1")).decode()
            files = re.findall(r"\$region/(boot/agent/\S+)\"", script)
            assert [Path(path).name for path in files] == ["vmlinuz", "initramfs"]
            for path in files:
                content = await client.run(*CURL, f"{at}/{path}")
                assert hashlib.sha256(content).hexdigest() in path
            assert f"lpmos_client={region.region.base_url} lpmos_nonce=" in script
            await region.task_in(task.task_id, "booting")

            async def seen_to_its_end() -> bool:
                kv = await region.store.get(keys.evidence("dc1", "SN-1"))
                seen = records.decode(kv, Evidence) if kv else Evidence(mac=MAC)
                told = seen.script is not None and "boot the agent" in seen.script.detail
                return told and bool(seen.initramfs and seen.initramfs.done_at)

            await until(seen_to_its_end, "the evidence to be written")
            metrics = await client.run(*CURL, f"{region.region.own_url}/metrics")
            # Shim and GRUB by dnsmasq; then the script, the kernel and the initramfs.
            assert "lpmos_region_tftp_files_total 5.0" in metrics.decode()


def test_all_scripts_are_of_grubs_grammar(tmp_path: Path) -> None:
    base = "http://192.0.2.1:8081"
    files = AgentFiles(kernel="/k", initramfs="/i", arguments="console=ttyS1 memmap=1G!4G")
    of_installer = InstallerFiles(kernel="/k", initrd="/i", line="a='b' c;d")
    for text in (
        grub.entry_script(),
        grub.agent_script(base, files, AgentCall(base, "n"), "it's"),
        grub.installer_script(base, of_installer, "go"),
        grub.local_disk_script("done"),
        grub.local_disk_script("done", "0198-ab"),
        grub.wait_script(base, "wait", 9),
    ):
        script = tmp_path / "grub.cfg"
        script.write_text(text)
        subprocess.run(["grub-script-check", str(script)], check=True, timeout=ASK_TIMEOUT_S)
