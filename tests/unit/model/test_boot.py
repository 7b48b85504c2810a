"""A boot is made of the signs of a machine, and a task is given the moments that are its own."""

from collections.abc import Iterable
from datetime import datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.model.boot import (
    ADDRESS,
    AGENT,
    DHCP,
    INITRAMFS,
    INITRAMFS_ASKED,
    IPXE,
    KERNEL,
    KERNEL_ASKED,
    LOADER,
    LONGEST,
    MOMENTS,
    NETWORK,
    QUIET,
    RESTART_NETWORK,
    RESTART_SCRIPT,
    RESTART_SEEN,
    SCRIPT,
    Boot,
    boot_moments,
    moments_so_far,
    restart_moments,
)
from tests.support.builders import NOW

QUIET_S = QUIET.total_seconds()
Signs = Iterable[tuple[str, float]]

PXE = (
    *((DHCP, 0), (ADDRESS, 3), (LOADER, 5)),
    *((DHCP, 8), (ADDRESS, 9), (IPXE, 10), (SCRIPT, 10.5)),
    *((KERNEL_ASKED, 11), (KERNEL, 13), (INITRAMFS_ASKED, 13), (INITRAMFS, 18)),
    *((DHCP, 30), (ADDRESS, 31), (AGENT, 35)),
)
"""As a BIOS does it: the firmware, iPXE and the agent ask for an address each."""
RESTART = (
    *((DHCP, 500), (ADDRESS, 501), (LOADER, 503), (DHCP, 505), (ADDRESS, 505)),
    *((IPXE, 506), (SCRIPT, 507), (DHCP, 530), (ADDRESS, 531)),
)


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def seen(signs: Signs) -> Boot:
    boot = Boot()
    for moment, seconds in signs:
        boot = boot.after(moment, at(seconds))
    return boot


def seconds(moments: dict[str, datetime]) -> dict[str, float]:
    return {name: (when - NOW).total_seconds() for name, when in moments.items()}


def test_boot_is_from_the_first_request_for_an_address_to_the_first_call_of_the_agent() -> None:
    boot = seen([*PXE, (AGENT, 36)])
    assert seconds(boot_moments(boot, at(40))) == {
        DHCP: 0,
        ADDRESS: 3,
        LOADER: 5,
        IPXE: 10,
        SCRIPT: 10.5,
        KERNEL_ASKED: 11,
        KERNEL: 13,
        INITRAMFS_ASKED: 13,
        INITRAMFS: 18,
        NETWORK: 30,
        AGENT: 35,
    }


def test_report_is_the_first_call_where_none_was_seen() -> None:
    boot = seen(PXE[:-1])
    assert seconds(boot_moments(boot, at(40)))[AGENT] == 40


@pytest.mark.parametrize(
    ("signs", "dhcp"),
    [
        ([(DHCP, 0), (DHCP, 4), (ADDRESS, 5), (LOADER, 6)], 0),
        ([(DHCP, 0), (DHCP, 65), (DHCP, 130), (DHCP, 195), (ADDRESS, 196), (LOADER, 197)], 0),
        ([(DHCP, 0), (ADDRESS, 1), (DHCP, 1 + QUIET_S), (ADDRESS, 72), (LOADER, 73)], 0),
        ([(DHCP, 0), (ADDRESS, 1), (DHCP, 80), (ADDRESS, 81), (LOADER, 82)], 80),
        ([(DHCP, 0), (ADDRESS, 1), (ADDRESS, 60), (LOADER, 100)], None),
        ([(LOADER, 6)], None),
        ([*PXE[:-3], (DHCP, 90), (ADDRESS, 91), (LOADER, 93)], 90),
        ([*PXE, (DHCP, 600), (LOADER, 601)], 600),
        ([*PXE, (LOADER, 601)], None),
        ([*PXE, (DHCP, 90), (LOADER, 601)], None),
    ],
    ids=[
        "it asks until it is answered",
        "it is answered late",
        "it asks anew as late as one boot does",
        "it was restarted before it was sent anything",
        "its system renewed its lease",
        "another server gives the addresses",
        "it was restarted while the kernel came",
        "it boots again",
        "it boots again and nobody saw it ask",
        "its system asked long before",
    ],
)
def test_boot_begins_with_its_own_request(
    signs: list[tuple[str, float]], dhcp: float | None
) -> None:
    found = seconds(boot_moments(seen(signs), at(620)))
    assert found.get(DHCP) == dhcp
    assert found[LOADER] == signs[-1][1]


