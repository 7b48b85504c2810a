"""Debian's own installer on a bare server: from the agent by kexec to its packages' repository.

It is the distribution's own kernel and initrd, of the package debian-installer-12-netboot-amd64.
The mirrors that tests have at hand hold no packages of the installer itself (`.udeb`), so it stops
when it has read the repository's index; how far it came is asserted, step by step.
"""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from lpmos.images.apt_sources import debian_sources
from lpmos.images.installers import InstallerFields, Installers
from lpmos.lab.acceleration import Acceleration
from lpmos.lab.api_client import TaskState
from lpmos.lab.machine import BlankDisk, MachineSpec, VirtualMachine
from lpmos.lab.rack import ADDRESS, Rack
from lpmos.lab.site import IDC, Site
from lpmos.model.diskplan import GIB
from lpmos.model.lifecycle import Status
from lpmos.model.newtask import NewTask
from lpmos.model.setup import NewSetup
from tests.support.package_upstream import Upstream, package_upstream
from tests.support.polling import until

FILES = Path("/usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64")
NETBOOT_TIMEOUT_S = 300.0
INSTALLER_TIMEOUT_S = 1800.0
HIDDEN = "'netcfg' selected"
"""A secret of the task that Debian's installer is sure to log."""

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(2700),
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(
        not FILES.is_dir(), reason="this distribution has no debian-installer-12-netboot-amd64"
    ),
]

MACHINE = MachineSpec(
    name="by-installer",
    sn="E2E-DI",
    mac="52:54:00:78:02:01",
    firmware="bios",
    disks=(BlankDisk(serial="ROOT-DI", size_bytes=12 * GIB),),
)


@dataclass(frozen=True)
class Way:
    """What came of it: the task, the installer's repository, and the log of the region."""

    task: TaskState
    upstream: Upstream
    site: Site
    machine: VirtualMachine

    @property
    def log(self) -> str:
        """All of the task's log, which the region keeps."""
        return (self.site.state_dir / "logs" / f"{self.task.task_id}.log").read_text()


@pytest.fixture(scope="module")
def installers_dir(images_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalog with the agent, and no OS but that of the installers put into it."""
    directory = tmp_path_factory.mktemp("installers")
    (directory / "agent").symlink_to(images_dir / "agent")
    return directory


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def way(
    tmp_path_factory: pytest.TempPathFactory, installers_dir: Path, accel: Acceleration
) -> AsyncIterator[Way]:
    """The server, as far as its installer goes."""
    directory = tmp_path_factory.mktemp("e2e-installer")
    behind = debian_sources("bookworm")[0].uris[0]
    async with Rack() as rack:
        with package_upstream(rack.holder_pid, ADDRESS, behind) as upstream:
            fields = InstallerFields(
                name="debian-12", family="debian", os_type="debian", os_version="12",
                repository=upstream.url,
            )  # fmt: skip
            Installers(installers_dir).add(fields, FILES / "linux", FILES / "initrd.gz")
            async with Site(
                rack,
                directory=directory,
                images_dir=installers_dir,
                kernel_arguments=accel.kernel_arguments,
            ) as site:
                await site.wait_offered("debian", "12")
                machine = await VirtualMachine.create(
                    rack, MACHINE, directory=directory, accel=accel
                )
                task = await installed_as_far_as_it_goes(site, machine, upstream)
                yield Way(task, upstream, site, machine)


async def installed_as_far_as_it_goes(
    site: Site, machine: VirtualMachine, upstream: Upstream
) -> TaskState:
    new = NewTask(
        idc=IDC,
        sn=MACHINE.sn,
        mac=MACHINE.mac,
        os_type="debian",
        os_version="12",
        hostname=MACHINE.name,
        method="installer",
        kernel_arguments=site.kernel_arguments,
        setup=NewSetup(secrets={"WORD": HIDDEN}, commands=("true",)),
    )
    task_id = (await site.api.create_task(new)).task_id

    async def waits_for_approval() -> bool:
        return (await site.api.task(task_id)).status is Status.PENDING_APPROVAL

    async def asked_for_packages() -> bool:
        return "/packages/dists/bookworm/Release" in upstream.asked

    await machine.power_on()
    await until(waits_for_approval, NETBOOT_TIMEOUT_S)
    await site.api.approve(task_id, "")
    await machine.console.wait_for("handed over to the installer", NETBOOT_TIMEOUT_S)
    await until(asked_for_packages, INSTALLER_TIMEOUT_S)
    task = await site.api.task(task_id)
    await machine.power_off()
    return task


async def test_installer_was_started_by_the_agent_without_a_restart(way: Way) -> None:
    said = way.machine.console.log.read_text()
    assert said.count("LPMOS: asking") == 1
    assert "starting the installer by kexec" in said
    tokens = set(re.findall(r"/installer/([^/\s]+)", way.log))
    assert tokens <= {"TOKEN"}, "a token is in the task's log"


async def test_installer_read_its_answers_and_told_its_progress(way: Way) -> None:
    steps = [(each.step, each.percent) for each in way.task.progress]
    assert [name for name, _ in steps][:2] == ["handing_over", "partitioning"]
    assert "read its answer file" in way.log


async def test_installers_own_log_and_its_kernels_arrived(way: Way) -> None:
    assert re.search(r"\[INFO\] \[installer\] syslog: .*main-menu", way.log)
    assert len(re.findall(r"\[INFO\] \[kernel\] syslog: .*Linux version", way.log)) == 1


async def test_log_that_arrived_has_no_secret_of_the_task(way: Way) -> None:
    assert HIDDEN not in way.log
    assert "syslog: (a line with a secret)" in way.log


async def test_packages_were_asked_for_through_the_region_which_keeps_them(way: Way) -> None:
    assert any(path.startswith("/packages/dists/bookworm/") for path in way.upstream.asked)
    kept = list((way.site.state_dir / "mirror").glob("*.json"))
    assert kept
