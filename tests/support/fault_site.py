"""A data center of real processes to break: etcd, control plane, region, and machines with plugs.

    async with cluster_site(directory) as site:     # three etcd members, `lpmos control-plane`, ...
    async with embedded_site(directory) as site:    # `lpmos up`, one process over its own store

Every part can be killed and started again on what it left on its disk. The region reaches etcd over
a proxy for each member, which a test can cut; everybody else reaches it directly. What is asked of
the site is asked over its API, as people would.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec

from lpmos.control.auth import TokenSigner
from lpmos.core.clock import utc_now
from lpmos.lab.simulated_images import make_simulated_images
from lpmos.model.auditcheck import ChainCheck, ChainPage
from lpmos.store import keys
from tests.support.etcd import EtcdCluster, free_port
from tests.support.fault_machine import journal_of
from tests.support.polling import until
from tests.support.tcp_proxy import TcpProxy

TREE = Path(__file__).parents[2]
LPMOS = Path(sys.executable).with_name("lpmos")
KEY = bytes(range(32))
IDC = "dc1"
IMAGE_BYTES = 2_000_000
TIMEOUT_S = 120.0
CALL_TIMEOUT_S = 10.0
MOST_TASKS = 500
SHOWN_LINES = 12
SHOWN_MACHINES = 3


class PartProcess:
    """One `lpmos` process that is killed and started again."""

    def __init__(
        self,
        arguments: Sequence[str],
        log: Path,
        *,
        prefix: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        """`prefix` is a command that runs the process, `env` is added to its environment."""
        self._command = [*prefix, str(LPMOS), *arguments]
        self._log = log
        self._env = {**os.environ, **(env or {})}
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process
        return self._process.pid

    @property
    def log(self) -> str:
        """What it said, since its first start."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    async def start(self) -> None:
        """Start without waiting."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *("setpriv", "--pdeathsig", "KILL", "--", *self._command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._env,
            )

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        assert self._process
        self._process.send_signal(number)

    async def kill(self) -> None:
        """Kill -9; nothing where it does not run."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