def test_script_that_is_asked_for_again_goes_back_in_the_same_boot() -> None:
    boot = seen([(SCRIPT, 1), (SCRIPT, 6), (KERNEL_ASKED, 7), (SCRIPT, 12), (KERNEL_ASKED, 13)])
    assert seconds(boot_moments(boot, at(20))) == {SCRIPT: 12, KERNEL_ASKED: 13, AGENT: 20}


def test_boot_that_ended_long_before_the_report_is_another() -> None:
    assert boot_moments(seen(PXE[:5]), at(9) + LONGEST + timedelta(seconds=1)) == {}
    assert boot_moments(Boot(), NOW) == {}


def test_report_that_is_handed_in_late_has_nothing_of_the_next_boot() -> None:
    assert boot_moments(seen([*PXE, *RESTART]), at(40)) == {}


def test_boot_is_told_so_far_as_it_was_seen_and_by_its_report_the_same() -> None:
    """Each sign adds to what was told before; the report adds the agent's call alone."""
    told: dict[str, datetime] = {}
    for number in range(1, len(PXE)):
        found = moments_so_far(seen(PXE[:number]), NOW)
        assert found.items() >= told.items()
        told = found
    assert list(told)[:2] == [DHCP, ADDRESS]
    assert {**told, AGENT: at(40)} == boot_moments(seen(PXE[:-1]), at(40))


@pytest.mark.parametrize(
    ("signs", "since", "told"),
    [
        ([(DHCP, 0)], 0, {DHCP: 0}),
        ([(DHCP, 0), (ADDRESS, 1), (LOADER, 9)], 5, {DHCP: 0, ADDRESS: 1, LOADER: 9}),
        ([(LOADER, 9)], 5, {LOADER: 9}),
        ([(SCRIPT, 9), (DHCP, 10)], 5, {SCRIPT: 9}),
        (PXE, 100, {}),
        ([*PXE, (DHCP, 120)], 100, {DHCP: 120}),
        ([*PXE, (DHCP, 120), (ADDRESS, 121), (LOADER, 122)], 100,
         {DHCP: 120, ADDRESS: 121, LOADER: 122}),
        ([(DHCP, 0), (ADDRESS, 1)], 5, {}),
    ],
    ids=[
        "it asks for an address",
        "it began before the task",
        "another server gives the addresses",
        "nobody knows who asks",
        "it was over before the task",
        "the boot before was over",
        "the boot before is not told",
        "it asked before the task, and no more",
    ],
)  # fmt: skip
def test_boot_so_far_is_that_of_the_task(
    signs: Signs, since: float, told: dict[str, float]
) -> None:
    assert seconds(moments_so_far(seen(signs), at(since))) == told


def test_restart_by_the_network_is_seen_until_the_system_has_an_address() -> None:
    found = restart_moments(seen([*PXE, *RESTART]), at(450), at(560))
    assert seconds(found) == {RESTART_SEEN: 500, RESTART_SCRIPT: 507, RESTART_NETWORK: 530}


def test_restart_from_the_disk_is_seen_when_its_system_asks_for_an_address() -> None:
    found = restart_moments(seen([*PXE, (DHCP, 530), (ADDRESS, 531)]), at(450), at(560))
    assert seconds(found) == {RESTART_SEEN: 530}


def test_restart_that_nobody_saw_has_no_moments() -> None:
    assert restart_moments(seen(PXE), at(450), at(560)) == {}
    assert restart_moments(seen([*PXE, *RESTART]), at(600), at(700)) == {}


@given(
    st.lists(
        st.tuples(
            st.sampled_from([each for each in MOMENTS if each.startswith("boot.")]),
            st.floats(0, 1000),
        )
    )
)
def test_boot_of_any_signs_is_in_order_and_small(signs: list[tuple[str, float]]) -> None:
    signs.sort(key=lambda sign: sign[1])
    boot = seen(signs)
    found = boot_moments(boot, at(1000))
    order = [when for name in MOMENTS if (when := found.get(name))]
    assert order == sorted(order)
    assert all(at(0) <= when <= at(1000) for when in order)
    assert len(msgspec.json.encode(found)) < 700
    assert msgspec.json.decode(msgspec.json.encode(boot), type=Boot) == boot
