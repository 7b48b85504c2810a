"""One simulated machine: it netboots, and its agent and its installed system say what real ones do.

The protocol is that of docs/reference/agent-protocol.md. The rule that the run is for: the machine
notes each install that it was let begin and each that it finished, by itself, so that they can be
held against what the control plane believes.
"""

import asyncio
import hashlib
import random
import re
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import aiohttp

from lpmos.agent.region import IDENTITY
from lpmos.lab.fleet.profiles import LOSS, Fault, Profile, inventory
from lpmos.lab.simulated_server import boot_of

API: Final = "/api/v1"
CALL_TIMEOUT_S: Final = 30.0
POLL_WAIT_S: Final = 25
RETRY_S: Final = 1.0
LONGEST_RETRY_S: Final = 8.0
PROGRESS_EVERY_S: Final = 1.0
JITTER: Final = 0.05
"""A machine's second is up to so much longer, by chance: real machines do not keep step either."""
STAGES: Final = (("partitioning", 20), ("downloading", 60), ("installing", 90), ("configuring", 99))
IMAGE_BYTES: Final = 1_000_000_000
"""What the made-up download says of itself; the bytes are not moved."""
_NONCE = re.compile(r"^kernel .*\blpmos_nonce=(\S+)", re.MULTILINE)


class Call(NamedTuple):
    """One call that was answered: which, when, and how long it took."""

    name: str
    at_s: float
    took_s: float


class Answered(NamedTuple):
    """Status and document of an answer."""

    status: int
    document: dict[str, Any]


REBOOTS = ("script", "identity", "report", "approval", "restart")
"""After what a machine may lose its power without harm: the last is the word of its restart."""


class Ended(Exception):
    """The region told the agent to stop, or refuses it."""


class Crashed(Exception):
    """The power went."""


