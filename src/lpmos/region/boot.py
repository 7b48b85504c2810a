"""HTTP boot (B7): the scripts of machines and the files that they load.

The rule: a machine always gets a script that it can run, also with an error's status: the text
behind a 503 waits and asks again. Files are looked up by name in a table or by digest in the
catalog; no part of a request is ever a part of a path.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import msgspec
import structlog
from aiohttp import web

from lpmos.core.agents import Agents
from lpmos.core.problems import problem_for
from lpmos.install.installers import FILES
from lpmos.model.bootplan import BootAgent, BootInstaller, BootLocalDisk, BootPlan
from lpmos.model.errors import FieldProblem, ImageError, InvalidInput, LpmosError, NotFound
from lpmos.model.fingerprint import usable_sn
from lpmos.model.installer import InstallerManifest
from lpmos.model.machine import parse_mac
from lpmos.model.task import Task
from lpmos.region import scripts
from lpmos.region.admission import AddressTaken, Admission
from lpmos.region.agent_gate import address_of
from lpmos.region.dnsmasq import LOADER_FILES
from lpmos.region.evidence import TOLD, SentFile
from lpmos.region.handover_plans import HandoverPlans
from lpmos.region.reached import Reached
from lpmos.region.seldom import SAY_EVERY_S, SAY_LIMIT, Seldom
from lpmos.region.sources import Sources

IMAGE_RETRY_S = 30
"""How long a machine waits where the region lacks the agent's image."""

OWN_DISK = "this machine has its system"
"""All that is said of it to who asks from another machine's address."""

ASK_WHO = "look which machine asks in another one's name, or which two have one address"

RUNS = {"i386": ("x86_64",), "x86_64": ("x86_64",), "arm64": ("aarch64",), "arm32": ("armhf",)}
"""The architectures of images by iPXE's name of its own."""

