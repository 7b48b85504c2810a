"""What the agent takes for a plan."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.agent.errors import InstallError
from lpmos.agent.plan import parse_plan
from tests.support.agent_region import plan_document, plan_for

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


def _document() -> Any:
    return plan_document(plan_for(b"image"))


def test_plan_with_unknown_fields_is_taken() -> None:
    document = _document() | {"newer": {"field": 1}}
    assert parse_plan(document).hostname == "web-1"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("task_id", None),
        ("intent_id", 7),
        ("boot_loader", "lilo"),
        ("files", "x"),
        ("first_boot", "x"),
        ("first_boot", {"files": None}),
        ("disk", None),
        ("kernel_arguments", None),
    ],
)
def test_plan_with_a_wrong_field_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(InstallError, match=field):
        parse_plan(_document() | {field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("format", "qcow2"),
        ("url", "http://elsewhere/x"),
        ("url", "//elsewhere/x"),
        ("size_bytes", True),
    ],
)
def test_image_that_this_agent_cannot_install_is_refused(field: str, value: object) -> None:
    document = _document()
    document["image"][field] = value
    with pytest.raises(InstallError, match=field):
        parse_plan(document)


@pytest.mark.parametrize(
    "partitions",
    [
        [],
        [{"number": 1, "role": "swap", "size_bytes": None, "filesystem": None}],
        [{"number": 1, "role": "root", "size_bytes": None, "filesystem": "xfs"}],
        [{"number": n, "role": "root", "size_bytes": None, "filesystem": "ext4"} for n in (1, 2)],
    ],
)
def test_partitions_that_this_agent_cannot_make_are_refused(partitions: list[object]) -> None:
    document = _document()
    document["disk"]["partitions"] = partitions
    with pytest.raises(InstallError, match="partitions"):
        parse_plan(document)


LAYERS = [
    {"number": number, "role": "layer", "size_bytes": 1 << 30, "filesystem": None}
    for number in (3, 4)
]
MIRROR: dict[str, Any] = {
    "partitions": LAYERS,
    "members": [{"device": "/dev/vdb", "size_bytes": 1 << 34}],
    "arrays": [
        {"id": "md-boot", "level": "raid1", "partition": 3},
        {"id": "md-root", "level": "raid1", "partition": 4},
    ],
    "encrypted": [{"id": "crypt-root", "on": "md-root"}],
    "groups": [
        {
            "id": "vg0",
            "on": "crypt-root",
            "volumes": [{"name": "root", "size_bytes": None}, {"name": "swap", "size_bytes": 9}],
        }
    ],
    "filesystems": [
        {"on": "vg0/root", "kind": "xfs", "mount": "/"},
        {"on": "md-boot", "kind": "ext4", "mount": "/boot"},
        {"on": "vg0/swap", "kind": "swap", "mount": None},
    ],
    "erase": "discard",
}


def _layered(**changes: object) -> Any:
    document = _document() | {"disk_passphrase": "correct horse"}
    document["disk"] |= MIRROR | changes
    return document


def test_layers_of_several_disks_are_taken_whole() -> None:
    disk = parse_plan(_layered()).disk
    assert [member.device for member in disk.disks] == ["/dev/vda", "/dev/vdb"]
    assert disk.arrays == (("md-boot", "raid1", 3), ("md-root", "raid1", 4))
    assert disk.encrypted == (("crypt-root", "md-root"),)
    assert disk.groups == (("vg0", "crypt-root", (("root", None), ("swap", 9))),)
    assert disk.all_filesystems() == (
        ("vg0/root", "xfs", "/"),
        ("md-boot", "ext4", "/boot"),
        ("vg0/swap", "swap", None),
    )
    assert disk.erase == "discard"


ROOT = {"on": "md-root", "kind": "ext4", "mount": "/"}


@pytest.mark.parametrize(
    "changes",
    [
        {"newer": 1},
        {"erase": "shred"},
        {"whole_image": True},
        {"partitions": [*LAYERS, LAYERS[0]]},
        {"partitions": [LAYERS[0] | {"encrypted": True}, LAYERS[1]]},
        {"partitions": [LAYERS[0] | {"number": 0}, LAYERS[1]]},
        {"members": []},
        {"members": [{"device": "/dev/vdb"}]},
        {"members": [{"device": "/dev/vdb", "size_bytes": 1, "newer": 1}]},
        {"arrays": [{"id": "md-root", "level": "raid0", "partition": 4}]},
        {"arrays": [{"id": "md-root", "level": "raid5", "partition": 4}]},
        {"arrays": [{"id": "md-root", "level": "raid1", "partition": 5}]},
        {"arrays": [{"id": "../md", "level": "raid1", "partition": 4}]},
        {"arrays": [{"id": name, "level": "raid1", "partition": 4} for name in ("a", "b")]},
        {"encrypted": [{"id": "crypt-root", "on": "md-other"}]},
        {"encrypted": [{"id": "md-boot", "on": "md-root"}]},
        {"groups": [{"id": "vg0", "on": "p4", "volumes": []}]},
        {"groups": [{"id": "vg0", "on": "crypt-root"}]},
        {
            "groups": [
                {
                    "id": "vg0",
                    "on": "crypt-root",
                    "volumes": [{"name": name, "size_bytes": None} for name in ("root", "swap")],
                }
            ]
        },
        {"filesystems": [], "groups": [], "encrypted": []},
        {"filesystems": [ROOT]},
        {"filesystems": [ROOT | {"kind": "ntfs"}], "groups": [], "encrypted": []},
        {"filesystems": [ROOT | {"mount": "/../etc"}], "groups": [], "encrypted": []},
        {"filesystems": [ROOT, ROOT | {"on": "md-boot"}], "groups": [], "encrypted": []},
        {"filesystems": [ROOT, ROOT | {"mount": "/var"}], "groups": [], "encrypted": []},
        {"filesystems": [ROOT | {"kind": "swap"}], "groups": [], "encrypted": []},
        {"filesystems": [ROOT | {"on": "p4"}], "groups": [], "encrypted": [], "arrays": []},
    ],
)
def test_layers_that_do_not_fit_each_other_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(InstallError, match="is not understood"):
        parse_plan(_layered(**changes))


def test_encryption_without_a_passphrase_is_refused() -> None:
    with pytest.raises(InstallError, match="disk_passphrase"):
        parse_plan(_layered() | {"disk_passphrase": None})


@given(st.sampled_from(sorted(MIRROR)), json_values)
def test_layers_with_any_value_in_a_field_are_taken_or_refused(field: str, value: object) -> None:
    try:
        parse_plan(_layered(**{field: value}))
    except InstallError as error:
        assert error.hint


@given(st.sampled_from(sorted(_document())), json_values)
def test_plan_with_any_value_in_a_field_is_taken_or_refused(field: str, value: object) -> None:
    try:
        parse_plan(_document() | {field: value})
    except InstallError as error:
        assert error.hint


@given(json_values)
def test_plan_of_any_json_is_refused(value: object) -> None:
    with pytest.raises(InstallError):
        parse_plan(value)