class Machine:
    """One machine: off, or a process of `tests.support.fault_machine`."""

    def __init__(self, sn: str, mac: str, region_url: str, directory: Path) -> None:
        self.sn = sn
        self.mac = mac
        self.task_id = ""
        self._task_from = 0
        self._region_url = region_url
        self._directory = directory
        self._journal = directory / f"{sn}.journal"
        self._process: asyncio.subprocess.Process | None = None

    def has_task(self, task_id: str) -> None:
        """From now on the machine's present task is this one."""
        self.task_id = task_id
        self._task_from = len(self.journal())

    async def power_on(self, hold: str | None = None, speed_mbit: float | None = None) -> None:
        """Begin a new run that stands still at `hold`."""
        command = [sys.executable, "-m", "tests.support.fault_machine", "--region"]
        command += [self._region_url, "--sn", self.sn, "--mac", self.mac]
        command += ["--journal", str(self._journal)]
        command += ["--hold", hold] if hold else []
        command += ["--speed-mbit", str(speed_mbit)] if speed_mbit else []
        with (self._directory / f"{self.sn}.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *("setpriv", "--pdeathsig", "KILL", "--", *command),
                cwd=TREE,
                stdin=asyncio.subprocess.PIPE,
                stdout=log,
                stderr=log,
            )

    def go_on(self) -> None:
        """Let a machine go on that stands still, now or later."""
        if self._process and self._process.stdin and not self._process.stdin.is_closing():
            self._process.stdin.close()

    async def pull_plug(self) -> None:
        """Kill -9; nothing where it is off."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    @property
    def runs(self) -> bool:
        """Whether it is on and at work."""
        return self._process is not None and self._process.returncode is None

    def holds(self, step: str) -> bool:
        """Whether it stands still at this step, or once did."""
        return any(e["event"] == "held" and e["step"] == step for e in self.journal())

    def journal(self) -> list[dict[str, Any]]:
        """What an observer saw, oldest first, over all runs."""
        return journal_of(self._journal)

    @property
    def installs_begun(self) -> int:
        """How often its disk was begun to be written."""
        return sum(event["event"] == "disk" for event in self.journal())

    @property
    def boots(self) -> list[str]:
        """What its boot scripts made it do, in order."""
        return [event["to"] for event in self.journal() if event["event"] == "boot"]

    @property
    def installed(self) -> bool:
        """Whether its own system came up, and the region knows it."""
        return any(event["event"] == "up" for event in self.journal())

    @property
    def lines_heard(self) -> list[str]:
        """The log lines of its present task that the region acknowledged."""
        events = self.journal()[self._task_from :]
        return [line for e in events if e["event"] == "heard" for line in e["lines"]]

    @property
    def console(self) -> str:
        """What its console showed, over all runs."""
        log = self._directory / f"{self.sn}.log"
        return log.read_text(errors="replace") if log.exists() else ""

    @property
    def last_words(self) -> str:
        """The end of what its console showed."""
        return "\n".join(self.console.splitlines()[-SHOWN_LINES:])


class FaultSite:
    """One data center; see the module."""

    def __init__(
        self,
        directory: Path,
        *,
        control: PartProcess,
        region: PartProcess,
        api_url: str,
        region_url: str,
        cluster: EtcdCluster | None = None,
        links: Sequence[TcpProxy] = (),
    ) -> None:
        """`control` and `region` are the same process where one has both parts."""
        self.directory = directory
        self.control = control
        self.region = region
        self.region_url = region_url
        self.links = tuple(links)
        self._cluster = cluster
        self._machines: list[Machine] = []
        token = TokenSigner(KEY, utc_now).issue("ops", "admin", timedelta(hours=1))
        headers = {"Authorization": f"Bearer {token}"}
        self._api = httpx.AsyncClient(base_url=api_url, headers=headers, timeout=CALL_TIMEOUT_S)
        self._http = httpx.AsyncClient(base_url=region_url, timeout=CALL_TIMEOUT_S)

    @property
    def region_port(self) -> int:
        """Where the region answers machines."""
        return int(self.region_url.rpartition(":")[2])

    @property
    def cluster(self) -> EtcdCluster:
        """The etcd of a site that has one."""
        assert self._cluster
        return self._cluster

    async def start(self) -> None:
        """Start all parts and wait until machines and people are answered."""
        await self.control.start()
        if self.region is not self.control:
            await self.region.start()
        await until(self.is_ready, TIMEOUT_S)

    async def is_ready(self) -> bool:
        """Whether people are answered, and machines, and images are offered."""
        return (
            await self.answers_people() and await self.answers_machines() and await self._offers()
        )

    async def answers_people(self) -> bool:
        """Whether the API is ready."""
        return (await self._get("/health/ready")) is not None

    async def answers_machines(self) -> bool:
        """Whether the region gives boot files."""
        with contextlib.suppress(httpx.TransportError):
            return (await self._http.get("/boot/boot.ipxe")).status_code == 200
        return False

    async def _offers(self) -> bool:
        regions = (await self._get("/api/v1/regions") or {}).get("regions", [])
        return any(region["online"] and region["offered"] for region in regions)

    async def outbox(self) -> dict[str, Any]:
        """What the region says of its outbox; empty where it says nothing."""
        with contextlib.suppress(httpx.TransportError):
            answer = await self._http.get("/health")
            return dict(answer.json()["outbox"])
        return {}

    async def everything_handed_in(self) -> bool:
        """Whether the region has nothing left that the store does not have."""
        outbox = await self.outbox()
        return bool(outbox) and outbox["waiting"] == 0 and outbox["offline_since"] is None

    async def post_to_region(self, path: str, body: Mapping[str, Any]) -> httpx.Response:
        """A machine's call by the test itself."""
        return await self._http.post(path, json=dict(body))

    def machine(self, name: str, region_url: str | None = None) -> Machine:
        """A machine that is off and was never heard of; it may know the region by another URL."""
        number = len(self._machines) + 1
        mac = f"52:54:00:fa:{number >> 8:02x}:{number & 255:02x}"
        made = Machine(f"{name}-{number}", mac, region_url or self.region_url, self.directory)
        self._machines.append(made)
        return made

    async def create_task(self, machine: Machine) -> None:
        """Create the machine's task; returns when it was acknowledged."""
        body = {"idc": IDC, "sn": machine.sn, "mac": machine.mac}
        body |= {"os_type": "debian", "os_version": "12"}
        answer = await self._api.post("/api/v1/tasks", json=body)
        assert answer.status_code == 201, answer.text
        machine.has_task(answer.json()["task_id"])

    async def try_to_approve(self, machine: Machine) -> bool:
        """Approve the install; whether that was acknowledged."""
        body = {"approved": True, "notes": "as planned"}
        with contextlib.suppress(httpx.TransportError):
            answer = await self._api.put(f"/api/v1/tasks/{machine.task_id}/approve", json=body)
            return answer.status_code == 200
        return False

    async def approve(self, machine: Machine) -> None:
        """Approve, until it is acknowledged."""
        await until(lambda: self.try_to_approve(machine), TIMEOUT_S)

    async def retry(self, machine: Machine) -> None:
        """Have the machine's task tried again, as a new task of the machine."""
        answer = await self._api.post(f"/api/v1/tasks/{machine.task_id}/retry")
        assert answer.status_code == 201, answer.text
        machine.has_task(answer.json()["task_id"])

    async def task(self, machine: Machine) -> dict[str, Any]:
        """The machine's task, as people see it."""
        found = await self._get(_path(machine))
        assert found is not None, "the control plane does not answer"
        return found

    async def statuses(self) -> dict[str, str]:
        """The status of each task; empty where the control plane does not answer."""
        page = await self._get("/api/v1/tasks", limit=MOST_TASKS) or {}
        return {task["task_id"]: task["status"] for task in page.get("tasks", [])}

    async def until_status(self, wanted: Mapping[Machine, str]) -> None:
        """Wait until each machine's task has this status."""

        async def so() -> bool:
            statuses = await self.statuses()
            return all(statuses.get(m.task_id) == status for m, status in wanted.items())

        try:
            await until(so, TIMEOUT_S)
        except TimeoutError:
            statuses = await self.statuses()
            late = {m.sn: (statuses.get(m.task_id), s) for m, s in wanted.items()}
            late = {sn: pair for sn, pair in late.items() if pair[0] != pair[1]}
            words = await self._last_words([m for m in wanted if m.sn in late][:SHOWN_MACHINES])
            raise AssertionError(f"is, should be: {late}\n{words}") from None

    async def _last_words(self, machines: Iterable[Machine]) -> str:
        """What the consoles of these machines show, and why their tasks ended."""
        errors = [((await self._get(_path(m)) or {}).get("error"), m) for m in machines]
        return "\n".join(f"{m.sn}: {error}\n{m.last_words}" for error, m in errors)

    async def audited(self, machine: Machine) -> Counter[str]:
        """How often the audit log tells of each thing that happened to the machine's task."""
        told: Counter[str] = Counter()
        target = f"task/{machine.task_id}"
        page = await self._get("/api/v1/audit", target=target, limit=500)
        assert page is not None
        told.update(entry["event"]["action"] for entry in page["entries"])
        return told

    async def check_audit_chain(self) -> None:
        """Hold the audit log's chain together from end to end."""
        check = ChainCheck()
        from_seq: int | None = 1
        while from_seq is not None:
            answer = await self._api.get(
                "/api/v1/audit/chain", params={"from_seq": from_seq, "limit": 1000}
            )
            assert answer.status_code == 200, answer.text
            page = msgspec.json.decode(answer.content, type=ChainPage)
            assert list(check.page(page)) == []
            from_seq = page.next
        assert list(check.end()) == []

    async def _get(self, path: str, **params: str | int) -> dict[str, Any] | None:
        with contextlib.suppress(httpx.TransportError):
            answer = await self._api.get(path, params=params)
            if answer.status_code == 200:
                found = answer.json()
                assert isinstance(found, dict)
                return found
        return None

    async def close(self) -> None:
        """End what runs."""
        for machine in self._machines:
            await machine.pull_plug()
        for part in (self.control, self.region):
            await part.kill()
        await self._api.aclose()
        await self._http.aclose()


