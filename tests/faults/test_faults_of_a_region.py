"""A region whose disk is full, whose clock jumps, or that was started twice, under installs."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.etcd import free_port
from tests.support.fault_group import installed_all, told_all, wrong_in
from tests.support.fault_site import TIMEOUT_S, FaultSite, Machine, cluster_site, region_process
from tests.support.polling import until

pytestmark = [pytest.mark.faults, pytest.mark.slow]

HELD = ("approved", "partitioning", "configuring")
SMALL_DISK = "16m"
PIECE_BYTES = 4096
ASK_TIMEOUT_S = 2.0
ASK_EVERY_S = 0.1
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")


async def standing(site: FaultSite, *steps: str) -> dict[str, Machine]:
    """A machine that stands still at each of these steps, all of them approved."""
    machines = {step: site.machine(step) for step in steps}
    await asyncio.gather(*(site.create_task(machine) for machine in machines.values()))
    await site.until_status(dict.fromkeys(machines.values(), "ready"))
    for step, machine in machines.items():
        await machine.power_on(step)
    await site.until_status(dict.fromkeys(machines.values(), "pending_approval"))
    await asyncio.gather(*(site.approve(machine) for machine in machines.values()))
    await until(lambda: _all_hold(machines), TIMEOUT_S)
    await until(lambda: told_all(site, machines), TIMEOUT_S)
    return machines


async def _all_hold(machines: dict[str, Machine]) -> bool:
    return all(machine.holds(step) for step, machine in machines.items())


async def check_all(
    site: FaultSite, machines: dict[str, Machine], *, clocks_agree: bool = True
) -> None:
    """Each was installed once, as if nothing had happened."""
    await installed_all(site, machines.values())
    wrong = {
        step: await wrong_in(site, machine, clocks_agree=clocks_agree)
        for step, machine in machines.items()
    }
    assert not {step: words for step, words in wrong.items() if words}


async def test_disk_full_while_the_store_is_away_nothing_acknowledged_is_lost(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    state = tmp_path / "region"
    small = 'mount -t tmpfs -o size="$0" none "$1" && shift && exec "$@"'
    prefix = ("unshare", "--mount", "--", "sh", "-c", small, SMALL_DISK, str(state))
    async with cluster_site(tmp_path, size=1, region_prefix=prefix) as site:
        machines = await standing(site, *HELD)
        await asyncio.gather(*(link.cut() for link in site.links))
        await until(lambda: _is_offline(site), TIMEOUT_S)
        ballast = Path(f"/proc/{site.region.pid}/root{state}/ballast")
        fill(ballast)
        for machine in machines.values():
            machine.go_on()
        await until(lambda: _all_refused(machines), TIMEOUT_S)
        assert machines["approved"].installs_begun == 0  # a claim that is not kept is not given
        make_room(ballast)
        await until(lambda: _all_installed(machines), TIMEOUT_S)
        await asyncio.gather(*(link.heal() for link in site.links))
        await check_all(site, machines)
        assert (await site.outbox())["refused"] == 0
    record_property(
        "fault", ("disk full at the region, store away", "503 until there is room, then installed")
    )


def fill(file: Path) -> None:
    """Leave no room on a file system."""
    with file.open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
        while True:
            ballast.write(bytes(PIECE_BYTES))


def make_room(file: Path) -> None:
    """Take away what `fill` wrote."""
    file.unlink()


async def _is_offline(site: FaultSite) -> bool:
    return (await site.outbox()).get("offline_since") is not None


async def _all_refused(machines: dict[str, Machine]) -> bool:
    return all("HTTP status 50" in machine.console for machine in machines.values())


async def _all_installed(machines: dict[str, Machine]) -> bool:
    return all(machine.installed for machine in machines.values())


async def test_clock_of_the_region_that_jumps_both_ways_ends_no_install(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    clock = tmp_path / "clock"
    set_clock(clock, "+0")
    fake = {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    async with cluster_site(tmp_path, size=1, region_env=fake) as site:
        for offset in ("-2h", "+2h", "+0"):
            machines = await standing(site, *HELD)
            set_clock(clock, offset)
            for machine in machines.values():
                machine.go_on()
            await check_all(site, machines, clocks_agree=False)
    record_property("fault", ("clock of the region steps by 2 h, both ways", "installed once"))


def set_clock(file: Path, offset: str) -> None:
    """Put the clock of who reads this file so far from the machine's."""
    new = file.with_suffix(".new")
    new.write_text(offset + "\n")
    new.replace(file)


class Watch:
    """Asks several regional clients, again and again, who of them answers machines."""

    def __init__(self, *urls: str) -> None:
        self._clients = [httpx.AsyncClient(base_url=url, timeout=ASK_TIMEOUT_S) for url in urls]
        self.now: tuple[bool, ...] = ()
        self.most = 0

    async def run(self) -> None:
        """Ask until cancelled."""
        try:
            while True:
                self.now = tuple(await asyncio.gather(*(_serves(each) for each in self._clients)))
                self.most = max(self.most, sum(self.now))
                await asyncio.sleep(ASK_EVERY_S)
        finally:
            for client in self._clients:
                await client.aclose()


async def _serves(client: httpx.AsyncClient) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return (await client.get("/boot/boot.ipxe")).status_code == 200
    return False


@asynccontextmanager
async def watching(*urls: str) -> AsyncIterator[Watch]:
    """Watch who serves until the block ends."""
    watch = Watch(*urls)
    task = asyncio.create_task(watch.run())
    try:
        yield watch
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_region_started_twice_by_mistake_has_one_that_serves(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Two hosts with the same settings, the same name and no address of the region itself."""
    port = free_port()
    other_url = f"http://127.0.0.1:{port}"
    async with cluster_site(tmp_path, size=1) as site:
        second = region_process(tmp_path, "second", site.links, port)
        async with watching(site.region_url, other_url) as watch:
            try:
                await second.start()
                await until(lambda: _is_up(other_url), TIMEOUT_S)
                machines = {
                    "first": site.machine("first"),
                    "second": site.machine("second", region_url=other_url),
                }
                for machine in machines.values():
                    await site.create_task(machine)
                    await machine.power_on()
                await installed_all(site, [machines["first"]])
                assert watch.now == (True, False)
                assert machines["second"].boots == []
                await site.region.kill()
                await check_all(site, {"second": machines["second"]})
                await site.region.start()
                await until(lambda: _is_up(site.region_url), TIMEOUT_S)
                assert watch.now == (False, True)
                assert not await wrong_in(site, machines["first"])
            finally:
                await second.kill()
        assert watch.most == 1
    record_property("fault", ("a region started twice, same name", "one serves, installed once"))


async def _is_up(url: str) -> bool:
    """Whether a client's HTTP answers at all; a standby does."""
    with contextlib.suppress(httpx.TransportError):
        async with httpx.AsyncClient(base_url=url, timeout=ASK_TIMEOUT_S) as client:
            return (await client.get("/health")).status_code in {200, 503}
    return False
