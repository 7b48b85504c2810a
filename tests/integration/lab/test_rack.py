"""A rack on this machine: what it holds, and that nothing of it remains, however the lab ends."""

import asyncio
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lpmos.lab.errors import ProcessFailed, RackUnavailable
from lpmos.lab.processes import LabProcess
from lpmos.lab.rack import ADDRESS, Rack, check_host

WAIT_S = 30.0
SERVER = """
import http.server, socket, sys
class Server(http.server.ThreadingHTTPServer):
    def __init__(self, listening):
        super().__init__(("", 0), http.server.SimpleHTTPRequestHandler, bind_and_activate=False)
        self.socket = listening
Server(socket.socket(fileno=int(sys.argv[1]))).serve_forever()
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(600)
"""
DAEMON = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        network = os.readlink("/proc/self/ns/net")
        os.setuid(65534)
        print(network, flush=True)
        time.sleep(600)
    os._exit(0)
time.sleep(600)
"""
LAB = """
import asyncio, sys
from pathlib import Path
from lpmos.lab.rack import Rack
async def main():
    async with Rack() as rack:
        await rack.add_tap()
        log = Path(sys.argv[1])
        await rack.spawn([sys.executable, "-c", sys.argv[2]], log=log)
        while not log.read_text():
            await asyncio.sleep(0.02)
        print(rack.holder_pid, flush=True)
        await asyncio.sleep(600)
asyncio.run(main())
"""


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while True:
            if condition():
                return
            await asyncio.sleep(0.02)


def namespace(pid: int | str) -> str:
    """The network namespace of a process, by the kernel's name for it."""
    return str(Path(f"/proc/{pid}/ns/net").readlink())


def processes_in(network: str) -> Iterator[int]:
    """The processes whose network namespace is this one."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if namespace(entry.name) == network:
                yield int(entry.name)
        except OSError:
            continue


def host_interfaces() -> set[str]:
    return {name for _, name in socket.if_nameindex()}


def test_host_without_root_is_told_to_use_sudo() -> None:
    with pytest.raises(RackUnavailable, match="run it with sudo"):
        check_host(uid=1000)


async def test_rack_has_an_addressed_switch_and_the_host_sees_none_of_it() -> None:
    before = host_interfaces()
    async with Rack() as rack:
        tap = await rack.add_tap()
        assert f"{ADDRESS}/24" in await rack.run("ip", "address", "show", "br0")
        assert "master br0" in await rack.run("ip", "link", "show", tap)
        assert set((await rack.run("ls", "/sys/class/net")).split()) >= {"br0", "lo", tap}
        assert host_interfaces() == before
    assert host_interfaces() == before


async def test_two_racks_at_once_do_not_see_each_other() -> None:
    async with Rack() as one, Rack() as two:
        await one.add_tap()
        assert "tap0" not in await two.run("ip", "link")


async def test_server_with_an_inherited_socket_answers_the_host(tmp_path: Path) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    with listening:
        async with Rack() as rack:
            argv = [sys.executable, "-c", SERVER, str(listening.fileno())]
            await rack.spawn(argv, log=tmp_path / "log", pass_fds=[listening.fileno()])
            async with asyncio.timeout(WAIT_S):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"GET / HTTP/1.0\r\n\r\n")
                assert (await reader.readline()).startswith(b"HTTP/1.0 200")
                writer.close()


async def test_command_that_fails_says_what_it_printed() -> None:
    async with Rack() as rack:
        with pytest.raises(ProcessFailed, match=r"ip link show nosuch.*does not exist"):
            await rack.run("ip", "link", "show", "nosuch")


async def test_stop_of_a_program_that_ignores_sigterm_kills_it(tmp_path: Path) -> None:
    async with Rack() as rack:
        log = tmp_path / "log"
        process = await rack.spawn([sys.executable, "-c", STUBBORN], log=log)
        await until(lambda: "ready" in log.read_text())
        assert await process.stop(grace_s=0.2) == -signal.SIGKILL


async def test_exit_of_a_rack_stops_its_programs_newest_first(tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = 'trap "echo $0 ended; exit" TERM; echo $0 ready; while :; do sleep 0.02; done'
    async with Rack() as rack:
        for name in ("first", "second"):
            await rack.spawn(["sh", "-c", script, name], log=log)
        await until(lambda: log.read_text().count("ready") == 2)
    assert log.read_text().splitlines()[-2:] == ["second ended", "first ended"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
async def test_death_of_the_lab_leaves_no_process_and_no_namespace(
    tmp_path: Path, number: signal.Signals
) -> None:
    log = tmp_path / "log"
    log.touch()
    lab = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", LAB, str(log), DAEMON),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert lab.stdout is not None
    try:
        async with asyncio.timeout(WAIT_S):
            holder = int(await lab.stdout.readline())
        network = namespace(holder)
        assert log.read_text().strip() == network
        assert len(list(processes_in(network))) >= 3
    finally:
        lab.send_signal(number)
        await lab.wait()
    await until(lambda: not list(processes_in(network)))


async def test_pid_of_an_ended_program_is_none(tmp_path: Path) -> None:
    async with Rack() as rack:
        process: LabProcess = await rack.spawn(["true"], log=tmp_path / "log")
        assert await process.wait() == 0
        assert process.pid is None
        process.send(signal.SIGTERM)
        started = time.monotonic()
        assert await process.stop() == 0
        assert time.monotonic() - started < WAIT_S
