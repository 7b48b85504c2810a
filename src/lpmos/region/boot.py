"""HTTP boot (B7): the scripts of machines and the files that they load.

The rule: a machine always gets a script that it can run, also with an error's status: the text
behind a 503 waits and asks again. Files are looked up by name in a table or by digest in the
catalog; no part of a request is ever a part of a path.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, Protocol

import msgspec
import structlog
from aiohttp import web

from lpmos.core.agentrun import AgentRun
from lpmos.core.agents import Agents
from lpmos.core.claim import claimed_by
from lpmos.core.problems import problem_for
from lpmos.core.tracing import about
from lpmos.images.agent_manifest import AgentImage
from lpmos.install.installers import FILES
from lpmos.model.bootplan import BootAgent, BootInstaller, BootLocalDisk, BootPlan, Wait
from lpmos.model.errors import (
    Conflict,
    FieldProblem,
    ImageError,
    InvalidInput,
    LpmosError,
    NotFound,
)
from lpmos.model.evidence import WAIT
from lpmos.model.fingerprint import usable_sn
from lpmos.model.installer import InstallerManifest
from lpmos.model.machine import parse_mac
from lpmos.model.task import Task
from lpmos.model.trace import root_of
from lpmos.region import scripts
from lpmos.region.admission import AddressTaken, Admission
from lpmos.region.agent_gate import address_of
from lpmos.region.dnsmasq import LOADER_FILES
from lpmos.region.evidence import TOLD, SentFile
from lpmos.region.handover_plans import HandoverPlans
from lpmos.region.reached import Reached
from lpmos.region.seldom import SAY_EVERY_S, SAY_LIMIT, Seldom
from lpmos.region.sources import Sources, grub_given, ipv4_needed

IMAGE_RETRY_S = 30
"""How long a machine waits where the region lacks the agent's image."""

OWN_DISK = "this machine has its system"
"""All that is said of it to who asks from another machine's address."""

ASK_WHO = "look which machine asks in another one's name, or which two have one address"

RUNS = {"i386": ("x86_64",), "x86_64": ("x86_64",), "arm64": ("aarch64",), "arm32": ("armhf",)}
"""The architectures of images by iPXE's name of its own."""

_TOLD_TO: Mapping[type[BootPlan], str] = MappingProxyType(
    {
        BootAgent: "boot the agent: ",
        BootInstaller: "boot the installer: ",
        BootLocalDisk: "boot your own disk: ",
        Wait: WAIT,
    }
)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_WORD = re.compile(r"[A-Za-z0-9_.-]{1,40}")


class Words(Protocol):
    """The scripts of one kind of loader: `scripts` for iPXE, `grub` for GRUB."""

    def agent_script(
        self, base_url: str, files: scripts.AgentFiles, call: scripts.AgentCall, reason: str, /
    ) -> str:
        """Load the agent."""

    def installer_script(self, base_url: str, files: scripts.InstallerFiles, reason: str, /) -> str:
        """Load an installer."""

    def local_disk_script(self, reason: str, installed_by: str | None = None, /) -> str:
        """Start the own disk, where it can be told by the task that installed it."""

    def wait_script(self, base_url: str, reason: str, retry_after_s: int, /) -> str:
        """Ask again."""


class Caller(NamedTuple):
    """Who asks, where it reached the region, and what it understands."""

    address: str
    base_url: str
    words: Words


class Answer(NamedTuple):
    """A script; `told` is what it lets the machine do, and why."""

    status: int
    text: str
    told: str
    headers: Mapping[str, str] | None = None


class BootRequest(msgspec.Struct, frozen=True):
    """Who asks for a script; `sn` is None where the firmware has none that names the machine."""

    mac: str
    sn: str | None
    uuid: str | None
    architecture: str | None
    platform: str | None


