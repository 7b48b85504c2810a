"""Arrays and volume groups that reach beyond the approved disks, by the words of mdadm and LVM."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.agent.commands import Output
from lpmos.agent.errors import InstallError
from lpmos.agent.members import Standing, arrays, groups, refuse_shared, volumes
from tests.support.agent_commands import RecordingCommands

EXAMINED = """\
ARRAY /dev/md/root  level=raid1 metadata=1.2 num-devices=2 UUID=aa:bb:cc:dd name=any:root
   devices=/dev/sda3,/dev/sdb3
ARRAY /dev/md1 level=raid5 num-devices=3 UUID=11:22:33:44
   spares=1   devices=/dev/sdc1,/dev/sdd1
ARRAY metadata=imsm UUID=55:66:77:88
   devices=/dev/sde,/dev/sdf
ARRAY /dev/md/Volume0 container=55:66:77:88 member=0 UUID=99:99:99:99
"""
LISTED = """\
  /dev/sda4  0Nd2Rz-x vg0
  /dev/sdg1  0Nd2Rz-x vg0
  /dev/sdh1  7hJk2m-y vg0
  /dev/sdi1
  [unknown]  7hJk2m-y vg0
  WARNING: VG vg0 is missing PV abc (last written to /dev/sdz).
"""


def test_arrays_are_read_with_the_devices_of_each() -> None:
    assert list(arrays(EXAMINED)) == [
        ("array aa:bb:cc:dd", ("/dev/sda3", "/dev/sdb3")),
        ("array 11:22:33:44", ("/dev/sdc1", "/dev/sdd1")),
        ("array 55:66:77:88", ("/dev/sde", "/dev/sdf")),
    ]


def test_groups_of_one_name_are_told_apart_and_missing_disks_left_out() -> None:
    assert list(groups(LISTED)) == [
        ("volume group vg0", ("/dev/sda4", "/dev/sdg1")),
        ("volume group vg0", ("/dev/sdh1",)),
    ]


def test_volumes_are_read_in_groups_and_in_none() -> None:
    assert list(volumes(LISTED)) == ["/dev/sda4", "/dev/sdg1", "/dev/sdh1", "/dev/sdi1"]


@given(st.text() | st.text("ARUYD=/dev,: \n\t"))
def test_any_words_are_read_or_left_out(text: str) -> None:
    for _, devices in (*arrays(text), *groups(text)):
        assert devices
    assert all(device.startswith("/dev/") for device in volumes(text))


def _said(examined: str, listed: str) -> RecordingCommands:
    commands = RecordingCommands()
    commands.on("^mdadm --examine", Output(0, examined))
    commands.on("^lvm pvs", Output(0, listed))
    return commands


RAID, LVM = "linux_raid_member", "LVM2_member"


@pytest.mark.parametrize(
    ("ours", "words"),
    [
        (
            Standing(("/dev/sda", "/dev/sda3"), ("gpt", RAID)),
            "/dev/sda3 stands in array aa:bb:cc:dd .* /dev/sdb3, which",
        ),
        (
            Standing(("/dev/sdd", "/dev/sdd1"), (RAID,)),
            "/dev/sdd1 stands in array .* together with /dev/sdc1",
        ),
        (
            Standing(("/dev/sdf",), ("isw_raid_member",)),
            "/dev/sdf stands in array 55:66:77:88 together with /dev/sde",
        ),
        (
            Standing(("/dev/sdg", "/dev/sdg1"), ("dos", LVM)),
            "/dev/sdg1 stands in volume group vg0 .* /dev/sda4",
        ),
    ],
)
def test_what_also_stands_on_another_disk_is_refused(ours: Standing, words: str) -> None:
    with pytest.raises(InstallError, match=words) as failure:
        refuse_shared(_said(EXAMINED, LISTED), [ours])
    assert "nothing was written" in str(failure.value) and failure.value.hint


def test_what_stands_on_the_approved_disks_alone_is_theirs() -> None:
    disks = [
        Standing(("/dev/sda", "/dev/sda3", "/dev/sda4"), ("gpt", RAID, LVM)),
        Standing(("/dev/sdb", "/dev/sdb3"), ("gpt", RAID)),
        Standing(("/dev/sdg", "/dev/sdg1"), ("dos", LVM)),
        Standing(("/dev/sdh", "/dev/sdh1"), ("dos", LVM)),
        Standing(("/dev/sdj",), ("gpt", "ext4")),
    ]
    refuse_shared(_said(EXAMINED, LISTED), disks)


def test_what_is_assembled_of_the_approved_disks_is_theirs() -> None:
    listed = "  /dev/sdg1 0Nd2Rz-x vg0\n  /dev/md127 0Nd2Rz-x vg0\n"
    disk = Standing(("/dev/sdg", "/dev/sdg1"), (LVM,))
    refuse_shared(_said("", listed), [disk], ["/dev/md127"])


def test_volume_of_no_group_is_nobody_elses() -> None:
    refuse_shared(_said("", LISTED), [Standing(("/dev/sdi", "/dev/sdi1"), (LVM,))])


def test_disks_without_members_are_asked_nothing() -> None:
    commands = _said(EXAMINED, LISTED)
    refuse_shared(commands, [Standing(("/dev/sda", "/dev/sda3"), ("gpt", "ext4"))])
    assert commands.ran == []


@pytest.mark.parametrize("kind", [RAID, LVM])
def test_member_of_which_nothing_can_be_read_is_refused_with_the_programs_words(kind: str) -> None:
    """Whatever the exit code: mdadm's is 0 where it found nothing, and LVM's 5 beside a listing."""
    broken = "  WARNING: checksum error\n  /dev/sdz: read failed\n"
    disks = [
        Standing(("/dev/sda", "/dev/sda3", "/dev/sda4"), ("gpt", RAID, LVM)),
        Standing(("/dev/sdz",), (kind,)),
    ]
    examined, listed = EXAMINED.replace(",/dev/sdb3", ""), LISTED.replace("/dev/sdg1", "[gone]")
    with pytest.raises(
        InstallError, match=r"/dev/sdz holds .* could not be read: nothing"
    ) as failure:
        refuse_shared(_said(examined + broken, listed + broken), disks)
    assert kind in str(failure.value) and broken in failure.value.output
    assert failure.value.command.startswith("mdadm" if kind == RAID else "lvm")
