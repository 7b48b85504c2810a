"""What a region sees of a machine's boot comes into the store, and from there to people (O6)."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from lpmos.core.clock import utc_now
from lpmos.model.evidence import Evidence
from lpmos.model.explain import Situation, explain
from lpmos.region.dhcp_events import DhcpEvent, parse_line
from lpmos.region.evidence import MACHINES_LIMIT, EvidenceBook
from lpmos.store import keys, records
from tests.support.builders import MAC, NOW
from tests.support.region import RunningRegion, running, until


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
    assert [cause.code for cause in causes] == ["agent-does-not-start"]


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
