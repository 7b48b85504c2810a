"""`python -m tests.support.screenshots FOLDER`: every page of the dashboard as a picture.

Desktop and phone, light and dark, over a control plane with something of everything.
"""

import asyncio
import shutil
import sys
import tempfile
import uuid
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from playwright.async_api import async_playwright

from lpmos.core.clock import utc_now
from lpmos.model import boot
from lpmos.model.diskplan import GIB, RootDiskHints, plan_disk
from lpmos.model.evidence import Evidence, Sign, Transfer
from lpmos.model.lifecycle import Status
from lpmos.model.region import DhcpNetworkState, Heartbeat
from lpmos.model.task import Progress, StatusChange
from lpmos.store import keys, records
from tests.support.builders import make_inventory, make_task
from tests.support.control_plane import RunningControlPlane, running_with_debian
from tests.support.dashboard import PLACES, details, opened
from tests.support.populated import populate

ARGUMENTS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking")
SIZES = {"desktop": (1360, 900), "phone": (390, 844)}
AT_WORK = 12
BOOTING = str(uuid.UUID(int=2000, version=4))
COLOURS: tuple[Literal["light", "dark"], ...] = ("light", "dark")


async def at_work(control_plane: RunningControlPlane) -> None:
    """Machines that are being installed, in a region that is there."""
    now = utc_now()
    services = {"dhcp": "ok", "http": "ok", "tftp": "ok"}
    networks = (
        DhcpNetworkState(
            interface="eno1",
            mode="full",
            subnet="192.0.2.0/24",
            range="192.0.2.100-192.0.2.199",
            size=100,
            leases=96,
        ),
        DhcpNetworkState(interface="eno1.10", mode="proxy", subnet="198.51.100.0/24"),
    )
    beat = Heartbeat(
        idc="dc1", identity="boot1:1", at=now, services=services, since=now, dhcp=networks
    )
    await control_plane.store.put(keys.heartbeat("dc1"), records.encode(beat))
    inventory = make_inventory()
    plan = plan_disk(inventory, "auto", RootDiskHints(), GIB)
    for number in range(AT_WORK):
        begun = now - timedelta(minutes=number + 1)
        waiting = number % 3 == 0
        status = Status.PENDING_APPROVAL if waiting else Status.INSTALLING
        done = GIB * (number + 1) // (AT_WORK + 1)
        progress = Progress(
            step="downloading",
            percent=100 * done / GIB,
            timestamp=now,
            message="the image is written to /dev/vda",
            bytes_done=done,
            bytes_total=GIB,
            bytes_per_second=9e7,
        )
        await control_plane.put_task(
            make_task(
                task_id=str(uuid.UUID(int=1000 + number, version=4)),
                sn=f"CZ2{number:05}",
                mac=f"52:54:00:00:02:{number:02x}",
                hostname=f"web-{number + 1:02}",
                status=status,
                status_history=(StatusChange(status=status, timestamp=begun),),
                hardware=inventory,
                plan=plan,
                progress=() if waiting else (progress,),
                created_at=begun,
                updated_at=now,
            )
        )


async def booting(control_plane: RunningControlPlane) -> None:
    """A machine on its way to its agent, as its region sees it."""
    begun = utc_now() - timedelta(seconds=55)

    def at(seconds: float) -> datetime:
        return begun + timedelta(seconds=seconds)

    states = ((Status.PENDING, 0), (Status.READY, 1), (Status.BOOTING, 33))
    task = make_task(
        task_id=BOOTING,
        sn="CZ299999",
        mac="52:54:00:00:02:ff",
        hostname="db-01",
        status=Status.BOOTING,
        status_history=tuple(StatusChange(status=s, timestamp=at(t)) for s, t in states),
        created_at=begun,
        updated_at=at(33),
    )
    signs = (
        *((boot.DHCP, 18), (boot.ADDRESS, 19.2), (boot.LOADER, 21)),
        *((boot.DHCP, 28), (boot.ADDRESS, 28.4), (boot.IPXE, 31.9), (boot.SCRIPT, 33)),
        *((boot.KERNEL_ASKED, 33.1), (boot.KERNEL, 33.9)),
        *((boot.INITRAMFS_ASKED, 34), (boot.INITRAMFS, 41.5)),
    )
    seen = boot.Boot()
    for moment, seconds in signs:
        seen = seen.after(moment, at(seconds))
    evidence = Evidence(
        mac=task.mac,
        asked=Sign(at(28), "eno1"),
        given=Sign(at(28.4), "192.0.2.117"),
        loader=Sign(at(21), "snponly.efi by TFTP"),
        entry=Sign(at(31.9)),
        script=Sign(at(33), "boot the agent"),
        kernel=Transfer(at(33.1), 9_400_000, at(33.9)),
        initramfs=Transfer(at(34), 118_000_000, at(41.5)),
        boot=seen,
    )
    place = keys.evidence(task.idc, task.sn)
    await control_plane.store.put(place, records.encode(evidence))
    await control_plane.put_task(task)


async def take(folder: Path) -> None:
    """Write every picture into the folder."""
    with tempfile.TemporaryDirectory() as state:
        async with (
            running_with_debian(Path(state)) as control_plane,
            async_playwright() as playwright,
        ):
            await populate(control_plane)
            await at_work(control_plane)
            await booting(control_plane)
            browser = await playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=ARGUMENTS
            )
            for size, (width, height) in SIZES.items():
                for colours in COLOURS:
                    context = await browser.new_context(
                        viewport={"width": width, "height": height}, color_scheme=colours
                    )
                    page = await context.new_page()
                    for place in (*PLACES, *details(control_plane), f"/tasks/{BOOTING}"):
                        await opened(page, control_plane, place)
                        name = place.strip("/").replace("/", "-") or "tasks"
                        path = folder / f"{name}.{size}.{colours}.png"
                        await page.screenshot(path=path, full_page=place != "/")
                        print(path)
                    await context.close()
            await browser.close()


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    asyncio.run(take(folder))
