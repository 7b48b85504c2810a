"""What a region sees of a machine's boot comes into the store, and from there to people (O6)."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from lpmos.core.clock import utc_now
from lpmos.model.evidence import ANOTHER_MACHINE, Evidence, Sign
from lpmos.model.explain import explain
from lpmos.model.inventory import Product
from lpmos.model.lifecycle import Status
from lpmos.model.situation import Situation
from lpmos.region.dhcp_events import DhcpEvent, parse_line
from lpmos.region.evidence import MACHINES_LIMIT, EvidenceBook
from lpmos.region.leases import DhcpLease, render_leases
from lpmos.store import keys, records
from tests.support.builders import MAC, NOW, make_inventory
from tests.support.region import OTHER_AGENT_ID, RunningRegion, running, until


@pytest.fixture
async def region(tmp_path: Path) -> AsyncIterator[RunningRegion]:
    async with running(tmp_path) as started:
        yield started


async def written(region: RunningRegion) -> Evidence | None:
    kv = await region.store.get(keys.evidence("dc1", "SN-1"))
    return records.decode(kv, Evidence) if kv else None


async def test_boot_is_seen_layer_by_layer_until_the_agent_calls(region: RunningRegion) -> None:
    task = await region.create_task()
    before = utc_now()
    _, script = await region.text(f"/boot/ipxe?mac={MAC}")
    for url in (word for word in script.split() if "/boot/agent/" in word):
        await region.text(url.removeprefix(region.url))

    async def whole() -> bool:
        found = await written(region)
        return bool(found and found.initramfs and found.initramfs.done_at)

    await until(whole, "the evidence to be written")
    seen = await written(region)
    assert seen and seen.mac == MAC and seen.since(before) == seen
    assert seen.script and seen.script.detail.startswith("boot the agent: ")
    assert seen.kernel and seen.kernel.done_at and seen.kernel.size_bytes > 0
    assert seen.asked is None and seen.agent is None
    task = await region.task_in(task.task_id, "booting")
    late = utc_now() + timedelta(minutes=5)
    causes = explain(Situation(task=task, since=before, now=late, seen=seen))
    assert [cause.code for cause in causes] == ["agent-silent"]


async def why_it_waits(region: RunningRegion) -> list[str]:
    """The causes of a task that stays `ready`, once what its machine was told is written."""
    found: list[Evidence] = []

    async def told() -> bool:
        seen = await written(region)
        found[:] = [seen] if seen and seen.script else []
        return bool(found)

    await until(told, "what it was told to be written")
    task = region.fleet.task_by_mac("dc1", MAC)
    assert task and task.status is Status.READY, "it was sent nothing by which it boots"
    now = Situation(task=task, since=task.since, now=utc_now(), seen=found[0])
    return [cause.cause for cause in explain(now) if cause.code == "told-to-wait"]


async def test_machine_whose_agent_the_region_lacks_waits_and_hears_why(
    region: RunningRegion,
) -> None:
    await region.create_task()
    await region.text(f"/boot/ipxe?mac={MAC}&arch=arm64&platform=efi")
    (cause,) = await why_it_waits(region)
    assert "no agent image for arm64 here, only for x86_64" in cause


async def test_machine_at_the_address_of_another_waits_and_hears_why(
    region: RunningRegion,
) -> None:
    await region.create_task()
    later = int(utc_now().timestamp()) + 3600
    lease = DhcpLease("127.0.0.1", "52:54:00:00:00:99", later)
    (region.state_dir / "dhcp.leases").write_text(render_leases([lease]))
    await region.text(f"/boot/ipxe?mac={MAC}")
    (cause,) = await why_it_waits(region)
    assert "its address 127.0.0.1 is another machine's" in cause and "00:99" not in cause


async def test_report_of_another_machine_is_a_refused_call(region: RunningRegion) -> None:
    await region.create_task()
    await region.text(f"/boot/ipxe?mac={MAC}")
    first, foreign = (
        json.loads(msgspec.json.encode(make_inventory(product=Product(serial=serial))))
        for serial in ("AAA-1", "BBB-2")
    )
    assert (await region.report(hardware=first))[0] == 200
    assert (await region.report(hardware=foreign, agent_id=OTHER_AGENT_ID))[0] == 409

    async def refused() -> bool:
        seen = await written(region)
        return bool(seen and seen.refused and seen.refused.detail == ANOTHER_MACHINE)

    await until(refused, "the refusal to be written")


async def test_evidence_of_a_machine_without_a_task_is_not_written(region: RunningRegion) -> None:
    await region.text(f"/boot/ipxe?mac={MAC}")
    await region.create_task(mac="52:54:00:00:00:02", sn="SN-2")
    await region.text("/boot/ipxe?mac=52:54:00:00:00:02")

    async def other_is_there() -> bool:
        return await region.store.get(keys.evidence("dc1", "SN-2")) is not None

    await until(other_is_there, "the other machine's evidence")
    assert await written(region) is None


def event(line: str) -> DhcpEvent:
    found = parse_line(line)
    assert found
    return found


def test_words_of_dnsmasq_are_signs_of_their_machine(region_book: EvidenceBook) -> None:
    region_book.hear(event(f"dnsmasq-dhcp: 12 DHCPDISCOVER(br0) {MAC}"))
    assert region_book.of(MAC).asked is not None and region_book.of(MAC).given is None
    region_book.hear(event(f"dnsmasq-dhcp: 12 DHCPACK(br0) 192.0.2.42 {MAC} web-1"))
    region_book.hear(event("dnsmasq-tftp: sent /srv/tftp/snponly.efi to 192.0.2.42"))
    region_book.hear(event("dnsmasq-tftp: sent /srv/tftp/snponly.efi to 192.0.2.43"))
    seen = region_book.of(MAC)
    assert seen.given and seen.given.detail == "192.0.2.42"
    assert seen.loader and seen.loader.detail == "snponly.efi by TFTP"


@pytest.mark.parametrize(
    ("classes", "by", "stays"),
    [
        (["vendor class: PXEClient:Arch:00007:UNDI:003016"], "netboot", set()),
        (["vendor class: HTTPClient:Arch:00016:UNDI:003001"], "netboot", set()),
        (
            ["vendor class: PXEClient:Arch:00007:UNDI:003010", "user class: iPXE"],
            "netboot",
            {"given", "loader"},
        ),
        (
            ["vendor class: udhcp 1.36.1"],
            None,
            {"given", "loader", "script", "kernel", "initramfs"},
        ),
    ],
)
def test_firmware_that_asks_for_an_address_begins_the_way_anew(
    region: RunningRegion, classes: list[str], by: str | None, stays: set[str]
) -> None:
    book = EvidenceBook(region.store, region.fleet, lambda: now, idc="dc1")
    now = NOW
    for line in (
        f"dnsmasq-dhcp: 1 DHCPACK(br0) 192.0.2.42 {MAC}",
        "dnsmasq-tftp: sent /srv/tftp/snponly.efi to 192.0.2.42",
    ):
        book.hear(event(line))
    book.told_by_tftp(MAC, "192.0.2.42", "boot the agent: go on")
    for file in ("vmlinuz", "initramfs"):
        book.sent_by_tftp(f"boot/agent/{'a' * 64}/{file}", "192.0.2.42", 9, True)
    now += timedelta(minutes=1)
    for line in (*classes, "client provides name: web-1", f"DHCPDISCOVER(br0) {MAC}"):
        book.hear(event(f"dnsmasq-dhcp: 2 {line}"))
    seen = book.of(MAC)
    assert seen.asked is not None and (seen.asked.at, seen.asked.by) == (now, by)
    layers = {"given", "loader", "script", "kernel", "initramfs"}
    assert {name for name in layers if getattr(seen, name)} == stays
    now += timedelta(minutes=1)
    book.hear(event(f"dnsmasq-dhcp: 3 DHCPDISCOVER(br0) {MAC}"))
    assert book.of(MAC).asked == Sign(now, "br0"), "it said nothing of what it is"


def test_what_one_machine_says_that_it_is_counts_for_no_other(region_book: EvidenceBook) -> None:
    """As dnsmasq tells it of who took another server's address, and of who it ignores."""
    other = "52:54:00:00:00:88"
    region_book.told_by_tftp(other, "192.0.2.88", "boot the agent: go on")
    region_book.hear(event("dnsmasq-dhcp: 77 vendor class: PXEClient:Arch:00007:UNDI:003016"))
    region_book.hear(event("dnsmasq-dhcp: 77 user class: iPXE"))
    region_book.hear(event(f"dnsmasq-dhcp: 88 DHCPDISCOVER(br0) {other}"))
    assert region_book.of(other).asked == Sign(NOW, "br0")
    region_book.hear(event("dnsmasq-dhcp: 77 vendor class: PXEClient:Arch:00007:UNDI:003016"))
    region_book.hear(event(f"dnsmasq-dhcp: 77 DHCPDISCOVER(br0) {MAC}"))
    region_book.hear(event(f"dnsmasq-dhcp: 88 DHCPREQUEST(br0) 192.0.2.88 {other}"))
    assert region_book.of(MAC).asked == Sign(NOW, "br0", "netboot")
    assert region_book.of(other).asked == Sign(NOW, "br0")


