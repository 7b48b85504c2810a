"""What a new task must say; every wrong field is named at once."""

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.model.errors import InvalidInput
from lpmos.model.network import Network
from lpmos.model.newtask import NewTask
from lpmos.model.newtaskcheck import check_new_task
from lpmos.model.task import Progress
from tests.support.builders import NOW

GOOD = {"idc": "dc1", "sn": "SN-1", "mac": "52:54:00:00:00:01", "os_type": "debian",
        "os_version": "12"}  # fmt: skip
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1 me@desk"


def new_task(**fields: object) -> NewTask:
    return msgspec.convert({**GOOD, **fields}, NewTask)


def wrong_fields(**fields: object) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        check_new_task(new_task(**fields))
    return [problem.field for problem in caught.value.problems]


def test_check_fills_in_what_is_left_out() -> None:
    spec = check_new_task(new_task(sn=None, mac="52-54-00-00-00-01"))
    assert (spec.sn, spec.mac) == ("mac-525400000001", "52:54:00:00:00:01")
    assert (spec.hostname, spec.disk_layout, spec.network_config) == (
        "mac-525400000001", "auto", "dhcp",
    )  # fmt: skip


def test_check_older_names_are_accepted() -> None:
    spec = check_new_task(
        new_task(idc=None, mac=None, region_id="dc2", target_mac="52:54:00:00:00:02")
    )
    assert (spec.idc, spec.mac) == ("dc2", "52:54:00:00:00:02")


def test_check_names_every_wrong_field_at_once() -> None:
    assert wrong_fields(
        mac="nonsense", sn="a/b", hostname="_", disk_layout="zfs", ssh_keys=["x", KEY, "y\nz"],
        tags={"": "v", "k": "v" * 300},
        network_config={"address": "10.0.0.1", "gateway": "10.0.0.300", "dns": ["1.1.1.1", "?"]},
    ) == [
        "mac", "sn", "hostname", "network_config.address", "network_config.gateway",
        "network_config.dns.1", "disk_layout", "ssh_keys.0", "ssh_keys.2", "tags.", "tags.k",
    ]  # fmt: skip


def test_check_missing_mac_and_idc_are_named() -> None:
    assert wrong_fields(mac=None, idc=None) == ["idc", "mac"]


def test_check_contradicting_names_are_refused() -> None:
    assert wrong_fields(region_id="dc2") == ["region_id"]


def test_check_gateway_outside_the_network_is_refused() -> None:
    assert wrong_fields(network_config={"address": "10.0.0.2/24", "gateway": "10.0.1.1"}) == [
        "network_config.gateway"
    ]


def test_check_address_with_a_scope_is_refused() -> None:
    assert wrong_fields(
        network_config={"address": "fe80::1%x\n[Match]/64", "dns": ["fe80::1%eth0"]}
    ) == ["network_config.address", "network_config.dns.0"]


def test_check_keys_and_tags_beyond_the_document_are_refused() -> None:
    key = "ssh-rsa " + "A" * 4000
    assert wrong_fields(ssh_keys=[key] * 5) == ["ssh_keys"]


def test_check_good_static_network_and_key_are_kept() -> None:
    network = {"address": "10.0.0.2/24", "gateway": "10.0.0.1", "dns": ["10.0.0.1"]}
    spec = check_new_task(new_task(network_config=network, ssh_keys=[KEY]))
    assert spec.network_config == Network(
        address="10.0.0.2/24", gateway="10.0.0.1", dns=("10.0.0.1",)
    )
    assert spec.ssh_keys == (KEY,)


def test_new_task_unknown_field_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="nonsense"):
        new_task(nonsense=1)


@given(
    done=st.none() | st.integers(0, 2**63 - 1),
    total=st.none() | st.integers(0, 2**63 - 1),
    rate=st.none() | st.floats(0, 1e12),
)
def test_progress_knows_what_is_left_only_where_bytes_and_rate_are_known(
    done: int | None, total: int | None, rate: float | None
) -> None:
    step = Progress(
        step="downloading",
        percent=30.0,
        timestamp=NOW,
        bytes_done=done,
        bytes_total=total,
        bytes_per_second=rate,
    )
    known = done is not None and total is not None and (rate or 0.0) >= 1
    assert (step.remaining_s is not None) == known
    assert step.remaining_s is None or 0 <= step.remaining_s < math.inf
