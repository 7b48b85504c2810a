"""Software RAID: what mdadm is told, and an array that lost a disk."""

from pathlib import Path

import pytest

from lpmos.agent.arrays import Arrays
from lpmos.agent.commands import Output
from lpmos.agent.diskplan import Array
from lpmos.agent.errors import CommandFailed, InstallError
from lpmos.agent.inventory.tree import Tree
from tests.support.agent_commands import RecordingCommands
from tests.support.agent_machines import lay_out

MEMBERS = ("/dev/sda3", "/dev/sdb3")


def _arrays(root: Path) -> tuple[RecordingCommands, Arrays]:
    commands = RecordingCommands()
    return commands, Arrays(commands, Tree(root))


def _states(root: Path, array: str, **states: str) -> None:
    lay_out(root, {f"sys/block/{array}/md/dev-{m}/state": s for m, s in states.items()}, {})


@pytest.mark.parametrize(("level", "word"), [("raid1", "1"), ("raid5", "5"), ("raid10", "10")])
def test_array_is_made_with_its_uuid_for_any_host(level: str, word: str, tmp_path: Path) -> None:
    commands, arrays = _arrays(tmp_path)
    device, uuid = arrays.create(Array("md-root", level, 3), MEMBERS)
    assert device == "/dev/md0"
    assert [len(part) for part in uuid.split(":")] == [8, 8, 8, 8]
    assert commands.ran == [
        "mdadm --create /dev/md0 --run --quiet --metadata=1.2 --homehost=any --name=md-root"
        f" --uuid={uuid} --level={word} --raid-devices=2 /dev/sda3 /dev/sdb3"
    ]


def test_arrays_take_names_that_the_kernel_does_not_use(tmp_path: Path) -> None:
    lay_out(tmp_path, {"sys/block/md1/size": "8"}, {})
    _, arrays = _arrays(tmp_path)
    made = [arrays.create(Array(f"md-{n}", "raid1", n), MEMBERS)[0] for n in (3, 4)]
    assert made == ["/dev/md0", "/dev/md2"]


def test_first_synchronisation_is_held_back(tmp_path: Path) -> None:
    action = tmp_path / "sys/block/md0/md/sync_action"
    _, arrays = _arrays(tmp_path)
    action.parent.mkdir(parents=True)
    action.write_text("resync")
    (tmp_path / "sys/block/md0").rename(tmp_path / "md0")  # not there before mdadm made it
    arrays._commands.on("mdadm", lambda _: _made(tmp_path))  # type: ignore[attr-defined]
    arrays.create(Array("md-root", "raid1", 3), MEMBERS)
    assert action.read_text() == "frozen"


def _made(root: Path) -> Output:
    (root / "md0").rename(root / "sys/block/md0")
    return Output(0, "")


def test_whole_arrays_pass_the_check(tmp_path: Path) -> None:
    commands, arrays = _arrays(tmp_path)
    arrays.create(Array("md-root", "raid5", 3), MEMBERS)
    _states(tmp_path, "md0", sda3="in_sync", sdb3="spare")
    arrays.check()
    assert len(commands.ran) == 1


@pytest.mark.parametrize(
    ("states", "said"),
    [
        ({"sda3": "in_sync", "sdb3": "faulty"}, r"sdb3 \(faulty\)"),
        ({"sda3": "in_sync,write_error", "sdb3": "in_sync"}, r"sda3 \(in_sync,write_error\)"),
        ({"sda3": "in_sync"}, "1 of 2 members are left"),
        ({}, "0 of 2 members are left"),
    ],
)
def test_array_that_lost_a_disk_fails_with_mdadms_words(
    states: dict[str, str], said: str, tmp_path: Path
) -> None:
    commands, arrays = _arrays(tmp_path)
    arrays.create(Array("md-root", "raid1", 3), MEMBERS)
    _states(tmp_path, "md0", **states)
    commands.on("--detail", Output(0, "State : clean, degraded"))
    with pytest.raises(InstallError, match=f"/dev/md0 lost a disk during the install: {said}") as e:
        arrays.check()
    assert e.value.output == "State : clean, degraded"
    assert "cable" in e.value.hint


def test_arrays_are_stopped_in_reverse_and_once(tmp_path: Path) -> None:
    commands, arrays = _arrays(tmp_path)
    for number in (3, 4):
        arrays.create(Array(f"md-{number}", "raid1", number), MEMBERS)
    arrays.stop()
    arrays.abandon()
    assert commands.ran[2:] == ["mdadm --stop --quiet /dev/md1", "mdadm --stop --quiet /dev/md0"]


def test_array_whose_creation_failed_is_stopped_too(tmp_path: Path) -> None:
    commands, arrays = _arrays(tmp_path)
    commands.on("--create", Output(1, "mdadm: RUN_ARRAY failed: Input/output error"))
    with pytest.raises(CommandFailed) as failure:
        arrays.create(Array("md-root", "raid1", 3), MEMBERS)
    assert "disk reports errors" in failure.value.hint
    arrays.abandon()
    assert commands.ran[-1] == "mdadm --stop --quiet /dev/md0"