class FleetMachine:
    """A machine towards its region.

    `installs` and `installed` count what really happened to it, and `wrote` has the task and the
    disk's serial number of each plan that it began to write by.
    """

    def __init__(self, profile: Profile, region_url: str, note: Callable[[Call], None]) -> None:
        self.profile = profile
        self.installs = 0
        self.installed = 0
        self.wrote: list[tuple[str, str]] = []
        self.says = "off"
        self._url = region_url
        self._note = note
        self._chance = random.Random(profile.seed)  # noqa: S311 - no secret
        self._http: aiohttp.ClientSession | None = None
        self._agent_id = ""
        self._identity = ""
        self._left = set(profile.faults)
        self._reboots_after = self._chance.choice(REBOOTS) if profile.has(Fault.REBOOT) else ""

    async def run(self) -> None:
        """Live from power-on until its own system is up, or nothing is left to do."""
        await asyncio.sleep(self.profile.power_on_s)
        connector = aiohttp.TCPConnector(local_addr=(self.profile.address, 0), limit=4)
        timeout = aiohttp.ClientTimeout(total=CALL_TIMEOUT_S + POLL_WAIT_S)
        async with aiohttp.ClientSession(
            self._url, connector=connector, timeout=timeout
        ) as self._http:
            while await self._booted():
                try:
                    await self._agent()
                except Crashed:
                    self.says = "without power"
                except Ended as word:
                    self.says = f"stopped: {word}"
                    return
                else:
                    return

    async def _booted(self) -> bool:
        """Netboot; whether the agent is to run, else its own disk does."""
        query = f"mac={self.profile.mac}&sn={self.profile.says_sn}&platform=simulated"
        while True:
            self.says = "netboots"
            script = await self._text(f"/boot/ipxe?{query}")
            boot = boot_of(script)
            if boot == "disk":
                self.says = "runs its own system" if self.installed else "sent to its blank disk"
                return False
            nonce = _NONCE.search(script)
            if boot == "agent" and nonce:
                if self._reboots("script"):
                    continue
                self._agent_id = f"{self._chance.getrandbits(128):032x}"
                await self._identify(nonce[1])
                return True
            await asyncio.sleep(RETRY_S)

    async def _agent(self) -> None:
        if self._reboots("identity"):
            raise Crashed
        task_id = await self._report()
        if self._reboots("report"):
            raise Crashed
        plan = await self._approved(task_id)
        if self._reboots("approval"):
            raise Crashed
        body = {"task_id": task_id, "intent_id": plan["intent_id"], "status": "installing"}
        self._check(await self._call("status", {**body, "progress": 0, "message": "begins"}))
        self.installs += 1
        self.wrote.append((str(plan["task_id"]), str(plan["disk"]["serial"])))
        await self._install(task_id)
        await self._hand_over(task_id)

    def _reboots(self, after: str) -> bool:
        """Whether its power goes now, which it does once."""
        goes = self._reboots_after == after
        if goes:
            self._reboots_after = ""
        return goes

    async def _identify(self, nonce: str) -> None:
        self._identity = ""
        answer = self._check(await self._call("identity", {"nonce": nonce}))
        self._identity = str(answer.document["identity"])

    async def _report(self) -> str:
        skewed = datetime.now(UTC) + timedelta(seconds=self.profile.clock_skew_s)
        hardware = inventory(self.profile, skewed.strftime("%Y-%m-%dT%H:%M:%SZ"))
        while True:
            self.says = "reports"
            answer = await self._call("report", {"sn": self.profile.says_sn, "hardware": hardware})
            if answer.status == 404:
                await asyncio.sleep(float(answer.document.get("retry_after") or RETRY_S))
                continue
            self._check(answer)
            if answer.document.get("next_action") == "stop":
                raise Ended(str(answer.document.get("reason")))
            return str(answer.document["task_id"])

    async def _approved(self, task_id: str) -> dict[str, Any]:
        path = f"approval/{self.profile.mac}?task_id={task_id}&wait={POLL_WAIT_S}"
        while True:
            self.says = "waits for its approval"
            answer = self._check(await self._call(path))
            if answer.document.get("status") == "approved":
                return dict(answer.document["plan"])
            if answer.document.get("status") != "pending":
                raise Ended(str(answer.document.get("reason") or answer.document.get("status")))

    async def _install(self, task_id: str) -> None:
        begun = time.monotonic()
        stage = STAGES[0][0]
        while (share := (time.monotonic() - begun) / self.profile.install_s) < 1:
            percent = round(99 * share, 1)
            if percent >= self.profile.crash_at:
                await self._break(task_id, percent)
            stage = next(name for name, until in STAGES if percent <= until)
            self.says = stage
            await self._progress(task_id, stage, percent)
            await asyncio.sleep(PROGRESS_EVERY_S * self._chance.uniform(1, 1 + JITTER))
        await self._break(task_id, self.profile.crash_at)  # a short install has few steps
        first = next(at for at, (name, _) in enumerate(STAGES) if name == stage)
        for name, until in STAGES[first:]:
            await self._progress(task_id, name, until)

    async def _break(self, task_id: str, percent: float) -> None:
        """What has to go wrong in its install does now, unless it did."""
        if Fault.CRASH in self._left:
            self._left.discard(Fault.CRASH)
            raise Crashed
        if Fault.DISK_FAILS in self._left:
            await self._fail(task_id, percent)

    async def _progress(self, task_id: str, stage: str, percent: float) -> None:
        loading = stage == "downloading"
        body: dict[str, Any] = {
            "task_id": task_id,
            "stage": stage,
            "percentage": percent,
            "message": f"{percent} % (simulated)",
            "log": [f"[INFO] {stage}: {percent} %"],
        }
        if loading:
            done = int(IMAGE_BYTES * max(0.0, percent - 20) / 40)
            rate = IMAGE_BYTES / (0.4 * self.profile.install_s)
            body |= {"bytes_done": done, "bytes_total": IMAGE_BYTES, "bytes_per_second": rate}
        self._check(await self._call("progress", body))

    async def _fail(self, task_id: str, percent: float) -> None:
        error = {"command": "mkfs.ext4 /dev/nvme0n1p3", "output": "I/O error", "hint": ""}
        said = {"task_id": task_id, "status": "failed", "progress": percent}
        await self._call("status", {**said, "message": "the disk gives errors", "error": error})
        raise Ended("its disk failed")

    async def _hand_over(self, task_id: str) -> None:
        self.installed += 1
        token = f"{self._chance.getrandbits(256):064x}"
        digest = hashlib.sha256(token.encode()).hexdigest()
        body = {"task_id": task_id, "status": "restarting", "progress": 99, "message": "restarts"}
        self._check(await self._call("status", {**body, "first_boot_sha256": digest}))
        self.says = "restarts"
        if await self._booted() or (self._reboots("restart") and await self._booted()):
            raise Ended("it would be installed once more")
        said = {"task_id": task_id, "mac_address": self.profile.mac, "token": token}
        await self._answered("installed", lambda: self._post(f"{API}/installed", said))
        self.says = "runs its own system"

    async def _call(self, name: str, fields: dict[str, Any] | None = None) -> Answered:
        path = f"{API}/agent/{name}"
        if fields is None:
            return await self._answered("approval", lambda: self._get(path))
        body = {"mac_address": self.profile.mac, "agent_id": self._agent_id, **fields}
        return await self._answered(name, lambda: self._post(path, body))

    async def _answered(self, name: str, send: Callable[[], Awaitable[Answered]]) -> Answered:
        """Call until there is an answer that is none of a server in trouble."""
        delay_s = RETRY_S
        while True:
            lost = self.profile.has(Fault.LOSS) and self._chance.random() < LOSS
            there = self._chance.random() < 0.5
            begun = time.monotonic()
            try:
                answer = None if lost and not there else await send()
            except (aiohttp.ClientError, TimeoutError, OSError):
                answer = None
            if answer and not lost:
                self._note(Call(name, begun, time.monotonic() - begun))
                if answer.status < 500 and answer.status != 429:
                    return answer
            await asyncio.sleep(delay_s * self._chance.uniform(0.5, 1.0))
            delay_s = min(2 * delay_s, LONGEST_RETRY_S)

    async def _text(self, path: str) -> str:
        async def send() -> Answered:
            assert self._http is not None  # noqa: S101 - it runs
            async with self._http.get(path) as answer:
                return Answered(answer.status, {"script": await answer.text()})

        return str((await self._answered("script", send)).document["script"])

    async def _get(self, path: str) -> Answered:
        return await self._request("GET", path, None)

    async def _post(self, path: str, body: dict[str, Any]) -> Answered:
        return await self._request("POST", path, body)

    async def _request(self, method: str, path: str, body: dict[str, Any] | None) -> Answered:
        assert self._http is not None  # noqa: S101 - it runs
        headers = {"Authorization": f"Bearer {self._identity}"} if self._identity else {}
        async with self._http.request(method, path, json=body, headers=headers) as answer:
            if renewed := answer.headers.get(IDENTITY):
                self._identity = renewed
            document = await answer.json(content_type=None)
            return Answered(answer.status, document if isinstance(document, dict) else {})

    def _check(self, answer: Answered) -> Answered:
        if answer.status >= 400:
            said = answer.document.get("detail") or answer.document.get("error")
            raise Ended(f"HTTP {answer.status}: {said}")
        return answer