def parse_boot_request(query: Mapping[str, str]) -> BootRequest:
    """The query of `GET /boot/ipxe`.

    Raises:
        InvalidInput: `mac` is missing or not a MAC address.
    """
    if not (mac := query.get("mac")):
        raise InvalidInput(FieldProblem("mac", "is missing"))
    return BootRequest(
        mac=parse_mac(mac),
        sn=usable_sn(query.get("sn")),
        uuid=_word(query.get("uuid")),
        architecture=_word(query.get("arch")),
        platform=_word(query.get("platform")),
    )


def runs_on(image: str, asked: str | None) -> bool:
    """Whether a machine whose iPXE was built for `asked` runs an image's kernel.

    iPXE for BIOS is built for i386, whatever the machine is (`buildarch` of ipxe.org/cfg).
    """
    return asked is None or image in RUNS.get(asked, (image,))


class Boot:
    """The handlers below `/boot/`."""

    def __init__(
        self,
        agents: Agents,
        sources: Sources,
        handovers: HandoverPlans,
        *,
        admission: Admission,
        reached: Reached,
        loader_dir: Path,
        idc: str,
        kernel_arguments: str = "",
    ) -> None:
        """`kernel_arguments` are for the agent's kernel."""
        self._agents = agents
        self._sources = sources
        self._catalog = sources.catalog
        self._handovers = handovers
        self._admission = admission
        self._reached = reached
        self._loader_dir = loader_dir
        self._kernel_arguments = kernel_arguments
        self._said = Seldom(SAY_LIMIT, SAY_EVERY_S)
        self._log = structlog.get_logger().bind(idc=idc)

    def routes(self) -> list[web.RouteDef]:
        """The table of this part."""
        return [
            web.get("/boot/boot.ipxe", self.entry),
            web.get("/boot/ipxe", self.script),
            web.get("/boot/ca.pem", self.ca),
            web.get("/boot/loader/{name}", self.loader),
            web.get("/boot/agent/{sha256}/{name}", self.agent),
            web.get("/boot/images/{sha256}", self.image),
            web.get(f"{FILES}/{{sha256}}", self.installer),
        ]

    async def entry(self, request: web.Request) -> web.Response:
        """The script that every machine begins with."""
        return _script(200, scripts.entry_script(self._reached.url(request)))

    async def script(self, request: web.Request) -> web.Response:
        """The script of one machine."""
        caller = Caller(address_of(request), self._reached.url(request), scripts)
        answer = await self.answer(request.query, caller)
        request[TOLD] = answer.told
        return _script(answer.status, answer.text, answer.headers)

    async def answer(self, query: Mapping[str, str], caller: Caller) -> Answer:
        """The script of one machine, in the words of its loader."""
        try:
            asked = parse_boot_request(query)
            self._admission.check(asked.mac, caller.address)
            plan, task, image = await self._plan(asked)
            if task:
                about(task)
            if isinstance(plan, BootInstaller) and task:  # all that can fail comes before the note
                if waiting := self._waits_for_ipv4(task, caller):
                    return waiting
                await self._check_starts(task, asked.mac, caller)
                text = await self._installer_script(task, plan.reason, caller)
                await self._agents.installer_given(asked.mac, task)
            elif isinstance(plan, BootAgent) and image:
                text = self._agent_script(image, plan.reason, asked.mac, caller, task)
            else:
                text = _render(plan, caller)
        except AddressTaken as error:
            return self._asked_elsewhere(caller, asked, error)
        except LpmosError as error:
            return self._refused(caller, error)
        self._log.info(
            "boot script",
            plan=type(plan).__name__,
            reason=plan.reason,
            **{name: value for name, value in msgspec.structs.asdict(asked).items() if value},
        )
        return Answer(200, text, _TOLD_TO[type(plan)] + plan.reason)

    async def loader(self, request: web.Request) -> web.FileResponse:
        """A boot loader, for firmware that boots by HTTP."""
        name = request.match_info["name"]
        if name not in LOADER_FILES or not (self._loader_dir / name).is_file():
            raise NotFound(f"there is no boot loader {name[:64]!r}")
        return SentFile(self._loader_dir / name)

    async def agent(self, request: web.Request) -> web.FileResponse:
        """The agent's kernel or initramfs, by digest."""
        return SentFile(self.agent_file(request.match_info["sha256"], request.match_info["name"]))

    def agent_file(self, sha256: str, name: str) -> Path:
        """The agent's `vmlinuz` or `initramfs`.

        Raises:
            NotFound: it is another's digest.
        """
        image = self._catalog.agent()
        files = {
            ("vmlinuz", image.kernel_sha256): image.kernel,
            ("initramfs", image.initramfs_sha256): image.initramfs,
        }
        if (path := files.get((name, sha256))) is None:
            raise NotFound("there is no such agent file; a newer one may have replaced it")
        return path

    async def image(self, request: web.Request) -> web.FileResponse:
        """An OS image's archive, by digest."""
        sha256 = request.match_info["sha256"]
        found = self._catalog.by_digest(sha256) if _SHA256.fullmatch(sha256) else None
        if found is None:
            raise NotFound(f"there is no image with the digest {sha256[:64]!r}")
        return SentFile(found[1])

    async def installer(self, request: web.Request) -> web.FileResponse:
        """An installer's kernel or initrd, by digest."""
        return SentFile(self.installer_file(request.match_info["sha256"]))

    def installer_file(self, sha256: str) -> Path:
        """A file of an installer.

        Raises:
            NotFound: there is none of this digest.
        """
        path = self._sources.installers.by_digest(sha256)
        if path is None:
            raise NotFound(f"there is no installer's file with the digest {sha256[:64]!r}")
        return path

    async def ca(self, _: web.Request) -> web.Response:
        """The CA of the agents' TLS; its fingerprint is in the kernel line."""
        if (pem := self._admission.ca_pem) is None:
            raise NotFound("this region answers agents without TLS")
        return web.Response(text=pem, content_type="application/x-pem-file")

    def _waits_for_ipv4(self, task: Task, caller: Caller) -> Answer | None:
        """What a machine is told that restarts into its installer over IPv6; its script is kept."""
        manifest = self._sources.of(task)
        if not isinstance(manifest, InstallerManifest) or ":" not in caller.address:
            return None
        why = f"{ipv4_needed(manifest.name).reason}: start it by PXE over IPv4"
        if self._said.takes((task.task_id, caller.address)):
            self._log.warning("an installer waits for IPv4", task_id=task.task_id, reason=why)
        return _waits(caller, why)

    async def _check_starts(self, task: Task, mac: str, caller: Caller) -> None:
        """Fail a task whose installer the machine's loader cannot start, and say so.

        Raises:
            Conflict: it is one; its disk is marked already, for the loader was another before.
        """
        manifest = self._sources.of(task)
        windows = isinstance(manifest, InstallerManifest) and manifest.windows is not None
        if caller.words is scripts or not windows:
            return
        error = grub_given("it asked for its script by GRUB")
        run = AgentRun(mac=mac, agent_id=claimed_by(task) or "")
        await self._agents.failed(run, task.task_id, error)
        raise Conflict(error.reason)

    async def _installer_script(self, task: Task, reason: str, caller: Caller) -> str:
        """The one script by which a machine starts its installer; nothing is noted yet."""
        manifest = self._sources.of(task)
        if not isinstance(manifest, InstallerManifest):
            raise NotFound(f"the installer of task {task.task_id} was removed from its region")
        planned = await self._handovers.plan(task, manifest, caller.address, caller.base_url)
        if planned.installer is None:
            raise NotFound(f"task {task.task_id} is not installed by an installer")
        if manifest.windows:
            windows = scripts.WindowsFiles(
                wimboot=planned.installer.kernel.url,
                wim=planned.installer.initrd.url,
                also=tuple((each.name, each.url) for each in planned.installer.also),
            )
            return scripts.windows_script(caller.base_url, windows, reason)
        files = scripts.InstallerFiles(
            kernel=planned.installer.kernel.url,
            initrd=planned.installer.initrd.url,
            line=planned.installer.kernel_arguments,
        )
        return caller.words.installer_script(caller.base_url, files, reason)

    async def _plan(self, asked: BootRequest) -> tuple[BootPlan, Task | None, AgentImage | None]:
        """What a machine boots, and the agent's image if that can be it.

        Where this region has none for it the machine waits; it was sent nothing, so that its task
        stays as it is.
        """
        plan, task = self._agents.boot_plan(asked.mac, asked.sn)
        if not isinstance(plan, BootAgent):
            return plan, task, None
        try:
            image = self._image(asked.architecture)
        except ImageError as error:
            self._log.error("a machine cannot boot the agent", mac=asked.mac, error=str(error))
            return Wait(str(error), IMAGE_RETRY_S), task, None
        plan, task = await self._agents.boot(asked.mac, asked.sn)
        return plan, task, image

    def _image(self, architecture: str | None) -> AgentImage:
        """The agent's image.

        Raises:
            ImageError: there is none, it is damaged, or its kernel does not run there.
        """
        image = self._catalog.agent()
        if not runs_on(image.architecture, architecture):
            raise ImageError(
                f"no agent image for {architecture} here, only for {image.architecture}"
            )
        return image

    def _agent_script(
        self, image: AgentImage, reason: str, mac: str, caller: Caller, task: Task | None
    ) -> str:
        files = scripts.AgentFiles(
            kernel=f"/boot/agent/{image.kernel_sha256}/vmlinuz",
            initramfs=f"/boot/agent/{image.initramfs_sha256}/initramfs",
            arguments=self._kernel_arguments,
        )
        call = self._admission.call(mac, caller.address, caller.base_url)
        if task and not task.finished:
            call = msgspec.structs.replace(call, trace=root_of(task))
        return caller.words.agent_script(caller.base_url, files, call, reason)

    def _asked_elsewhere(self, caller: Caller, asked: BootRequest, error: AddressTaken) -> Answer:
        """The script for who asks from another machine's address: it hears nothing of the task.

        A machine that has its system boots it all the same.
        """
        address = caller.address
        if self._said.takes((asked.mac, address)):
            self._log.warning(
                "no nonce for a machine",
                mac=asked.mac,
                ip=address,
                leased_to=error.holder,
                hint=ASK_WHO,
            )
        try:
            plan, _ = self._agents.boot_plan(asked.mac, asked.sn)
        except LpmosError as unknown:
            return self._refused(caller, unknown)
        if isinstance(plan, BootLocalDisk):
            script = caller.words.local_disk_script(OWN_DISK, plan.installed_by)
            return Answer(200, script, _TOLD_TO[BootLocalDisk] + OWN_DISK)
        return _waits(caller, str(error), told=f"its address {address} is another machine's")

    def _refused(self, caller: Caller, error: LpmosError) -> Answer:
        problem = problem_for(error)
        self._log.warning(
            "no boot script", status=problem.status, error=str(error), ip=caller.address
        )
        return _waits(caller, str(error), status=problem.status, headers=problem.headers)


def _render(plan: BootPlan, caller: Caller) -> str:
    """The script of a plan that loads nothing from here."""
    if isinstance(plan, BootLocalDisk):
        return caller.words.local_disk_script(plan.reason, plan.installed_by)
    pause_s = plan.retry_after_s if isinstance(plan, Wait) else scripts.RETRY_S
    return caller.words.wait_script(caller.base_url, plan.reason, pause_s)


def _waits(
    caller: Caller,
    why: str,
    *,
    told: str | None = None,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """The answer that has a machine ask again; `told` is why in few words, where `why` has many."""
    text = caller.words.wait_script(caller.base_url, why, scripts.RETRY_S)
    return Answer(status, text, WAIT + (told or why), headers)


def _script(status: int, text: str, headers: Mapping[str, str] | None = None) -> web.Response:
    sent = {"Cache-Control": "no-store", **(headers or {})}
    return web.Response(status=status, text=text, content_type="text/plain", headers=sent)


def _word(text: str | None) -> str | None:
    """A short word for the log; None for anything else."""
    return text if text and _WORD.fullmatch(text) else None
