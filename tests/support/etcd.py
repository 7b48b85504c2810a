"""A real etcd for tests: one member or three, on free ports of the loopback interface.

    async with EtcdServer() as server:
        store = await EtcdStore.connect([server.endpoint])

A server keeps its data directory and ports over `stop`, `kill` and `start`; the directory goes with
`close` (or the end of the `async with`). Ready means that its health check says so.
"""

import asyncio
import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from lpmos.lab.processes import ENDS_WITH_PARENT
from tests.support.certificates import Authority, KeyPair
from tests.support.opened import Opened

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
COMMAND_TIMEOUT_S = 60.0
POLL_S = 0.02


def _ports() -> range:
    """The share of this process, where several run the tests, of the ports that tests may take.

    They are below the range that the kernel gives to outgoing connections: one found free stays so.
    """
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    this = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    return range(20_000 + this, 32_000, processes)


_PORTS = _ports()
_RANDOM = random.SystemRandom()
_given: set[int] = set()


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on and no connection will take.

    No port is given twice: who asked for one may not listen on it yet.
    """
    while True:
        port = _RANDOM.choice(_PORTS)
        if port in _given:
            continue
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            _given.add(port)
            return port


@dataclass(frozen=True)
class ServerTls:
    """TLS for a server that asks every client for a certificate of `authority`."""

    authority: Authority
    server: KeyPair

    @classmethod
    def create(cls, directory: Path) -> Self:
        """A new authority with a server certificate, in `directory`."""
        authority = Authority(directory)
        return cls(authority, authority.issue("server"))


class EtcdServer(Opened):
    """One etcd process; `endpoint` is its client URL."""

    def __init__(
        self,
        *,
        tls: ServerTls | None = None,
        flags: Sequence[str] = (),
        name: str = "solo",
        peer_port: int = 0,
        initial_cluster: str = "",
    ) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="lpmos-etcd-"))
        self.port = free_port()
        self.tls = tls
        self.endpoint = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._name = name
        self._flags = tuple(flags)
        self._peer_url = f"http://127.0.0.1:{peer_port or free_port()}"
        self._initial_cluster = initial_cluster or f"{name}={self._peer_url}"
        self._health_port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def _command(self) -> list[str]:
        command = [
            "etcd",
            f"--name={self._name}",
            f"--data-dir={self.directory / 'data'}",
            f"--listen-client-urls={self.endpoint}",
            f"--advertise-client-urls={self.endpoint}",
            f"--listen-peer-urls={self._peer_url}",
            f"--initial-advertise-peer-urls={self._peer_url}",
            f"--initial-cluster={self._initial_cluster}",
            f"--listen-metrics-urls=http://127.0.0.1:{self._health_port}",
            "--logger=zap",
            "--log-level=warn",
            *self._flags,
        ]
        if self.tls:
            command += [
                f"--cert-file={self.tls.server.cert}",
                f"--key-file={self.tls.server.key}",
                f"--trusted-ca-file={self.tls.authority.ca}",
                "--client-cert-auth",
            ]
        return command

    async def start(self) -> None:
        """Start, or start again on the same data, and wait until it serves."""
        self.launch()
        await self.wait_healthy()

    def launch(self) -> None:
        """Start without waiting."""
        with (self.directory / "etcd.log").open("ab") as log:
            command = [*ENDS_WITH_PARENT, *self._command()]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)

    async def wait_healthy(self) -> None:
        """Wait until the member serves and knows a leader."""
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                while not await self.is_healthy():
                    self._raise_if_ended()
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise AssertionError(f"etcd is not healthy:\n{self.log_tail()}") from None

    def _raise_if_ended(self) -> None:
        if self._process is None or self._process.poll() is not None:
            raise AssertionError(f"etcd ended:\n{self.log_tail()}")

    async def is_healthy(self) -> bool:
        """Whether the member's own health check passes now."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._health_port)
        except OSError:
            return False
        try:
            writer.write(b"GET /health HTTP/1.0\r\n\r\n")
            return b'"health":"true"' in await reader.read()
        except OSError:
            return False
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def log_tail(self, lines: int = 20) -> str:
        """The end of the server's log."""
        text = (self.directory / "etcd.log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    async def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        if how is signal.SIGTERM:
            process.send_signal(signal.SIGCONT)
        await asyncio.to_thread(process.wait, STOP_TIMEOUT_S)

    async def stop(self) -> None:
        """Shut down in order; the data stays."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """Kill -9; the data stays as it is."""
        await self._end(signal.SIGKILL)

    async def restart(self) -> None:
        """Stop and start on the same data and ports."""
        await self.stop()
        await self.start()

    async def restore(self, snapshot: Path) -> None:
        """Make this server's data, not yet there, from a snapshot."""
        await run(
            [
                "etcdctl",
                "snapshot",
                "restore",
                str(snapshot),
                f"--data-dir={self.directory / 'data'}",
                f"--name={self._name}",
                f"--initial-cluster={self._initial_cluster}",
                f"--initial-advertise-peer-urls={self._peer_url}",
            ]
        )

    def pause(self) -> None:
        """Stop the process (SIGSTOP): connections stay open and nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        threads = list(Path(f"/proc/{self._process.pid}/task").iterdir())
        while any(") T " not in (each / "stat").read_text() for each in threads):
            os.sched_yield()  # one that runs on another processor answers until it is told

    def resume(self) -> None:
        """Let a paused process go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    async def close(self) -> None:
        """Kill the process and remove its data."""
        await self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    async def etcdctl(self, *arguments: str, user: str = "") -> str:
        """What `etcdctl` prints, asked of this server; raises AssertionError where it fails."""
        command = ["etcdctl", f"--endpoints={self.endpoint}"]
        if user:
            command.append(f"--user={user}")
        if self.tls:
            client = self.tls.authority.issue("etcdctl")
            command += [
                f"--cacert={self.tls.authority.ca}",
                f"--cert={client.cert}",
                f"--key={client.key}",
            ]
        return await run([*command, *arguments])

    async def enable_auth(self, root_password: str) -> None:
        """Ask for user and password from now on; the first user is `root`."""
        await self.etcdctl("user", "add", f"root:{root_password}")
        await self.etcdctl("user", "grant-role", "root", "root")
        await self.etcdctl("auth", "enable")

    async def add_user(self, name: str, password: str, prefix: str, root_password: str) -> None:
        """A user who may read and write the keys that begin with `prefix`, and nothing else."""
        root = f"root:{root_password}"
        role = f"role-{name}"
        await self.etcdctl("role", "add", role, user=root)
        await self.etcdctl(
            "role", "grant-permission", "--prefix=true", role, "readwrite", prefix, user=root
        )
        await self.etcdctl("user", "add", f"{name}:{password}", user=root)
        await self.etcdctl("user", "grant-role", name, role, user=root)


async def run(command: Sequence[str]) -> str:
    """The standard output of a command that must succeed."""
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, timeout=COMMAND_TIMEOUT_S, check=False
    )
    if done.returncode:
        raise AssertionError(f"{command}:\n{(done.stdout + done.stderr).decode(errors='replace')}")
    return done.stdout.decode()


class EtcdCluster(Opened):
    """Three members on the loopback interface."""

    def __init__(self, size: int = 3, flags: Sequence[str] = ()) -> None:
        ports = {f"m{number}": free_port() for number in range(size)}
        cluster = ",".join(f"{name}=http://127.0.0.1:{port}" for name, port in ports.items())
        self.members = tuple(
            EtcdServer(name=name, peer_port=port, initial_cluster=cluster, flags=flags)
            for name, port in ports.items()
        )

    @property
    def endpoints(self) -> list[str]:
        """The client URLs of all members."""
        return [member.endpoint for member in self.members]

    async def start(self) -> None:
        """Start all members and wait until every one serves."""
        for member in self.members:
            member.launch()
        await asyncio.gather(*(member.wait_healthy() for member in self.members))

    async def leader(self) -> EtcdServer:
        """The member that leads now."""
        for member in self.members:
            line = await member.etcdctl("endpoint", "status", "--write-out=simple")
            if line.split(", ")[4] == "true":
                return member
        raise AssertionError("no member leads")

    async def close(self) -> None:
        """Kill all members and remove their data."""
        await asyncio.gather(*(member.close() for member in self.members))
