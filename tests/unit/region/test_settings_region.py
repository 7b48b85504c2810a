from pathlib import Path
from typing import Any

import pytest

from lpmos.model.errors import SettingsError
from lpmos.region.dhcp_networks import DhcpNetwork, DhcpSettings
from lpmos.region.settings import RegionSettings, check


def settings(address: str = "192.0.2.1", **dhcp: Any) -> RegionSettings:
    network = DhcpNetwork(**{"interface": "eno1", "range": ("192.0.2.10", "192.0.2.20"), **dhcp})
    return RegionSettings(
        idc="dc1",
        address=address,
        state_dir=Path("/srv"),
        identity="one",
        version="1",
        dhcp=DhcpSettings(networks=(network,)),
    )


def test_check_good_settings_pass() -> None:
    check(settings())


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("interface", "eno1\nuser=x", "dhcp_interface"),
        ("interface", "", "dhcp_interface"),
        ("range", ("192.0.2.10,x", "192.0.2.20"), "dhcp_range"),
        ("range", ("192.0.2.10", "192.0.2.9"), "dhcp_range"),
        ("range", ("192.0.2.10",), "dhcp_range"),
        ("router", "gateway", "dhcp_router"),
        ("address", "example.org", "address"),
    ],
)
def test_check_wrong_setting_is_named(field: str, value: Any, named: str) -> None:
    changed = settings(address=value) if field == "address" else settings(**{field: value})
    with pytest.raises(SettingsError, match=named):
        check(changed)


def test_check_several_wrong_settings_are_reported_together() -> None:
    with pytest.raises(SettingsError) as caught:
        check(settings(address="x", range=("y", "192.0.2.9"), router="z"))
    for named in ("address", "dhcp_range", "dhcp_router"):
        assert named in str(caught.value)
