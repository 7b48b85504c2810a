"""What a task of Windows asks for and cannot have is refused at its creation, field by field."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.model.errors import InvalidInput
from lpmos.model.newtask import NewTask
from lpmos.model.newtaskcheck import check_new_task
from lpmos.model.windows import ZONES, language_tag, password_name

SECRETS = {"PASSWORD_ADMINISTRATOR": "Correct-Horse-1", "PASSWORD_OPS_2": "Correct Horse 2"}
SETUP: dict[str, Any] = {
    "users": [{"name": "administrator"}, {"name": "ops-2", "sudo": "nopasswd"}],
    "secrets": SECRETS,
    "commands": ["echo hello"],
    "timezone": "Europe/Berlin",
    "locale": "de_DE.UTF-8",
}
GOOD: dict[str, Any] = {
    "idc": "dc1", "sn": "SN-1", "mac": "52:54:00:00:00:01", "os_type": "windows",
    "os_version": "server-2022", "hostname": "web-1.example.org", "setup": SETUP,
}  # fmt: skip
HASH = "$6$saltsalt$UZpL0g0vQ4n5qSmwJv2Ld1"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1 me@desk"


def wrong(setup: dict[str, Any] | None = None, **fields: Any) -> list[str]:
    """The fields that are refused of a task of Windows with these changes."""
    document = {**GOOD, **fields, "setup": {**SETUP, **(setup or {})}}
    with pytest.raises(InvalidInput) as caught:
        check_new_task(msgspec.convert(document, NewTask))
    return [problem.field for problem in caught.value.problems]


def test_task_that_windows_can_have_is_taken() -> None:
    spec = check_new_task(msgspec.convert(GOOD, NewTask))
    assert spec.secrets is not None and spec.secrets.values == SECRETS
    assert (spec.os_type, spec.hostname) == ("windows", "web-1.example.org")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"method": "image"}, "method"),
        ({"ssh_keys": [KEY]}, "ssh_keys"),
        ({"hostname": "a-name-of-16-char"}, "hostname"),
        ({"hostname": "12345"}, "hostname"),
        ({"hostname": None, "sn": "A-SERIAL-OF-MANY-LETTERS"}, "hostname"),
        ({"disk_layout": "raid1"}, "disk_layout"),
        ({"disk_layout": {"lvm": True}}, "disk_layout"),
        ({"disk_layout": {"erase": "discard"}}, "disk_layout"),
        (
            {"disk_layout": {"partitions": [{"mount": "/srv", "size_bytes": 1 << 30}]}},
            "disk_layout",
        ),
    ],
)
def test_what_windows_cannot_have_is_refused_by_its_name(
    fields: dict[str, Any], field: str
) -> None:
    assert wrong(**fields) == [field]


@pytest.mark.parametrize(
    ("setup", "field"),
    [
        ({"packages": ["nginx"]}, "packages"),
        ({"cloud_init": {"user_data": "#cloud-config\n{}\n"}}, "cloud_init"),
        ({"ansible": {"repository": "https://git.example.net/a.git"}}, "ansible"),
        ({"puppet": {"server": "puppet.example.net"}}, "puppet"),
        ({"root_password_hash": HASH}, "root_password_hash"),
        ({"timezone": "Antarctica/Troll"}, "timezone"),
        ({"locale": "C.UTF-8"}, "locale"),
        ({"users": [{"name": "ops-2"}]}, "users"),
        ({"secrets": {"PASSWORD_ADMINISTRATOR": "Correct-Horse-1"}}, "secrets.PASSWORD_OPS_2"),
        ({"secrets": SECRETS | {"PASSWORD_OPS_2": "nothing else"}}, "secrets.PASSWORD_OPS_2"),
        ({"secrets": SECRETS | {"PASSWORD_OPS_2": "Sh0rt-1"}}, "secrets.PASSWORD_OPS_2"),
        ({"secrets": SECRETS | {"TOKEN": 'one" & two'}}, "secrets.TOKEN"),
        ({"secrets": SECRETS | {"TOKEN": "one\ntwo"}}, "secrets.TOKEN"),
        ({"secrets": SECRETS | {"TOKEN": "ä" * 4}}, "secrets.TOKEN"),
        ({"secrets": SECRETS | {"ComSpec": "text"}}, "secrets.ComSpec"),
        ({"secrets": SECRETS | {"lpmos_url": "text"}}, "secrets.lpmos_url"),
    ],
)
def test_setup_that_windows_cannot_have_is_refused_by_its_name(
    setup: dict[str, Any], field: str
) -> None:
    assert wrong(setup) == [f"setup.{field}"]


@pytest.mark.parametrize(
    ("user", "field"),
    [
        ({"name": "guest"}, "name"),
        ({"name": "a-name-of-21-letters1"}, "name"),
        ({"name": "ops", "ssh_keys": [KEY]}, "ssh_keys"),
        ({"name": "ops", "groups": ["adm"]}, "groups"),
        ({"name": "ops", "shell": "/bin/sh"}, "shell"),
        ({"name": "ops", "password_hash": HASH}, "password_hash"),
        ({"name": "ops", "password_hash": HASH, "sudo": "password"}, "password_hash"),
    ],
)
def test_user_that_windows_cannot_have_is_refused_by_its_name(
    user: dict[str, Any], field: str
) -> None:
    users = [{"name": "administrator"}, user]
    secrets = SECRETS | {password_name(user["name"]): "Correct-Horse-1"}
    found = wrong({"users": users, "secrets": secrets})
    assert found[0] == f"setup.users.1.{field}"
    assert set(found[1:]) <= {"setup.users.1.sudo"}


@pytest.mark.parametrize("hostname", ["ops-2", "OPS-2.example.org"])
def test_user_named_as_the_computer_is_refused(hostname: str) -> None:
    assert wrong(hostname=hostname) == ["setup.users.1.name"]


def test_links_that_windows_does_not_make_are_refused_each() -> None:
    links = [
        {"kind": "ethernet", "name": "lan0", "mtu": 9000, "dhcp": True},
        {"kind": "vlan", "name": "vlan10", "over": "lan0", "id": 10, "dhcp": True},
    ]
    fields = wrong(network_config={"links": links})
    assert fields == ["network_config.links.0.mtu", "network_config.links.1"]


def test_other_systems_are_not_asked_for_what_windows_wants() -> None:
    check_new_task(msgspec.convert({**GOOD, "os_type": "debian", "setup": {}}, NewTask))


def test_zones_are_named_once_and_locales_have_a_country() -> None:
    assert ZONES["Europe/Berlin"] == "W. Europe Standard Time"
    assert ZONES["Etc/UTC"] == "UTC"
    assert (language_tag("de_DE.UTF-8"), language_tag("C.UTF-8")) == ("de-DE", None)


@given(st.text(max_size=40))
def test_secret_that_is_taken_can_stand_in_a_line_of_a_batch_file(value: str) -> None:
    secrets = SECRETS | {"TOKEN": f"1234{value}"}
    document = {**GOOD, "setup": SETUP | {"secrets": secrets}}
    try:
        new = msgspec.convert(document, NewTask)
    except msgspec.ValidationError:
        return
    try:
        check_new_task(new)
    except InvalidInput as error:
        assert [each.field for each in error.problems] == ["setup.secrets.TOKEN"]
    else:
        assert value.isascii() and (value.isprintable() or not value) and '"' not in value
