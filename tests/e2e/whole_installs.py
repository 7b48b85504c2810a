"""Each distribution's installer on a server, from netboot to its login prompt.

Beside the disk of the task stands one with another system's EFI system partition and swap, which
installers like to use; it has to be as it was, to the byte.

Not a part of `make test`: it needs a mirror with everything, hours without KVM, and 4 GiB of memory
for each server. `LPMOS_MIRROR=http://… make test-installers` runs it; below that URL stand the
distributions' trees under the names of `INSTALLERS`.
"""

import os
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

from lpmos.images.installers import InstallerFields, Installers
from lpmos.lab.acceleration import Acceleration
from lpmos.lab.display import LineDisplay
from lpmos.lab.journey import Journey
from lpmos.lab.machine import BlankDisk, MachineSpec, VirtualMachine
from lpmos.lab.rack import ADDRESS, Rack
from lpmos.lab.site import IDC, Site
from lpmos.model.diskplan import GIB, RootDiskHints
from lpmos.model.installer import Family
from lpmos.model.newtask import NewTask
from tests.support.other_system import digest, put_other_system
from tests.support.package_upstream import package_upstream

DOWNLOAD_TIMEOUT_S = 600.0

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(4 * 3600)]


@dataclass(frozen=True)
class Case:
    """An installer: where its files, its packages and its medium are below the mirror."""

    family: Family
    os_type: str
    os_version: str
    kernel: str
    initrd: str
    repository: str
    media: str | None = None


DEBIAN = "debian/dists/{}/main/installer-amd64/current/images/netboot/debian-installer/amd64"
ROCKY = "rocky/9/BaseOS/x86_64/os"
LEAP = "opensuse/distribution/leap/15.6/repo/oss"
UBUNTU = "ubuntu-releases/24.04"
INSTALLERS = (
    Case("debian", "debian", "12", f"{DEBIAN.format('bookworm')}/linux",
         f"{DEBIAN.format('bookworm')}/initrd.gz", "debian"),
    Case("debian", "debian", "13", f"{DEBIAN.format('trixie')}/linux",
         f"{DEBIAN.format('trixie')}/initrd.gz", "debian"),
    Case("ubuntu", "ubuntu", "24.04", f"{UBUNTU}/netboot/amd64/linux",
         f"{UBUNTU}/netboot/amd64/initrd", "ubuntu",
         f"{UBUNTU}/ubuntu-24.04-live-server-amd64.iso"),
    Case("rhel", "rocky", "9", f"{ROCKY}/images/pxeboot/vmlinuz",
         f"{ROCKY}/images/pxeboot/initrd.img", ROCKY),
    Case("suse", "opensuse-leap", "15.6", f"{LEAP}/boot/x86_64/loader/linux",
         f"{LEAP}/boot/x86_64/loader/initrd", LEAP),
)  # fmt: skip


def fetched(url: str, place: Path) -> Path:
    answering = urllib.request.urlopen(url, timeout=DOWNLOAD_TIMEOUT_S)  # noqa: S310 - the mirror
    with answering as answer, place.open("wb") as file:
        while part := answer.read(1 << 20):
            file.write(part)
    return place


@pytest.mark.parametrize("case", INSTALLERS, ids=lambda case: f"{case.os_type}-{case.os_version}")
@pytest.mark.parametrize("firmware", ["bios", "uefi"])
async def test_installer_goes_to_the_login_prompt(
    case: Case, firmware: str, tmp_path: Path, images_dir: Path, accel: Acceleration
) -> None:
    mirror = os.environ["LPMOS_MIRROR"].rstrip("/")
    directory = tmp_path / "images"
    directory.mkdir()
    (directory / "agent").symlink_to(images_dir / "agent")
    release = case.os_version.replace(".", "-")
    name = f"{case.os_type}-{release}-{firmware}".replace("opensuse-", "")
    spec = MachineSpec(
        name=name,
        sn=f"WHOLE-{name}".upper(),
        mac="52:54:00:78:03:01",
        firmware="uefi" if firmware == "uefi" else "bios",
        disks=(BlankDisk(serial="OTHER-W"), BlankDisk(serial="ROOT-W", size_bytes=24 * GIB)),
        memory_mib=4096,
    )
    new = NewTask(
        idc=IDC,
        sn=spec.sn,
        mac=spec.mac,
        os_type=case.os_type,
        os_version=case.os_version,
        hostname=name,
        method="installer",
        root_disk=RootDiskHints(serial="ROOT-W"),
        kernel_arguments=accel.kernel_arguments,
    )
    async with Rack() as rack:
        with package_upstream(rack.holder_pid, ADDRESS, mirror) as upstream:
            root = upstream.url
            fields = InstallerFields(
                name=name,
                family=case.family,
                os_type=case.os_type,
                os_version=case.os_version,
                repository=f"{root}/{case.repository}",
                media=f"{root}/{case.media}" if case.media else None,
            )
            kernel = fetched(f"{mirror}/{case.kernel}", tmp_path / "kernel")
            Installers(directory).add(
                fields, kernel, fetched(f"{mirror}/{case.initrd}", tmp_path / "initrd")
            )
            async with Site(
                rack,
                directory=tmp_path,
                images_dir=directory,
                kernel_arguments=accel.kernel_arguments,
            ) as site:
                await site.wait_offered(case.os_type, case.os_version)
                machine = await VirtualMachine.create(rack, spec, directory=tmp_path, accel=accel)
                put_other_system(machine.disk(0))
                before = digest(machine.disk(0))
                display = LineDisplay(Console(stderr=True))
                journey = Journey(machine, new, api=site.api, display=display, approve=True)
                await journey.run()
                assert journey.progress.up, journey.progress.failed
                await machine.power_off()
                assert digest(machine.disk(0)) == before
