from pathlib import Path

import pytest

from lpmos.model.errors import SettingsError
from lpmos.region.settings import DhcpSettings, RegionSettings, check


def settings(address: str = "192.0.2.1", **dhcp: str) -> RegionSettings:
    given = {"interface": "eno1", "first": "192.0.2.10", "last": "192.0.2.20", **dhcp}
    return RegionSettings(
        idc="dc1",
        address=address,
        state_dir=Path("/srv"),
        identity="one",
        version="1",
        dhcp=DhcpSettings(**given),  # type: ignore[arg-type]
    )


def test_check_good_settings_pass() -> None:
    check(settings())


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("interface", "eno1\nuser=x", "dhcp_interface"),
        ("interface", "", "dhcp_interface"),
        ("first", "192.0.2.10,x", "dhcp_range"),
        ("last", "192.0.2.9", "dhcp_range"),
        ("router", "gateway", "dhcp_router"),
        ("address", "example.org", "address"),
    ],
)
def test_check_wrong_setting_is_named(field: str, value: str, named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        check(settings(**{field: value}))


def test_check_several_wrong_settings_are_reported_together() -> None:
    with pytest.raises(SettingsError) as caught:
        check(settings(address="x", first="y", router="z"))
    for named in ("address", "dhcp_range", "dhcp_router"):
        assert named in str(caught.value)