def _path(machine: Machine) -> str:
    return f"/api/v1/tasks/{machine.task_id}"


def control_arguments(directory: Path, port: int) -> list[str]:
    """Settings of a control plane, with the keys that a test signs with."""
    directory.mkdir(parents=True, exist_ok=True)
    key_file = directory / "test.key"
    key_file.write_bytes(KEY)
    key_file.chmod(0o600)
    return [
        *("--listen-addr", f"127.0.0.1:{port}", "--auth-key-file", str(key_file)),
        *("--rate-limit-per-s", "0", "--state-dir", str(directory)),
    ]


def region_arguments(images_dir: Path, port: int) -> list[str]:
    """Settings of a region without DHCP."""
    return [
        *("--idc", IDC, "--region-addr", "127.0.0.1", "--api-host", "127.0.0.1"),
        *("--api-port", str(port), "--dhcp-mode", "off", "--images-dir", str(images_dir)),
    ]


def region_process(
    directory: Path,
    name: str,
    links: Sequence[TcpProxy],
    port: int,
    *,
    prefix: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
) -> PartProcess:
    """A regional client over etcd, with its state in `directory/name`."""
    state_dir = directory / name
    state_dir.mkdir()
    endpoints = ",".join(link.endpoint for link in links)
    arguments = ["region", "--etcd-endpoints", endpoints, "--state-dir", str(state_dir)]
    arguments += region_arguments(directory / "images", port)
    log = directory / f"{name}.log"
    return PartProcess(arguments, log, prefix=prefix, env=env)