def test_packet_of_dhcpv4_is_its_own_machines_beside_a_transaction_of_dhcpv6(
    region_book: EvidenceBook,
) -> None:
    region_book.hear(event("dnsmasq-dhcp: 7 client MAC address: 52:54:00:00:00:88"))
    region_book.hear(event(f"dnsmasq-dhcp: 7 DHCPDISCOVER(br0) {MAC}"))
    assert region_book.of(MAC).asked is not None
    assert region_book.of("52:54:00:00:00:88").asked is None


def test_proxy_says_that_another_server_gives_the_address(region_book: EvidenceBook) -> None:
    region_book.hear(event("dnsmasq-dhcp: 1 vendor class: PXEClient:Arch:00007:UNDI:003016"))
    region_book.hear(event(f"dnsmasq-dhcp: 1 PXE(br0) {MAC} proxy"))
    assert region_book.of(MAC).asked == Sign(NOW, "br0", "proxy")


def test_loader_that_is_sent_again_ends_what_the_boot_before_had(region: RunningRegion) -> None:
    book = EvidenceBook(region.store, region.fleet, lambda: now, idc="dc1")
    now = NOW
    book.told_by_tftp(MAC, "192.0.2.42", "boot the agent: go on")
    for done in (False, True):
        book.sent_by_tftp(f"boot/agent/{'a' * 64}/initramfs", "192.0.2.42", 9, done)
    now += timedelta(minutes=5)
    book.hear(event("dnsmasq-tftp: sent /srv/tftp/snponly.efi to 192.0.2.42"))
    seen = book.of(MAC)
    assert seen.loader and (seen.script, seen.initramfs) == (None, None)


