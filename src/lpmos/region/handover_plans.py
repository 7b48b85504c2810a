"""The plans by which agents hand over to installers, and the answer files these then ask for.

The rule: a plan is given out only where its answer file can be rendered at that moment, so a wrong
template fails the task before the disk is touched. Nothing of it is kept: the answer that the
installer asks for is rendered anew.
"""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from lpmos.install import answers, winpe
from lpmos.install.answers.order import InstallerUrls, order_of
from lpmos.install.installers import FILES, disk_mark, plan_handover
from lpmos.model.errors import NotFound
from lpmos.model.installer import InstallerManifest
from lpmos.model.installplan import InstallPlan
from lpmos.model.setup import TaskSecrets
from lpmos.model.task import Task
from lpmos.region.installer_templates import InstallerTemplates
from lpmos.region.installer_tokens import InstallerTokens, first_boot_token
from lpmos.region.mirror_cache import media_path, mirror_path

PREFIX = "/installer"

OpenSecrets = Callable[[Task], Awaitable[TaskSecrets]]


class HandoverPlans(msgspec.Struct, frozen=True):
    """What they are made with: the tokens of installers, operators' templates, tasks' secrets.

    `kernel_arguments` are for each installer's kernel.
    """

    tokens: InstallerTokens
    templates: InstallerTemplates
    open_secrets: OpenSecrets
    kernel_arguments: str = ""

    async def plan(
        self, task: Task, manifest: InstallerManifest, address: str, region_url: str
    ) -> InstallPlan:
        """The plan for the agent of an approved task.

        Args:
            task: what was approved.
            manifest: the installer of its OS.
            address: the machine's.
            region_url: where the machine finds the region; plain HTTP.

        Raises:
            LpmosError: the template, the task's secrets or the plan are at fault.
            Unavailable: the store is away, and the template was not read yet.
        """
        token = self.tokens.token(task, address)
        await self.answer(task, manifest, token, region_url)
        if manifest.windows:
            await self.windows_file(task, manifest, token, region_url, winpe.SCRIPT)
        media = media_path(manifest)
        return plan_handover(
            task,
            manifest,
            seed_url=f"{region_url}{PREFIX}/{token}",
            mirror_url=installer_urls(manifest, token, region_url).mirror,
            media_url=f"{region_url}{media}" if media else None,
            kernel_arguments=self.kernel_arguments,
        )

    async def answer(
        self, task: Task, manifest: InstallerManifest, token: str, region_url: str
    ) -> str:
        """The answer file of a task's installer; raises as `plan`."""
        template = await self.templates.content(answers.TEMPLATE_NAMES[manifest.family])
        secrets = await self.open_secrets(task)
        urls = installer_urls(manifest, token, region_url)
        variables = answers.variables(task, manifest, urls, secrets)
        return await asyncio.to_thread(answers.render, manifest.family, variables, template)

    async def windows_file(
        self, task: Task, manifest: InstallerManifest, token: str, region_url: str, name: str
    ) -> str:
        """A batch file of Windows's install; raises as `plan`.

        Raises:
            NotFound: there is no such file, or the installer is not Windows's.
        """
        secrets = await self.open_secrets(task)
        order = order_of(task, manifest, installer_urls(manifest, token, region_url), secrets)
        files = (
            winpe.pe_files(order, disk_mark(task))
            | winpe.system_files(order, first_boot_token(token))
            if manifest.windows
            else {}
        )
        if name not in files:
            raise NotFound(f"there is no file {name[:64]!r} of this install")
        return files[name]


def installer_urls(manifest: InstallerManifest, token: str, region_url: str) -> InstallerUrls:
    """Where an installer finds what it needs; its repository by the region's mirror."""
    here = f"{region_url}{PREFIX}/{token}"
    own = manifest.repository.startswith("/")
    path = manifest.repository if own else mirror_path(manifest)
    if manifest.windows:
        path = f"{FILES}/{manifest.windows.install.sha256}"
    return InstallerUrls(
        answer=f"{here}/answer",
        progress=f"{here}/progress",
        failed=f"{here}/failed",
        installed=f"{here}/installed",
        first_boot=f"{here}/first-boot",
        log=f"{here}/log",
        mirror=f"{region_url}{path}",
    )
