"""What the doctor says of what it saw."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from lpmos.cli.findings import (
    EXPIRES_SOON,
    Finding,
    Level,
    judge_certificate,
    judge_clock,
    judge_images,
    judge_modes,
    judge_regions,
    judge_space,
    judge_store,
    judge_unmatched,
    judge_versions,
)

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def store(**fields: Any) -> Finding:
    whole = {"connected": True, "healthy": True, "backend": "etcd", "revision": 7, "alarms": [],
             "error": None}  # fmt: skip
    return judge_store({"store": {**whole, **fields}})


def region(**fields: Any) -> list[Finding]:
    whole = {
        "idc": "dc1", "online": True, "last_heartbeat": NOW.isoformat(), "version": "1",
        "services": {"dhcp": "off", "http": "ok"},
        "offered": [{"os_type": "debian", "os_version": "12"}],
    }  # fmt: skip
    return list(judge_regions([{**whole, **fields}], NOW))


def network(**fields: Any) -> dict[str, Any]:
    whole = {"interface": "eno1", "mode": "full", "subnet": "192.0.2.0/24", "range": None,
             "size": 100, "leases": 0}  # fmt: skip
    return {**whole, **fields}


def test_region_with_the_right_time_and_free_addresses_has_one_finding() -> None:
    proxy = network(mode="proxy", size=0)
    assert len(region(dhcp=[network(leases=80), proxy])) == 1
    offline = region(online=False, last_heartbeat=(NOW - timedelta(days=2)).isoformat())
    assert len(offline) == 1


def test_network_without_addresses_is_named_with_what_is_left() -> None:
    _, finding = region(dhcp=[network(leases=98)])
    assert finding.found == "2 of 100 addresses of 192.0.2.0/24 are free"


@pytest.mark.parametrize(
    ("finding", "level"),
    [
        (judge_clock(NOW, NOW + timedelta(seconds=4)), Level.OK),
        (judge_clock(NOW, NOW + timedelta(seconds=40)), Level.WRONG),
        (judge_clock(NOW, NOW - timedelta(hours=1)), Level.WRONG),
        (judge_certificate("c", NOW, NOW), Level.WRONG),
        (judge_certificate("c", NOW + EXPIRES_SOON / 2, NOW), Level.WARNING),
        (judge_certificate("c", NOW + EXPIRES_SOON * 2, NOW), Level.OK),
        (store(), Level.OK),
        (store(alarms=["NOSPACE"]), Level.WRONG),
        (store(hint="much is free: `etcdctl defrag`"), Level.WARNING),
        (store(connected=False), Level.WRONG),
        (store(connected=False, healthy=False, error="timeout"), Level.WRONG),
        (region()[0], Level.OK),
        (region(online=False, last_heartbeat=None)[0], Level.WRONG),
        (region(services={"http": "failed: \x1b"})[0], Level.WRONG),
        (region(offered=[])[0], Level.WARNING),
        (region(last_heartbeat=(NOW + timedelta(minutes=2)).isoformat())[1], Level.WRONG),
        (region(last_heartbeat=(NOW - timedelta(minutes=2)).isoformat())[1], Level.WRONG),
        (region(dhcp=[network(leases=91)])[1], Level.WARNING),
        (next(judge_regions([], NOW)), Level.WARNING),
        (judge_unmatched({"alert": True, "counts": {"dc1": 99}}), Level.WARNING),
        (judge_unmatched({"alert": False, "counts": {}}), Level.OK),
        (judge_space("s", 100, 9), Level.WARNING),
        (judge_space("s", 100, 50), Level.OK),
        (next(judge_modes({"/k": 0o100600})), Level.OK),
        (next(judge_modes({"/k": 0o100640})), Level.WRONG),
    ],
)
def test_finding_has_its_level_and_what_to_do(finding: Finding, level: Level) -> None:
    assert finding.level is level
    assert finding.found.isprintable()
    assert bool(finding.do) is (level is not Level.OK)


def test_versions_that_differ_are_named() -> None:
    found = list(judge_versions("1.2", [{"idc": "dc1", "version": "1.1"}], "1.1"))
    assert [each.found for each in found] == ["the control plane is 1.2, this is 1.1"]
    assert found[0].level is Level.WARNING
    assert next(judge_versions("1", [{"idc": "dc1", "version": None}], "1")).level is Level.OK


@pytest.mark.parametrize("version", ["1.3.0", "2.1.0", "odd"])
def test_version_that_is_more_than_one_apart_is_wrong(version: str) -> None:
    (found,) = judge_versions("1.1.0", [{"idc": "dc1", "version": version}], "1.1.0")
    assert found.level is Level.WRONG and "more than one apart" in found.found


def test_images_that_are_damaged_are_named() -> None:
    images: list[dict[str, Any]] = [{"name": "a", "error": None}, {"name": "b", "error": "digest"}]
    assert [each.subject for each in judge_images(images)] == ["image b", "images"]
