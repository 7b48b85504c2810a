"""The demonstration: bare servers become installed machines, shown step by step.

The real one boots two virtual servers, BIOS and UEFI, in a rack of their own, and waits for each
login prompt; the simulated one needs neither root nor QEMU. Both go through the public API and
print what an operator would see. The exit code is 0 only where every server came up.
"""

import asyncio
import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console

from lpmos.lab.acceleration import choose_acceleration
from lpmos.lab.display import journeys_display, summary_table
from lpmos.lab.errors import LabError
from lpmos.lab.journey import Journey, JourneyProgress
from lpmos.lab.machine import BlankDisk, MachineSpec
from lpmos.lab.rack import check_host
from lpmos.lab.site import ADMIN, Site
from lpmos.lab.stage import Stage, build_missing_images, rack_stage, simulated_stage

SIMULATED_SERVERS: Final = 6

SPECS: Final = (
    MachineSpec(
        name="bios-1",
        sn="LAB-BIOS-1",
        mac="52:54:00:78:00:01",
        firmware="bios",
        disks=(BlankDisk(serial="LABDISK-1"),),
    ),
    MachineSpec(
        name="uefi-1",
        sn="LAB-UEFI-1",
        mac="52:54:00:78:00:02",
        firmware="uefi",
        disks=(BlankDisk(serial="LABDISK-2"),),
    ),
)


@dataclass(frozen=True)
class DemoOptions:
    """How the demo runs; `directory` holds its files and is emptied at the start."""

    directory: Path
    images_dir: Path
    cache_dir: Path
    port: int = 8080
    approve: bool = True
    stay: bool = True
    mirror: str | None = None


def options_from(environment: Mapping[str, str]) -> DemoOptions:
    """The options as `make demo` takes them: APPROVE, DEMO_EXIT, LPMOS_DEMO_PORT and directories.

    Raises:
        LabError: a value is not one of those that mean something.
    """
    approve = environment.get("APPROVE", "auto")
    port = environment.get("LPMOS_DEMO_PORT", "8080")
    if approve not in ("auto", "manual"):
        raise LabError(f"APPROVE={approve} means nothing: `auto` or `manual`")
    if not port.isdecimal() or int(port) > 65535:
        raise LabError(f"LPMOS_DEMO_PORT={port} is no port")
    build = Path("build").absolute()
    return DemoOptions(
        directory=build / "demo",
        images_dir=Path(environment.get("LPMOS_IMAGES_DIR", build / "images")).absolute(),
        cache_dir=Path(environment.get("LPMOS_CACHE_DIR", build / "cache")).absolute(),
        port=int(port),
        approve=approve == "auto",
        stay=environment.get("DEMO_EXIT", "") not in ("1", "true", "yes"),
        mirror=environment.get("LPMOS_MIRROR"),
    )


def run_demo(*, simulated: bool, console: Console | None = None) -> int:
    """Run the demo as the environment says; the exit code.

    Raises:
        LpmosError: it could not begin; the text says what to do.
        KeyboardInterrupt: somebody ended it before every server was up.
    """
    console = console or Console()
    options = options_from(os.environ)
    with _own_directory(options.directory):
        if simulated:
            console.print("Servers are simulated: the real agent, without firmware and disks.")
            stage = simulated_stage(
                SIMULATED_SERVERS, directory=options.directory, port=options.port
            )
            return asyncio.run(_run(options, console, stage))
        check_host()
        build_missing_images(options.images_dir, options.cache_dir, console, options.mirror)
        return asyncio.run(_run_real(options, console))


async def _run_real(options: DemoOptions, console: Console) -> int:
    accel = await choose_acceleration()
    text = f"Guests run by {accel.name.upper()}: {accel.reason}."
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    stage = rack_stage(
        SPECS,
        directory=options.directory,
        images_dir=options.images_dir,
        accel=accel,
        port=options.port,
    )
    return await _run(options, console, stage)


async def _run(
    options: DemoOptions, console: Console, stage: AbstractAsyncContextManager[Stage]
) -> int:
    async with stage as ready:
        _greet(options, console, ready.site)
        with journeys_display(console) as display:
            journeys = [
                Journey(server, task, api=ready.site.api, display=display, approve=options.approve)
                for server, task in ready.servers
            ]
            for journey in journeys:
                display.show(journey.progress)
            async with asyncio.TaskGroup() as group:
                for journey in journeys:
                    group.create_task(journey.run())
        outcomes = [journey.progress for journey in journeys]
        console.print()
        console.print(summary_table(outcomes))
        _show_failures(console, ready.site, outcomes)
        if options.stay:
            await _stay(console, ready.site)
    return 0 if all(outcome.up for outcome in outcomes) else 1


@contextmanager
def _own_directory(directory: Path) -> Iterator[None]:
    """An empty directory for one demo at a time; disks go at the end, logs stay.

    Raises:
        LabError: another demo uses it, or it is another user's.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = os.open(directory.with_name(f"{directory.name}.lock"), os.O_CREAT | os.O_RDWR, 0o600)
    except PermissionError:
        raise LabError(
            f"{directory} is another user's, as after a demo by root: `make clean` removes it"
        ) from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LabError("another demo runs here: end it with Ctrl-C in its terminal") from None
        shutil.rmtree(directory)
        directory.mkdir()
        try:
            yield
        finally:
            for disk in (*directory.glob("*.raw"), *directory.glob("*.fd")):
                disk.unlink()
    finally:
        os.close(lock)


def _greet(options: DemoOptions, console: Console, site: Site) -> None:
    console.print(f"\nDashboard: {site.url}   sign in as", end=" ", highlight=False)
    console.print(ADMIN, style="bold", end=" ", highlight=False)
    console.print("with the password", end=" ", highlight=False)
    console.print(site.password, style="bold", soft_wrap=True, highlight=False, markup=False)
    if not options.approve:
        console.print(
            "APPROVE=manual: press Approve beside each server in the dashboard when it asks.",
            style="yellow",
        )
    console.print()


def _show_failures(console: Console, site: Site, outcomes: Sequence[JourneyProgress]) -> None:
    for outcome in outcomes:
        if outcome.failed:
            text = f"\n{outcome.name} failed: {outcome.failed}"
            console.print(text, markup=False, highlight=False, soft_wrap=True)
    if not all(outcome.up for outcome in outcomes):
        console.print(
            f"\nThe region's log is {site.log}; consoles and QEMU's words are beside it."
            " Mend what the text names and run the demo again.",
            markup=False,
            soft_wrap=True,
        )


async def _stay(console: Console, site: Site) -> None:
    """Keep everything up until Ctrl-C, which is how this is meant to end."""
    console.print(f"\nEverything stays up: {site.url} until you press Ctrl-C.", highlight=False)
    with contextlib.suppress(asyncio.CancelledError):
        await site.wait_ended()
