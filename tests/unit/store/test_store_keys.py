"""Every key that is put together is understood again, and nothing else is."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.store import keys
from lpmos.store.keys import KeyName

BUILT = [
    (keys.server("dc1", "SN1"), "/os/dc1/servers/SN1", KeyName("server", "dc1", "SN1")),
    (keys.task("dc1", "SN1"), "/os/dc1/machines/SN1/task", KeyName("task", "dc1", "SN1")),
    (keys.meta("dc1", "SN1"), "/os/dc1/machines/SN1/meta", KeyName("meta", "dc1", "SN1")),
    (
        keys.history("dc1", "SN1", "T1"),
        "/os/dc1/machines/SN1/history/T1",
        KeyName("history", "dc1", "SN1", "T1"),
    ),
    (keys.signer("dc1", "k1"), "/os/dc1/signers/k1", KeyName("signer", "dc1", "", "k1")),
    (keys.taken("dc1", "n1"), "/os/dc1/taken/n1", KeyName("taken", "dc1", "", "n1")),
    (keys.heartbeat("dc1"), "/os/region/dc1/heartbeat", KeyName("region", "dc1", "", "heartbeat")),
    (
        keys.capabilities("dc1"),
        "/os/region/dc1/capabilities",
        KeyName("region", "dc1", "", "capabilities"),
    ),
    (
        keys.unmatched("dc1", datetime(2026, 1, 2, 3, 4, 5, 6, UTC), "aa:bb:cc:dd:ee:ff"),
        "/os/unmatched_reports/dc1/20260102T030405.000006Z-aabbccddeeff",
        KeyName("unmatched", "dc1", "", "20260102T030405.000006Z-aabbccddeeff"),
    ),
]

part = st.text(st.characters(exclude_characters="/", exclude_categories=["Cs"]), min_size=1)


@pytest.mark.parametrize(("built", "key", "name"), BUILT)
def test_key_built_is_as_documented_and_parses_back(built: str, key: str, name: KeyName) -> None:
    assert built == key
    assert keys.parse(key) == name


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/",
        "/os/",
        "/os/dc1",
        "/os/dc1/servers/",
        "/os/dc1/servers/SN1/",
        "/os/dc1/machines/SN1",
        "/os/dc1/machines/SN1/task/x",
        "/os/dc1/machines/SN1/history/",
        "/os/region/dc1",
        "/os/region/dc1/else",
        "/elsewhere/dc1/servers/SN1",
        " /os/dc1/servers/SN1",
    ],
)
def test_key_of_no_known_kind_parses_to_none(key: str) -> None:
    assert keys.parse(key) is None


@given(part, part, part)
def test_key_of_any_names_parses_back(idc: str, sn: str, task_id: str) -> None:
    if idc not in ("region", "unmatched_reports", "dlq"):
        assert keys.parse(keys.server(idc, sn)) == KeyName("server", idc, sn)
        assert keys.parse(keys.task(idc, sn)) == KeyName("task", idc, sn)
        expected = KeyName("history", idc, sn, task_id)
        assert keys.parse(keys.history(idc, sn, task_id)) == expected


@given(st.text())
def test_key_of_any_text_parses_or_is_none(text: str) -> None:
    assert keys.parse(text) is None or text.startswith(keys.ROOT)


def test_keys_of_a_region_lie_under_its_prefix() -> None:
    prefix = keys.idc_prefix("dc1")
    for key in (keys.server("dc1", "S"), keys.task("dc1", "S"), keys.history("dc1", "S", "T")):
        assert key.startswith(prefix)
    assert keys.history("dc1", "S", "T").startswith(keys.history_prefix("dc1", "S"))


def test_unmatched_reports_sort_by_time_as_text() -> None:
    times = [datetime(2026, month, day, tzinfo=UTC) for month in (1, 11, 2) for day in (2, 10)]
    built = [keys.unmatched("dc1", time, "00:00:00:00:00:01") for time in times]
    assert sorted(built) == [built[times.index(time)] for time in sorted(times)]


KINDS = [
    (keys.task("dc1", "SN1"), "task"),
    (keys.evidence("dc1", "SN1"), "evidence"),
    (keys.history_prefix("dc1", "SN1"), "machines"),
    (keys.task_secrets("dc1", "SN1"), "sealed"),
    (keys.dhcp_lease("dc1", "192.0.2.1"), "dhcp"),
    (keys.mac_place("dc1", "aa:bb:cc:dd:ee:ff"), "macs"),
    (keys.task_place("T1"), "tasks"),
    (keys.event("E1"), "events"),
    (keys.template("a"), "config"),
    (keys.control("users", "somebody"), "control.users"),
    (keys.control("key-tokens"), "control.key-tokens"),
    (keys.audit_entry(7), "audit"),
    (keys.RESTORING, "election"),
    (keys.ROOT, "other"),
    ("/os/dc1/probe", "other"),
]


@pytest.mark.parametrize(("key", "kind"), KINDS)
def test_kind_of_a_key_is_one_of_few_words(key: str, kind: str) -> None:
    assert keys.kind_of(key) == kind


@given(part, part)
def test_kind_of_a_key_has_nothing_of_its_names(idc: str, name: str) -> None:
    secret = f"-{name}-"
    for key in (
        *(keys.task(idc, secret), keys.evidence(idc, secret), keys.task_secrets(idc, secret)),
        *(keys.control("users", secret), keys.event(secret), keys.taken(idc, secret), secret),
    ):
        assert keys.kind_of(key) in KNOWN_KINDS


KNOWN_KINDS = {
    *(kind for _, kind in KINDS),
    *("taken", "region", "client", "unmatched", "dlq", "server", "history", "unmatched_reports"),
}
