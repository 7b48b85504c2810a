"""Two clients of one region as processes in networks of their own: at most one answers machines."""

import asyncio
import contextlib
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lpmos.region.standby import TTL_S
from lpmos.store import keys
from tests.support.builders import MAC, actor, make_spec
from tests.support.region import until
from tests.support.region_pair import (
    ASK_TIMEOUT_S,
    IDC,
    IMAGE_BYTES,
    PORT,
    SERVICE_ADDRESS,
    START_TIMEOUT_S,
    TAKE_OVER_S,
    Client,
    Pair,
    inside,
    pair,
)
from tests.support.wire import CLIENT_INTERFACE

GRACEFUL_S = 4.0
FIRST_ANSWERS_S = TAKE_OVER_S + 10.0
"""From the kill on. Elected and answering by HTTP within `TAKE_OVER_S`, of which the lease has 8 s;
then dnsmasq begins and is asked by a program that begins, too: ten seconds on a busy machine."""
LOADER = Path("/usr/lib/ipxe/snponly.efi").read_bytes()
OTHER_MAC = "52:54:00:00:00:99"
INSTALL_S = 8
"""How long the simulated download takes: a failover falls into it."""
INSTALL_TIMEOUT_S = 90.0
DOWNLOADS_FROM = 22
"""Percent: the download is the part from 20 to 60."""


@contextlib.asynccontextmanager
async def never_both(regions: Pair) -> AsyncIterator[None]:
    """At no moment of the block do both clients answer the machine, or both have the address."""
    seen: list[list[str]] = []

    async def look() -> None:
        while True:
            if doubled := await regions.doubled():
                seen.append(doubled)
            await asyncio.sleep(0.05)

    looking = asyncio.create_task(look())
    try:
        yield
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
    assert not seen


async def kept_lease(regions: Pair, mac: str = MAC) -> str:
    """The address that DHCP gave to a machine, once the store has the lease."""
    ip: str = (await regions.lease(mac, o93="0007"))["yiaddr"]

    async def stored() -> bool:
        return await regions.store.get(keys.dhcp_lease(IDC, ip)) is not None

    await until(stored, "the lease to be stored")
    return ip


async def is_silent(regions: Pair, client: Client) -> bool:
    """Whether a client answers no machine: no boot script, no DHCP server, not the address."""
    quiet = await regions.answers(client.address) != 200
    return quiet and not client.dnsmasq_pids() and not await client.has_service_address()


async def offers(regions: Pair, client: Client) -> bool:
    """Whether the client's DHCP offers the machine an address."""
    try:
        offer = await regions.machine.ask("--soon", CLIENT_INTERFACE, MAC, o93="0007")
    except AssertionError:
        return False
    return bool(offer["options"]["54"] == socket.inet_aton(client.address).hex())


async def begins_to_load(regions: Pair, client: Client) -> bool:
    """Whether the client has the service address and TFTP gives a loader's first block there."""

    def ask() -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(ASK_TIMEOUT_S)
            sock.sendto(b"\0\1snponly.efi\0octet\0", (SERVICE_ADDRESS, 69))
            return sock.recv(1024)[:4] == b"\0\3\0\1"

    if not await client.has_service_address():
        return False
    try:
        return await asyncio.to_thread(inside, regions.machine_pid, ask)
    except OSError:
        return False


async def spoken_for_by(regions: Pair) -> str:
    """The client whose heartbeat is the region's."""
    kv = await regions.store.get(keys.heartbeat(IDC))
    return json.loads(kv.value)["identity"] if kv else ""


async def speaks(regions: Pair, client: Client) -> None:
    """Wait until the heartbeat and the record of who is active are this client's."""

    async def told() -> bool:
        kv = await regions.store.get(keys.region_active(IDC))
        recorded = kv is not None and json.loads(kv.value)["identity"] == client.name
        return recorded and await spoken_for_by(regions) == client.name

    await until(told, f"{client.name} to speak for the region")


