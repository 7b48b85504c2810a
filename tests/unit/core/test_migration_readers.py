"""The readers of older layouts take whatever a store may hold, and lose nothing silently."""

import json
import string
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.core.migration.conversion import convert
from lpmos.core.migration.entries import PART_NAMES, Entry
from lpmos.core.migration.fields import WrongTime, parse_time
from lpmos.core.migration.hardware import WrongHardware, parse_hardware
from lpmos.core.migration.plan import plan
from lpmos.core.migration.standing import Found, Standing, read
from lpmos.store.records import VALUE_LIMIT_BYTES
from tests.support.old_layouts import LAYOUTS, make

AT = datetime(2026, 11, 21, 12, tzinfo=UTC)
NAME = st.text(string.ascii_letters + string.digits + "-_:.", min_size=1, max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAME, inner, max_size=4),
    max_leaves=12,
)
WORDS = (
    "id", "region_id", "target_mac", "os_type", "created_at", "status", "progress", "logs",
    "hardware", "approval", "approved", "error", "tags", "task_id", "network", "stage",
)  # fmt: skip
DOCUMENT = st.dictionaries(st.sampled_from(WORDS), JSON, max_size=8)
VALUE = (
    st.binary(max_size=60)
    | JSON.map(lambda value: json.dumps(value).encode())
    | DOCUMENT.map(lambda value: json.dumps(value).encode())
)
KEY = (
    st.builds("/lpmos/tasks/{}/{}".format, NAME, st.sampled_from(PART_NAMES))
    | st.builds("/os/install/task/{}/{}/{}".format, NAME, NAME, st.sampled_from(PART_NAMES))
    | st.builds("/os/{}/machines/{}/{}".format, NAME, NAME, st.sampled_from(["tasks", "state"]))
    | st.builds("/os/{}/servers".format, NAME)
    | st.builds("/os/unmatched_reports/{}/{}".format, NAME, NAME)
    | st.builds("/lpmos/agents/{}/{}".format, NAME, st.sampled_from(["info", "last_seen"]))
    | st.builds("/lpmos/config/templates/{}".format, NAME)
    | st.builds("/lpmos/{}".format, NAME)
)


def found_in(values: dict[str, bytes]) -> Found:
    entries = {key: Entry(key, value) for key, value in values.items()}
    return Found(entries=entries, standing=Standing(), alive=[])


@given(st.dictionaries(KEY, VALUE, max_size=12))
def test_readers_take_anything_and_account_for_every_task(values: dict[str, bytes]) -> None:
    reading = read(found_in(values))
    planned = plan(reading, Standing(), AT)
    over = {task.old.place for task in planned.tasks}
    named = {finding.key for finding in planned.findings}
    assert {raw.place for raw in reading.tasks} <= over | named
    for task in planned.tasks:
        assert len(convert(task.old, task.sn, AT)[1]) < VALUE_LIMIT_BYTES


@given(st.sampled_from(LAYOUTS), st.integers(0, 1000), st.data())
def test_readers_account_for_a_value_that_was_changed(
    layout: str, seed: int, data: st.DataObject
) -> None:
    values = make(layout, 4, seed=seed, damaged=False).entries
    key = data.draw(st.sampled_from(sorted(values)))
    values[key] = data.draw(VALUE)
    planned = plan(read(found_in(values)), Standing(), AT)
    again = plan(read(found_in(dict(reversed(values.items())))), Standing(), AT)
    assert {t.old.task_id for t in planned.tasks} == {t.old.task_id for t in again.tasks}
    for task in planned.tasks:
        assert len(convert(task.old, task.sn, AT)[1]) < VALUE_LIMIT_BYTES


TIMES = st.datetimes(datetime(2001, 1, 1), datetime(9000, 1, 1))
ZONES = st.integers(-14 * 60, 14 * 60).map(lambda each: timezone(timedelta(minutes=each)))


@given(TIMES, ZONES)
def test_time_of_any_zone_is_read_as_its_moment(at: datetime, zone: timezone) -> None:
    moment = at.replace(tzinfo=zone)
    assert parse_time(moment.isoformat()) == moment


@given(TIMES, st.integers(0, 999_999_999))
def test_time_with_nanoseconds_is_cut_to_microseconds(at: datetime, nanoseconds: int) -> None:
    text = f"{at:%Y-%m-%dT%H:%M:%S}.{nanoseconds:09}Z"
    read_time = parse_time(text)
    assert read_time is not None and read_time.microsecond == nanoseconds // 1000


@given(st.text())
def test_time_that_is_none_is_refused(text: str) -> None:
    try:
        at = parse_time(text)
    except WrongTime:
        return
    assert at is None or at.tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    ["2026-01-29T10:00:00", "2026-01-29 10:00:00Z", "1769680800", "2026-02-30T10:00:00Z",
     "1970-01-01T00:00:00Z", "2026-01-29T10:00:60Z", "9999-12-31T23:59:59-14:00"],
)  # fmt: skip
def test_time_in_an_odd_format_is_refused(text: str) -> None:
    with pytest.raises(WrongTime):
        parse_time(text)


@given(st.dictionaries(st.sampled_from(
    ["cpu", "memory", "disks", "network", "bios", "collected_at", "boot_mode"]), JSON))  # fmt: skip
def test_hardware_that_is_none_is_refused(document: dict[str, Any]) -> None:
    try:
        parse_hardware(document)
    except WrongHardware as error:
        assert str(error)


def test_hardware_has_its_sizes_in_bytes_and_speeds_in_mbit() -> None:
    inventory = parse_hardware(
        {
            "collected_at": "2026-01-29T10:05:30Z",
            "memory": {"total_gb": 2, "dimms": [{"slot": "A1", "size_gb": 2}]},
            "disks": [{"device": "/dev/nvme0n1", "size_gb": 3, "type": "NVMe"}],
            "network": [
                {"interface": "eth0", "mac": "00:1A:2B:3C:4D:5E", "speed": "10000Mb/s"},
                {"interface": "eth1", "mac": "00:1a:2b:3c:4d:5f", "speed": "Unknown!"},
            ],
        }
    )
    assert inventory.memory.total_bytes == inventory.memory.dimms[0].size_bytes == 2 * 2**30
    assert (inventory.disks[0].size_bytes, inventory.disks[0].kind) == (3 * 2**30, "nvme")
    assert [nic.speed_mbps for nic in inventory.nics] == [10_000, None]
    assert (inventory.nics[0].mac, inventory.boot_mode) == ("00:1a:2b:3c:4d:5e", "unknown")
