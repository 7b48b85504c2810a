"""What the kernel complained of a disk becomes evidence of the failure in which it did."""

from pathlib import Path

import pytest

from lpmos.agent.errors import InstallError, Stopped
from lpmos.agent.hardwaresigns import HEARD_CHARACTERS, heard_of
from lpmos.agent.inventory.tree import Tree
from lpmos.agent.kernellog import RECORD_BYTES
from lpmos.region.wire import OUTPUT_CHARACTERS

ERROR = "I/O error, dev sdb, sector 2048 op 0x1:(WRITE)"


def output_after(root: Path, record: str) -> str:
    """The evidence of a failure during which the kernel said `record`."""
    (root / "dev").mkdir()
    kmsg = root / "dev/kmsg"
    kmsg.write_text("3,1,1,-;I/O error, dev sdb, sector 1, said before\n")
    with pytest.raises(InstallError) as failure, heard_of(Tree(root), "sda", "sdb"):
        with kmsg.open("a") as file:
            file.write(record)
        raise InstallError("tar failed", output="tar: Read-only file system\n")
    return failure.value.output


@pytest.mark.parametrize("text", [ERROR, "EXT4-fs error (device sdb2): ext4_journal_check_start"])
def test_complaint_of_an_approved_disk_is_evidence(tmp_path: Path, text: str) -> None:
    said = output_after(tmp_path, f"3,2,2,-;{text}\n SUBSYSTEM=block\n")
    assert said == f"tar: Read-only file system\nkernel: {text}"


@pytest.mark.parametrize(
    "record",
    [
        "3,2,2,-;I/O error, dev sdc, sector 2048\n",
        "3,2,2,-;I/O error, dev sdba, sector 2048\n",
        "6,2,2,-; sdb: sdb1 sdb2\n",
        f"12,2,2,-;{ERROR}, says a program\n",
        "",
    ],
)
def test_other_words_are_no_evidence(tmp_path: Path, record: str) -> None:
    assert output_after(tmp_path, record) == "tar: Read-only file system"


def test_long_complaint_is_cut(tmp_path: Path) -> None:
    said = output_after(tmp_path, f"3,2,2,-;{ERROR}{'x' * 1000}\n")
    assert len(said.splitlines()[-1]) == HEARD_CHARACTERS


def test_many_complaints_leave_most_of_the_room_to_the_programs_own_words(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    kmsg = tmp_path / "dev/kmsg"
    kmsg.touch()
    words = "mkfs.ext4: Input/output error " * 40
    with pytest.raises(InstallError) as failure, heard_of(Tree(tmp_path), "sdb"):
        # As from the kernel, each read is one record.
        records = (f"3,{n},2,-;{ERROR} {n}{'x' * 300}\n".ljust(RECORD_BYTES) for n in range(99))
        kmsg.write_text("".join(records))
        raise InstallError("mkfs.ext4 failed", output=words)
    assert failure.value.output[-OUTPUT_CHARACTERS:].startswith(words.rstrip())


def test_machine_without_the_kernels_log_has_the_programs_words_alone(tmp_path: Path) -> None:
    with pytest.raises(InstallError) as failure, heard_of(Tree(tmp_path), "sda"):
        raise InstallError("tar failed", output="tar: Read-only file system")
    assert failure.value.output == "tar: Read-only file system"
    with pytest.raises(Stopped), heard_of(Tree(tmp_path), "sda"):
        raise Stopped("cancelled")