async def test_active_killed_standby_takes_over_dhcp_tftp_and_http(regions: Pair) -> None:
    ip = await kept_lease(regions)
    b = regions.b
    async with never_both(regions):
        regions.a.signal(signal.SIGKILL)
        async with asyncio.TaskGroup() as asking:
            asking.create_task(regions.becomes_active(b))
            asking.create_task(until(lambda: offers(regions, b), "b's DHCP", FIRST_ANSWERS_S))
            asking.create_task(
                until(lambda: begins_to_load(regions, b), "b's TFTP", FIRST_ANSWERS_S)
            )
    renewed = await regions.lease(MAC, o93="0007")
    assert renewed["yiaddr"] == ip
    assert (renewed["siaddr"], renewed["options"]["54"]) == (SERVICE_ADDRESS, "0a5d0002")
    loaded = await regions.machine.run("curl", "-sS", f"tftp://{SERVICE_ADDRESS}/snponly.efi")
    assert loaded == LOADER
    assert f" {ip} " in (regions.b.place / "dhcp.leases").read_text()
    await regions.a.start()
    await regions.stands_by(regions.a)
    assert await is_silent(regions, regions.a)
    assert await regions.answers(regions.a.address, "/health") == 200


async def test_active_stopped_in_order_gives_way_at_once(regions: Pair) -> None:
    regions.a.signal(signal.SIGTERM)
    await regions.becomes_active(regions.b, GRACEFUL_S)
    await regions.a.ended()
    assert not regions.a.dnsmasq_pids()
    assert not await regions.a.has_service_address()
    await speaks(regions, regions.b)


async def test_active_suspended_is_silent_before_another_is_elected_and_when_it_wakes(
    regions: Pair,
) -> None:
    ip = await kept_lease(regions)
    async with never_both(regions):
        regions.a.signal(signal.SIGSTOP)
        await regions.becomes_active(regions.b)
        assert not regions.a.dnsmasq_pids()  # its guard runs for itself
        await speaks(regions, regions.b)
        record = await regions.store.get(keys.region_active(IDC))
        regions.a.signal(signal.SIGCONT)
        await regions.stands_by(regions.a)
        assert await is_silent(regions, regions.a)
    assert await regions.store.get(keys.region_active(IDC)) == record
    assert await spoken_for_by(regions) == "b"
    assert (await regions.lease(MAC, o93="0007"))["yiaddr"] == ip
    assert await regions.active() == [regions.b]


async def test_active_cut_off_stands_down_before_the_standby_takes_over(regions: Pair) -> None:
    async with never_both(regions):
        await regions.a.proxy.cut()
        await regions.becomes_active(regions.b)
        assert await is_silent(regions, regions.a)
        await regions.a.proxy.heal()
        await regions.stands_by(regions.a)
    assert await regions.active() == [regions.b]


async def test_standby_cut_off_takes_nothing_over(regions: Pair) -> None:
    async with never_both(regions):
        regions.b.proxy.black_hole()
        await asyncio.sleep(1.5 * TTL_S)  # nothing shall happen for so long
        assert await regions.active() == [regions.a]
        assert await is_silent(regions, regions.b)
        await regions.b.proxy.heal()
        await regions.stands_by(regions.b)
        regions.a.signal(signal.SIGKILL)
        await regions.becomes_active(regions.b)


async def test_both_started_at_once_one_is_active(tmp_path: Path) -> None:
    async with pair(tmp_path, started=False) as regions, never_both(regions):
        await asyncio.gather(regions.a.start(), regions.b.start())

        async def one() -> bool:
            return len(await regions.active()) == 1

        await until(one, "one to be active", START_TIMEOUT_S)
        (active,) = await regions.active()
        other = regions.b if active is regions.a else regions.a
        await regions.stands_by(other)
        assert await is_silent(regions, other)