def test_book_forgets_the_machine_heard_longest_ago(region_book: EvidenceBook) -> None:
    for number in range(MACHINES_LIMIT + 1):
        mac = f"52:54:00:00:{number // 256:02x}:{number % 256:02x}"
        region_book.hear(event(f"dnsmasq-dhcp: 1 DHCPDISCOVER(br0) {mac}"))
    assert region_book.of("52:54:00:00:00:00") == Evidence(mac="52:54:00:00:00:00")
    assert region_book.of("52:54:00:00:00:01").asked is not None


async def test_client_that_answers_again_takes_up_what_the_other_saw(
    region: RunningRegion,
) -> None:
    """And not what it saw itself before the other took over."""
    await region.create_task()
    now = NOW
    first, second = (
        EvidenceBook(region.store, region.fleet, lambda: now, idc="dc1") for _ in range(2)
    )
    first.hear(event(f"dnsmasq-dhcp: 1 DHCPDISCOVER(br0) {MAC}"))
    first.hear(event(f"dnsmasq-dhcp: 1 DHCPACK(br0) 192.0.2.42 {MAC} web-1"))
    now += timedelta(minutes=1)
    second.hear(event(f"dnsmasq-dhcp: 2 DHCPDISCOVER(br0) {MAC}"))
    kept = second.of(MAC)
    await region.store.put(keys.evidence("dc1", "SN-1"), records.encode(kept))

    running_again = asyncio.create_task(first.run())

    async def taken_up() -> bool:
        return first.of(MAC) == kept

    await until(taken_up, "the signs that the other client saw")
    first.hear(event("dnsmasq-tftp: sent /srv/tftp/snponly.efi to 192.0.2.42"))
    assert first.of(MAC) == kept, "nobody knows whose this address is by now"
    running_again.cancel()
    await asyncio.gather(running_again, return_exceptions=True)


@pytest.fixture
def region_book(region: RunningRegion) -> EvidenceBook:
    return EvidenceBook(region.store, region.fleet, lambda: NOW, idc="dc1")
