"""For all tests: what a property test is bounded by, in which order files come, and who tests them.

Several processes share the files (`make test`), a whole file at a time and in the order of the
collection. What takes longest comes first, so that at the end no process is busy alone. Guests of
QEMU want a processor each, and have bounds on how long they take: one process has all of them, and
the others give way to it.
"""

import os
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

from tests.support import fault_table, processor_share
from tests.support.own_mounts import take_own_mounts

LONGEST_FIRST = ("e2e", "qemu", "slow")
"""Marks of tests: a file with one of the first comes before those with one of the others."""

WITH_GUESTS = (
    "tests/e2e/",
    "tests/integration/images/test_agent_image_boot.py",
    "tests/integration/lab/test_virtual_machine.py",
)
"""Where the marks `e2e` and `qemu` are; only the processes that test see marks."""
WITH_LOOP_DEVICES = tuple(
    f"tests/integration/agent/test_agent_{name}.py"
    for name in ("disk_image", "disk_test", "loop_install", "members_on_disks")
)
"""One test takes a loop device from another, and none of the others may be given it meanwhile; nor
may what they mount be kept busy by others' namespaces."""

SHARE = pytest.StashKey[str]()
"""The share of the processors that this process has now."""

# Bounded by its examples, not by the speed of the machine.
settings.register_profile("lpmos", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("lpmos")


class FilesAndGuests(LoadFileScheduling):  # type: ignore[misc]  # the library has no types
    """Gives out files; all that have guests as one, all that have loop devices as another."""

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(WITH_GUESTS):
            return "guests"
        if nodeid.startswith(WITH_LOOP_DEVICES):
            return "loop devices"
        return nodeid.partition("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Callable[..., None]) -> FilesAndGuests:
    """Who tests what, where several processes do."""
    return FilesAndGuests(config, log)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the table of faults where they were tested, and keep it in `build/`."""
    if text := fault_table.table(fault_table.results_of(terminalreporter.stats)):
        terminalreporter.section("faults")
        terminalreporter.write_line(text)
        fault_table.write(text)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let what has guests come first on the processors, and the rest give way."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        share = "guests" if item.nodeid.startswith(WITH_GUESTS) else "others"
        if item.config.stash.get(SHARE, None) != share:
            processor_share.join(share)
            item.config.stash[SHARE] = share
        if item.nodeid.startswith(WITH_LOOP_DEVICES):
            take_own_mounts()


def pytest_unconfigure() -> None:
    """Leave no group of processes behind, where this process was the last one."""
    processor_share.leave_none()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first, and unit tests last; files stay whole."""
    places: dict[object, int] = {}
    for item in items:
        place = _place(item)
        assert place > 1 or item.nodeid.startswith(WITH_GUESTS), f"{item.path}: see WITH_GUESTS"
        places[item.path] = min(place, places.get(item.path, place))
    items.sort(key=lambda item: places[item.path])


def _place(item: pytest.Item) -> int:
    for place, mark in enumerate(LONGEST_FIRST):
        if item.get_closest_marker(mark):
            return place
    return len(LONGEST_FIRST) + item.nodeid.startswith("tests/unit/")