async def test_alone_and_cut_off_goes_on_and_one_that_comes_anew_leaves_it_the_machines(
    tmp_path: Path,
) -> None:
    async with pair(tmp_path, started=False) as regions:
        await regions.a.start()
        await regions.becomes_active(regions.a, START_TIMEOUT_S)
        await until(lambda: not regions.a.knows_of_another, "a to know that it is alone")
        async with never_both(regions):
            await regions.a.proxy.cut()
            await asyncio.sleep(1.5 * TTL_S)  # nothing shall happen for so long
            assert await regions.active() == [regions.a]
            await regions.lease(OTHER_MAC, o93="0007")
            await regions.b.start()
            still = "the client before still answers machines"
            await until(lambda: still in regions.b.log, still, START_TIMEOUT_S)
            assert await regions.active() == [regions.a]
            regions.a.signal(signal.SIGKILL)
            await regions.becomes_active(regions.b)


async def test_alone_and_cut_off_is_elected_again_without_a_pause(tmp_path: Path) -> None:
    async with pair(tmp_path, started=False) as regions:
        await regions.a.start()
        await regions.becomes_active(regions.a, START_TIMEOUT_S)
        await until(lambda: not regions.a.knows_of_another, "a to know that it is alone")
        await until(lambda: bool(regions.a.dnsmasq_pids()), "its dnsmasq")
        (dnsmasq,) = regions.a.dnsmasq_pids()
        await regions.a.proxy.cut()
        await asyncio.sleep(1.5 * TTL_S)  # its leadership has ended by then
        ip = (await regions.lease(OTHER_MAC, o93="0007"))["yiaddr"]
        await regions.a.proxy.heal()

        async def stored() -> bool:
            return await regions.store.get(keys.dhcp_lease(IDC, ip)) is not None

        await until(stored, "what was given meanwhile to be stored", 2 * TTL_S)
        assert regions.a.dnsmasq_pids() == [dnsmasq]
        assert await regions.active() == [regions.a]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_install_goes_on_over_a_failover_with_one_repeated_call_at_most(
    regions: Pair, tmp_path: Path, number: signal.Signals
) -> None:
    task = await regions.tasks.create(make_spec(), by=actor("admin"))
    agent = await asyncio.create_subprocess_exec(
        *("nsenter", f"--net=/proc/{regions.machine_pid}/ns/net", "--", sys.executable),
        *("-m", "lpmos.agent", "--simulate", "--sn", task.sn, "--mac", task.mac),
        *("--regional-url", f"http://{SERVICE_ADDRESS}:{PORT}"),
        *("--speed-mbit", str(IMAGE_BYTES * 8 / 1e6 / INSTALL_S)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert agent.stdout
    reading = asyncio.create_task(agent.stdout.read())
    try:
        await _in(regions, task.task_id, "pending_approval")
        await regions.tasks.approve(task.task_id, by=actor("admin"), notes=None)
        await _in(regions, task.task_id, "installing")
        await until(lambda: _downloads(regions, task.task_id), "the download to be under way")
        regions.a.signal(number)
        await regions.becomes_active(regions.b, TAKE_OVER_S)
        await _in(regions, task.task_id, "completed")
    finally:
        if agent.returncode is None:
            agent.kill()
        said = (await reading).decode()
    assert said.count("; again in ") <= 1, said
    assert said.count("; going on there in ") <= 1, said  # the download, where it broke off


def _downloads(regions: Pair, task_id: str) -> bool:
    """Whether a part of the image has arrived, and the agent has told so."""
    task = regions.fleet.task(task_id)
    said = task.progress if task else ()
    return any(each.step == "downloading" and each.percent > DOWNLOADS_FROM for each in said)


async def _in(regions: Pair, task_id: str, status: str) -> None:
    def there() -> bool:
        task = regions.fleet.task(task_id)
        return task is not None and task.status.value == status

    await until(there, f"the task to be {status}", INSTALL_TIMEOUT_S)