_TOLD_TO: Mapping[type[BootPlan], str] = MappingProxyType(
    {
        BootAgent: "boot the agent",
        BootInstaller: "boot the installer",
        BootLocalDisk: "boot your own disk",
    }
)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_WORD = re.compile(r"[A-Za-z0-9_.-]{1,40}")


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
    ) -> None:
        self._agents = agents
        self._sources = sources
        self._catalog = sources.catalog
        self._handovers = handovers
        self._admission = admission
        self._reached = reached
        self._loader_dir = loader_dir
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
        try:
            asked = parse_boot_request(request.query)
            self._admission.check(asked.mac, address_of(request))
            plan, task = await self._agents.boot(asked.mac, asked.sn)
            if isinstance(plan, BootInstaller) and task:  # all that can fail comes before the note
                text = await self._installer_script(task, plan.reason, request)
                await self._agents.installer_given(asked.mac, task)
            else:
                text = self._render(plan, asked, request)
        except AddressTaken as error:
            return self._asked_elsewhere(request, asked, error)
        except LpmosError as error:
            return self._refused(request, error)
        request[TOLD] = f"{_TOLD_TO.get(type(plan), 'wait')}: {plan.reason}"
        self._log.info(
            "boot script",
            plan=type(plan).__name__,
            reason=plan.reason,
            **{name: value for name, value in msgspec.structs.asdict(asked).items() if value},
        )
        return _script(200, text)

    async def loader(self, request: web.Request) -> web.FileResponse:
        """A boot loader, for firmware that boots by HTTP."""
        name = request.match_info["name"]
        if name not in LOADER_FILES or not (self._loader_dir / name).is_file():
            raise NotFound(f"there is no boot loader {name[:64]!r}")
        return SentFile(self._loader_dir / name)

    async def agent(self, request: web.Request) -> web.FileResponse:
        """The agent's kernel or initramfs, by digest."""
        sha256, name = request.match_info["sha256"], request.match_info["name"]
        image = self._catalog.agent()
        files = {
            ("vmlinuz", image.kernel_sha256): image.kernel,
            ("initramfs", image.initramfs_sha256): image.initramfs,
        }
        if (path := files.get((name, sha256))) is None:
            raise NotFound("there is no such agent file; a newer one may have replaced it")
        return SentFile(path)

    async def image(self, request: web.Request) -> web.FileResponse:
        """An OS image's archive, by digest."""
        sha256 = request.match_info["sha256"]
        found = self._catalog.by_digest(sha256) if _SHA256.fullmatch(sha256) else None
        if found is None:
            raise NotFound(f"there is no image with the digest {sha256[:64]!r}")
        return SentFile(found[1])

    async def installer(self, request: web.Request) -> web.FileResponse:
        """An installer's kernel or initrd, by digest."""
        sha256 = request.match_info["sha256"]
        path = self._sources.installers.by_digest(sha256)
        if path is None:
            raise NotFound(f"there is no installer's file with the digest {sha256[:64]!r}")
        return SentFile(path)

    async def ca(self, _: web.Request) -> web.Response:
        """The CA of the agents' TLS; its fingerprint is in the kernel line."""
        if (pem := self._admission.ca_pem) is None:
            raise NotFound("this region answers agents without TLS")
        return web.Response(text=pem, content_type="application/x-pem-file")

    async def _installer_script(self, task: Task, reason: str, request: web.Request) -> str:
        """The one script by which a machine starts its installer; nothing is noted yet."""
        base_url = self._reached.url(request)
        manifest = self._sources.of(task)
        if not isinstance(manifest, InstallerManifest):
            raise NotFound(f"the installer of task {task.task_id} was removed from its region")
        planned = await self._handovers.plan(task, manifest, address_of(request), base_url)
        if planned.installer is None:
            raise NotFound(f"task {task.task_id} is not installed by an installer")
        files = scripts.InstallerFiles(
            kernel=planned.installer.kernel.url,
            initrd=planned.installer.initrd.url,
            line=planned.installer.kernel_arguments,
        )
        return scripts.installer_script(base_url, files, reason)

    def _render(self, plan: BootPlan, asked: BootRequest, request: web.Request) -> str:
        base_url = self._reached.url(request)
        if isinstance(plan, BootLocalDisk):
            return scripts.local_disk_script(plan.reason)
        if isinstance(plan, BootInstaller):  # another call is given its one script at this moment
            return scripts.wait_script(base_url, plan.reason, scripts.RETRY_S)
        if not isinstance(plan, BootAgent):
            return scripts.wait_script(base_url, plan.reason, plan.retry_after_s)
        try:
            image = self._catalog.agent()
        except ImageError as error:
            self._log.error("a machine cannot boot the agent", error=str(error))
            return scripts.wait_script(base_url, str(error), IMAGE_RETRY_S)
        if not runs_on(image.architecture, asked.architecture):
            text = f"no agent image for {asked.architecture} here, only for {image.architecture}"
            self._log.error("a machine cannot boot the agent", mac=asked.mac, error=text)
            return scripts.wait_script(base_url, text, IMAGE_RETRY_S)
        files = scripts.AgentFiles(
            kernel=f"/boot/agent/{image.kernel_sha256}/vmlinuz",
            initramfs=f"/boot/agent/{image.initramfs_sha256}/initramfs",
        )
        call = self._admission.call(asked.mac, address_of(request), base_url)
        return scripts.agent_script(base_url, files, call, plan.reason)

    def _asked_elsewhere(
        self, request: web.Request, asked: BootRequest, error: AddressTaken
    ) -> web.Response:
        """The script for who asks from another machine's address: nothing is noted, nothing told.

        A machine that has its system boots it all the same.
        """
        address = address_of(request)
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
            return self._refused(request, unknown)
        if isinstance(plan, BootLocalDisk):
            return _script(200, scripts.local_disk_script(OWN_DISK))
        text = scripts.wait_script(self._reached.url(request), str(error), scripts.RETRY_S)
        return _script(200, text)

    def _refused(self, request: web.Request, error: LpmosError) -> web.Response:
        problem = problem_for(error)
        self._log.warning(
            "no boot script", status=problem.status, error=str(error), ip=request.remote
        )
        text = scripts.wait_script(self._reached.url(request), str(error), scripts.RETRY_S)
        return _script(problem.status, text, problem.headers)


def _script(status: int, text: str, headers: Mapping[str, str] | None = None) -> web.Response:
    sent = {"Cache-Control": "no-store", **(headers or {})}
    return web.Response(status=status, text=text, content_type="text/plain", headers=sent)


def _word(text: str | None) -> str | None:
    """A short word for the log; None for anything else."""
    return text if text and _WORD.fullmatch(text) else None