@asynccontextmanager
async def cluster_site(
    directory: Path,
    *,
    size: int = 3,
    region_prefix: Sequence[str] = (),
    region_env: Mapping[str, str] | None = None,
) -> AsyncIterator[FaultSite]:
    """Control plane and region over an etcd of `size` members; see `PartProcess` for the rest."""
    make_simulated_images(directory / "images", IMAGE_BYTES)
    api_port, region_port = free_port(), free_port()
    async with contextlib.AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(EtcdCluster(size))
        links = [
            await stack.enter_async_context(TcpProxy(member.port)) for member in cluster.members
        ]
        site = FaultSite(
            directory,
            control=PartProcess(
                [
                    *("control-plane", "--etcd-endpoints", ",".join(cluster.endpoints)),
                    *control_arguments(directory / "control", api_port),
                ],
                directory / "control.log",
            ),
            region=region_process(
                directory, "region", links, region_port, prefix=region_prefix, env=region_env
            ),
            api_url=f"http://127.0.0.1:{api_port}",
            region_url=f"http://127.0.0.1:{region_port}",
            cluster=cluster,
            links=links,
        )
        stack.push_async_callback(site.close)
        await site.start()
        await until(lambda: _has_looked_round(cluster), TIMEOUT_S)
        yield site


async def _has_looked_round(cluster: EtcdCluster) -> bool:
    """Whether the region knows that it is the only one; else it would stand by when cut off."""
    return bool(await cluster.members[0].etcdctl("get", keys.region_active(IDC)))


@asynccontextmanager
async def embedded_site(directory: Path) -> AsyncIterator[FaultSite]:
    """`lpmos up`: control plane, region and store in one process."""
    make_simulated_images(directory / "images", IMAGE_BYTES)
    api_port, region_port = free_port(), free_port()
    arguments = [
        "up",
        *control_arguments(directory / "up", api_port),
        *region_arguments(directory / "images", region_port),
    ]
    part = PartProcess(arguments, directory / "up.log")
    site = FaultSite(
        directory,
        control=part,
        region=part,
        api_url=f"http://127.0.0.1:{api_port}",
        region_url=f"http://127.0.0.1:{region_port}",
    )
    try:
        await site.start()
        yield site
    finally:
        await site.close()
